package app

import (
	"testing"

	"github.com/towpath-dev/towpath/internal/store/etcdkv"
)

// A folder that one of several catalogs keeps for itself would hide from the others what it has moved there.
func TestHistoryOfASharedStoreIsNeverInAFolderOfOneProcess(t *testing.T) {
	for name, tc := range map[string]struct {
		etcd    *etcdkv.Config
		history string
		kept    bool
	}{
		"a database of its own":              {nil, "", true},
		"a shared store":                     {&etcdkv.Config{}, "", false},
		"a shared store and a shared folder": {&etcdkv.Config{}, t.TempDir(), true},
	} {
		p := &process{completed: completed{Config: Config{DataDir: t.TempDir(), History: tc.history}, etcd: tc.etcd}}
		got, err := p.openHistory()
		if err != nil || (got != nil) != tc.kept {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
