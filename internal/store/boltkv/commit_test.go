package boltkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

func TestConcurrentCommitsShareTheDisk(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	release := holdWriter(t, db)
	before := boltTx(t, db)
	var g errgroup.Group
	conflicts := make([]error, 100)
	for i := range 100 {
		g.Go(func() error {
			tx := store.Tx{Ops: []store.Op{{Key: fmt.Sprintf("k%d", i%50)}}, Conds: []store.Cond{store.IfAbsent(fmt.Sprintf("k%d", i%50))}}
			_, conflicts[i] = db.Commit(context.Background(), tx)
			return nil
		})
	}
	waitFor(t, "100 waiting commits", func() bool { return queued(db) == 100 })
	release()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, err := range conflicts {
		if errors.Is(err, store.ErrConflict) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused != 50 {
		t.Errorf("%d commits were refused, want one of each pair, 50", refused)
	}
	if n := boltTx(t, db) - before; n > 2 { // one that the test held, one for all
		t.Errorf("100 commits took %d bolt transactions", n)
	}
}

func TestACommitThatStillWaitsIsWithdrawn(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	release := holdWriter(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := db.Commit(ctx, store.Tx{Ops: []store.Op{{Key: "late"}}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a commit whose time is up: %v", err)
	}
	release()
	put(t, db, "end", "")
	if _, err := db.Get(t.Context(), "late"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a commit that was given up was written: %v", err)
	}
}

func TestACommitKnowsItsOutcomeWheneverItIsGivenUp(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	var g errgroup.Group
	for w := range 8 {
		g.Go(func() error {
			for i := range 40 {
				key := fmt.Sprintf("w%d/%d", w, i)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Microsecond)
				_, err := db.Commit(ctx, store.Tx{Ops: []store.Op{{Key: key}}})
				cancel()
				_, read := db.Get(context.Background(), key)
				if err == nil && read == nil || errors.Is(err, context.DeadlineExceeded) && errors.Is(read, store.ErrNotFound) {
					continue
				}
				return fmt.Errorf("%s: Commit said %v, then Get said %w", key, err, read)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestTheQueueGivesBoundedBatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		sizes []int
		want  []int // lengths of the batches
	}{
		{"nothing", nil, nil},
		{"few", []int{1, 2, 3}, []int{3}},
		{"many", make([]int, 2*batchTxs+1), []int{batchTxs, batchTxs, 1}},
		{"large", []int{batchBytes / 2, batchBytes / 2, 1, batchBytes, batchBytes + 1, 1}, []int{2, 1, 1, 1, 1}},
	}
	for _, tt := range tests {
		q := queue{wake: make(chan struct{}, 1)}
		for _, size := range tt.sizes {
			if err := q.put(&request{size: size}); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		for awake := true; awake; {
			select {
			case <-q.wake: // as long as something waits the writer is woken
				got = append(got, len(q.take()))
			default:
				awake = false
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" || len(q.waiting) > 0 {
			t.Errorf("%s: %d are left, batches (-want +got):\n%s", tt.name, len(q.waiting), d)
		}
	}
}

func TestADiskErrorEndsTheStore(t *testing.T) {
	t.Parallel()
	var file *os.File
	db, err := open(Config{Path: filepath.Join(t.TempDir(), "towpath.db")}, nil, func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	rev := put(t, db, "k", "v")
	watch := make(chan error, 1)
	go func() {
		for _, err := range db.Watch(context.Background(), "", rev) {
			watch <- err
		}
	}()
	if err := db.Err(); err != nil {
		t.Fatalf("a store that works says %v", err)
	}
	if err := file.Close(); err != nil { // the fault: every write from here on fails
		t.Fatal(err)
	}
	_, err = db.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: "k"}}})
	_, again := db.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: "k"}}})
	_, get := db.Get(t.Context(), "k")
	var watched error
	select {
	case watched = <-watch:
	case <-time.After(20 * time.Second):
		t.Fatal("a waiting Watch did not hear of the disk error")
	}
	for what, err := range map[string]error{"Commit": err, "the next Commit": again, "Get": get, "Watch": watched, "Err": db.Err()} {
		if !errs.Is(err, errs.Unavailable) || errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after a disk error: %v, want unavailable", what, err)
		}
	}
	if err := db.Close(); err == nil {
		t.Error("Close does not mention that the file was closed by somebody else")
	}
}

func TestAFullDiskPasses(t *testing.T) {
	t.Parallel()
	db := testOpen(t, Config{Path: filepath.Join(t.TempDir(), "towpath.db")})
	put(t, db, "k", "before")
	db.bolt.MaxSize = 32 << 20 // bolt's own way to run full, in the middle of a commit or before
	value := strings.Repeat("x", store.MaxValueBytes)
	var full error
	for i := 0; full == nil && i < 50; i++ {
		_, full = db.Commit(t.Context(), store.Tx{Ops: []store.Op{{Key: fmt.Sprintf("large%d", i), Value: []byte(value)}}})
	}
	if !errs.Is(full, errs.Unavailable) {
		t.Fatalf("a full store: %v, want unavailable", full)
	}
	db.bolt.MaxSize = 0
	put(t, db, "k", "after")
	if err := db.Err(); err != nil {
		t.Errorf("the store has ended: %v", err)
	}
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if err := db.commitFailed(&fs.PathError{Op: "write", Err: cause}); !errs.Is(err, errs.Unavailable) || db.Err() != nil {
			t.Errorf("%v: got %v and the store says %v", cause, err, db.Err())
		}
	}
}
