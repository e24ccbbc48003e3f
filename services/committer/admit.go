package committer

import (
	"maps"
	"slices"

	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// admitFiles checks what is to stand below a folder: names that every checkout can hold, sizes, and no plaintext secret.
func admitFiles(folder string, files map[string][]byte) error {
	if err := rules.CheckSizes(files); err != nil {
		return err
	}
	if err := git.ValidateFiles(files); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := git.ValidatePath(folder + "/" + name); err != nil {
			return err
		}
	}
	return rules.CheckSecrets(files)
}
