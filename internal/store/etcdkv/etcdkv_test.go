package etcdkv_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
	"github.com/towpath-dev/towpath/internal/store/etcdkv/etcdtest"
	"github.com/towpath-dev/towpath/internal/store/storetest"
)

// TestMain is also the start of the child process of the kill test.
func TestMain(m *testing.M) {
	if url := os.Getenv(killChildEnv); url != "" {
		killChild(url)
	}
	goleak.VerifyTestMain(m)
}

// mustOpen opens a store and closes it at the end of the test.
func mustOpen(t testing.TB, url string) *etcdkv.DB {
	t.Helper()
	cfg, err := etcdkv.ParseURL("--store", url)
	if err != nil {
		t.Fatal(err)
	}
	db, err := etcdkv.Open(t.Context(), cfg)
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

// TestContract has a server for each case, because an etcd has one revision for all who use it. Reopening kills the server.
func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.KV, func() store.KV) {
		server := etcdtest.Start(t)
		db := mustOpen(t, server.URL("test"))
		return db, func() store.KV {
			t.Helper()
			if err := db.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			server.Kill()
			server.Start(t)
			db = mustOpen(t, server.URL("test"))
			return db
		}
	})
}
