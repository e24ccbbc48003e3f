package boltkv

import (
	"context"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/towpath-dev/towpath/internal/store"
)

// These tests are about what only this engine does, and take faults and crashes to the places where they hurt.

func testOpen(t *testing.T, cfg Config) *DB {
	t.Helper()
	db, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func put(t *testing.T, db *DB, key, value string) int64 {
	t.Helper()
	rev, err := db.Commit(context.Background(), store.Tx{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev
}

// boltTx is the number of bolt write transactions so far: what has cost a wait for the disk.
func boltTx(t *testing.T, db *DB) (id int) {
	t.Helper()
	if err := db.bolt.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

// holdWriter keeps the writer from writing until release.
func holdWriter(t *testing.T, db *DB) (release func()) {
	t.Helper()
	tx, err := db.bolt.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
	})
	t.Cleanup(release)
	return release
}

func queued(db *DB) int {
	db.queue.mu.Lock()
	defer db.queue.mu.Unlock()
	return len(db.queue.waiting)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
