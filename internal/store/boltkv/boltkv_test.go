package boltkv_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/boltkv"
	"github.com/towpath-dev/towpath/internal/store/storetest"
)

// TestMain is also the start of the child process of the kill test.
func TestMain(m *testing.M) {
	if path := os.Getenv(killChildEnv); path != "" {
		killChild(path)
	}
	goleak.VerifyTestMain(m)
}

// mustOpen opens a store and closes it at the end of the test.
func mustOpen(t testing.TB, cfg boltkv.Config) *boltkv.DB {
	t.Helper()
	db, err := boltkv.Open(cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.KV, func() store.KV) {
		cfg := boltkv.Config{Path: filepath.Join(t.TempDir(), "data", "towpath.db")}
		db := mustOpen(t, cfg)
		return db, func() store.KV {
			t.Helper()
			if err := db.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			db = mustOpen(t, cfg)
			return db
		}
	})
}
