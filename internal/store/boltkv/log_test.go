package boltkv

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/towpath-dev/towpath/internal/store"
)

func TestReadersAndWatchersDoNotStopWriters(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	put(t, db, "k", "0")
	value := strings.Repeat("x", store.MaxValueBytes)
	n := 0
	for c, err := range db.Watch(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 { // inside the loop: a bolt transaction held here would stop the file from growing past its map
			for i := range 2 * initialMmap / store.MaxValueBytes {
				put(t, db, fmt.Sprintf("large%d", i%4), value)
			}
		}
		if c.Rev == 1+2*initialMmap/store.MaxValueBytes {
			break
		}
	}
	if want := 1 + 2*initialMmap/store.MaxValueBytes; n != want {
		t.Errorf("the watch saw %d changes, want %d", n, want)
	}
}

// logRevs gives the first and last revision and the number of changes in the log.
func logRevs(t *testing.T, db *DB) (first, last int64, n int) {
	t.Helper()
	err := db.bolt.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketLog).ForEach(func(k, _ []byte) error {
			if n++; n == 1 {
				first = revOfLogKey(k)
			}
			last = revOfLogKey(k)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return first, last, n
}

func TestTheLogIsKeptByNumberAndAge(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "towpath.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(Config{Path: path, RetainRevisions: 10, RetainAge: time.Hour, CompactEvery: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		for range 30 {
			put(t, db, "k", "v")
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if first, last, n := logRevs(t, db); first != 21 || last != 30 || n != 10 {
			t.Errorf("by number the log has %d changes, %d to %d; want the last 10 of 30", n, first, last)
		}
		time.Sleep(30 * time.Minute)
		put(t, db, "k", "young")
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		if first, last, n := logRevs(t, db); first != 31 || last != 31 || n != 1 {
			t.Errorf("by age the log has %d changes, %d to %d; want only 31", n, first, last)
		}
		idle := boltTx(t, db)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if boltTx(t, db) != idle {
			t.Error("the compactor writes to the disk although there is nothing to remove")
		}
		if e, err := db.Get(t.Context(), "k"); err != nil || string(e.Value) != "young" {
			t.Errorf("the row is %v, %v", e, err)
		}
		for _, err := range db.Watch(t.Context(), "", 29) {
			if !errors.Is(err, store.ErrCompacted) {
				t.Errorf("Watch of what was removed: %v", err)
			}
		}
	})
}

func TestALongLogIsRemovedInParts(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db"), RetainAge: -1, RetainRevisions: -1})
	var last int64
	for range 4 { // 700 changes each: parts of 1000 end in the middle of a transaction
		var tx store.Tx
		for i := range 700 {
			tx.Put(fmt.Sprintf("k%03d", i), nil)
		}
		var err error
		if last, err = db.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	before := boltTx(t, db)
	if err := db.Compact(t.Context(), last-1); err != nil {
		t.Fatal(err)
	}
	if first, _, n := logRevs(t, db); first != last || n != 700 {
		t.Errorf("the log has %d changes from %d; want 700 from %d", n, first, last)
	}
	if n := boltTx(t, db) - before; n < 3 {
		t.Errorf("2100 changes were removed in %d bolt transactions; writers had to wait for all", n)
	}
	if err := db.retain(t.Context(), time.Now().AddDate(1000, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, _, n := logRevs(t, db); n != 700 {
		t.Errorf("without a bound the log has %d changes, want 700", n)
	}
}

func TestAHalfRemovedTransactionIsNotReplayed(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	var tx store.Tx
	for i := range store.MaxTxOps {
		tx.Put(fmt.Sprintf("k%04d", i), nil)
	}
	first, err := db.Commit(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	second := put(t, db, "second", "")
	// One part of the removal, as if the process had died before the next: 1000 of 1024 changes are gone.
	if err := db.update(func(tx *bolt.Tx) error {
		return trimSome(tx, func(rev int64, _ time.Time) bool { return rev <= first })
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, n := logRevs(t, db); n != store.MaxTxOps-compactBatch+1 {
		t.Fatalf("the log has %d changes; the test wants a transaction cut in two", n)
	}
	for _, err := range db.Watch(t.Context(), "", first-1) {
		if !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("Watch from before the half transaction: %v", err)
		}
	}
	for c, err := range db.Watch(t.Context(), "", first) {
		if err != nil || c.Rev != second {
			t.Fatalf("Watch behind the half transaction: %v, %v", c, err)
		}
		break
	}
	if err := db.Compact(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := db.retain(t.Context(), time.Now().AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, _, n := logRevs(t, db); n != 0 {
		t.Errorf("the next removal left %d changes", n)
	}
}
