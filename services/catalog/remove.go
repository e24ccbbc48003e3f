package catalog

import (
	"bytes"
)

// removalWarnings tells what a removal leaves, as far as the files that go say it.
func removalWarnings(files map[string][]byte) []string {
	for _, content := range files {
		if bytes.Contains(content, []byte("kind: PersistentVolumeClaim")) || bytes.Contains(content, []byte("volumeClaimTemplates:")) {
			return []string{"volume claims are kept with their data and their namespace, unless their definition says that they are deleted; the removal names them when it is through"}
		}
	}
	return nil
}
