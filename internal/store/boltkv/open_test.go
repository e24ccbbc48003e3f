package boltkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "towpath.db"), LockTimeout: time.Millisecond}
	db := testOpen(t, cfg)
	_, err := Open(cfg)
	if !errs.Is(err, errs.Precondition) || errs.ReasonOf(err) != errorsv1.Reason_REASON_IN_USE {
		t.Fatalf("Open of a file in use: %v, want a precondition IN_USE", err)
	}
	if !strings.Contains(err.Error(), "another towpathd uses this data folder") {
		t.Errorf("the message does not say what is wrong: %v", err)
	}
	put(t, db, "k", "the first is not disturbed")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	testOpen(t, cfg)
}

func TestForeignAndDamagedFilesAreRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	foreign := filepath.Join(folder, "foreign.db")
	other, err := bolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(folder, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{foreign, text} {
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Path: path}); !errs.Is(err, errs.Precondition) {
			t.Errorf("Open(%s): %v, want a precondition", filepath.Base(path), err)
		}
		if after, err := os.ReadFile(path); err != nil || !cmp.Equal(before, after) {
			t.Errorf("Open changed %s (%v)", filepath.Base(path), err)
		}
	}
	if _, err := Open(Config{Path: filepath.Join(text, "below", "a.db")}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Open in a folder that cannot be made: %v, want unavailable", err)
	}
}

func TestMigrationsRunOnceInOrderAndTogether(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "towpath.db")}
	db := testOpen(t, cfg)
	put(t, db, "k", "v")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var ran []string
	step := func(name string, fail error) migration {
		return migration{about: name, apply: func(tx *bolt.Tx) error {
			ran = append(ran, name)
			return errors.Join(tx.Bucket(bucketMeta).Put([]byte(name), []byte("done")), fail)
		}}
	}
	done := func(db *DB, name string) (done bool) {
		err := db.bolt.View(func(tx *bolt.Tx) error { done = tx.Bucket(bucketMeta).Get([]byte(name)) != nil; return nil })
		return err == nil && done
	}
	boom := errors.New("boom")
	if _, err := open(cfg, []migration{step("one", nil), step("two", boom)}, os.OpenFile); !errors.Is(err, boom) {
		t.Fatalf("a migration that fails: %v", err)
	}
	chain := []migration{step("one", nil), step("two", nil)}
	for range 2 {
		db, err := open(cfg, chain, os.OpenFile)
		if err != nil {
			t.Fatal(err)
		}
		if !done(db, "one") || !done(db, "two") {
			t.Error("the migrations have left nothing behind")
		}
		if e, err := db.Get(t.Context(), "k"); err != nil || string(e.Value) != "v" {
			t.Errorf("the row after the migrations: %v, %v", e, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The failed chain ran both and left nothing, the good one ran both again, the last open none.
	if d := cmp.Diff([]string{"one", "two", "one", "two"}, ran); d != "" {
		t.Errorf("migrations (-want +got):\n%s", d)
	}
	_, err := open(cfg, chain[:1], os.OpenFile)
	if !errs.Is(err, errs.Precondition) || !strings.Contains(err.Error(), "newer towpathd") {
		t.Errorf("a file of a newer version: %v, want a precondition", err)
	}
	fresh, err := open(Config{Path: filepath.Join(t.TempDir(), "new.db")}, chain, os.OpenFile)
	if err != nil {
		t.Fatal(err)
	}
	if done(fresh, "one") || len(ran) != 4 {
		t.Error("a new file ran migrations")
	}
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheReleasedSchemaIsStable(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	put(t, db, "k", "v")
	var names []string
	err := db.bolt.View(func(tx *bolt.Tx) error {
		err := tx.ForEach(func(name []byte, _ *bolt.Bucket) error { names = append(names, string(name)); return nil })
		return errors.Join(err, tx.Bucket(bucketMeta).ForEach(func(k, v []byte) error {
			names = append(names, fmt.Sprintf("meta/%s=%x", k, v))
			return nil
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"log", "meta", "rows", "meta/revision=0000000000000001", "meta/schema=0000000000000001"}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("an old data folder would not be read any more (-want +got):\n%s", d)
	}
}
