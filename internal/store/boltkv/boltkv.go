// Package boltkv is the embedded store: one file, one process, no other server. It is the default of towpathd.
//
// Writers that commit at the same time share one bolt transaction and so one wait for the disk; a writer that is alone waits
// for nobody. Every change is also written to a log in the same file, which watchers read at their own speed. The log is cut
// by number and age; current values are never lost by that.
package boltkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/follow"
)

// Config says where the data is and how long its change log reaches back.
type Config struct {
	// Path is the file. It and its folder are made when missing, readable by the owner only.
	Path string
	// LockTimeout is how long to wait for another process that has the file open, a second when 0.
	LockTimeout time.Duration
	// RetainRevisions is how many of the newest revisions the log keeps at most; 200000 when 0, all when negative.
	RetainRevisions int64
	// RetainAge is how long the log keeps a change at most; 7 days when 0, for ever when negative.
	RetainAge time.Duration
	// CompactEvery is the pause between two looks at what the log need not keep any more; a minute when 0.
	CompactEvery time.Duration
	// Logger gets migrations, compactions that fail and the end of a store by a disk error; slog's default when nil.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.LockTimeout == 0 {
		c.LockTimeout = time.Second
	}
	if c.RetainRevisions == 0 {
		c.RetainRevisions = 200_000
	}
	if c.RetainAge == 0 {
		c.RetainAge = 7 * 24 * time.Hour
	}
	if c.CompactEvery == 0 {
		c.CompactEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// initialMmap is the address space (not memory, not disk) taken at once. bolt must stop all readers to take more.
const initialMmap = 64 << 20

// DB is an open store. Make it with Open.
type DB struct {
	cfg   Config
	bolt  *bolt.DB
	grown follow.Signal
	queue queue

	mu     sync.Mutex
	ended  error // why nothing works any more: closed, or the disk failed
	closed bool

	stop     chan struct{} // closed by Close
	finished sync.WaitGroup
}

var (
	_ store.KV        = (*DB)(nil)
	_ store.Compactor = (*DB)(nil)
	_ follow.Log      = (*DB)(nil)
)

// Open opens or makes the file and starts the writer and the compactor; Close ends them. Errors: errs.Precondition when another
// process has it open (REASON_IN_USE), when it is of a newer version or not a Towpath file; errs.Unavailable when it
// cannot be read or made.
func Open(cfg Config) (*DB, error) {
	return open(cfg, migrations, os.OpenFile)
}

type openFile = func(string, int, os.FileMode) (*os.File, error)

func open(cfg Config, chain []migration, opener openFile) (*DB, error) {
	cfg = cfg.withDefaults()
	folder := filepath.Dir(cfg.Path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, unavailable(err, "the data folder %s cannot be made", folder)
	}
	file, err := bolt.Open(cfg.Path, 0o600, &bolt.Options{
		Timeout:         cfg.LockTimeout,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: initialMmap,
		NoStatistics:    true,
		OpenFile:        opener,
	})
	if err != nil {
		return nil, openError(cfg.Path, err)
	}
	db := &DB{cfg: cfg, bolt: file, stop: make(chan struct{})}
	db.queue.wake = make(chan struct{}, 1)
	if err := db.prepare(chain); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	db.finished.Go(db.runWriter)
	db.finished.Go(db.runCompactor)
	return db, nil
}

// prepare brings the file to the chain's schema version and makes its name durable in the folder.
func (db *DB) prepare(chain []migration) error {
	current := false
	err := db.bolt.View(func(tx *bolt.Tx) error { current = upToDate(tx, len(chain)+1); return nil })
	if err != nil {
		return unavailable(err, "the data file %s cannot be read", db.cfg.Path)
	}
	if current {
		return nil
	}
	before := 0
	err = db.bolt.Update(func(tx *bolt.Tx) (err error) { before, err = prepare(tx, chain); return err })
	switch {
	case errors.Is(err, errNotOurs):
		return openError(db.cfg.Path, err)
	case errs.Is(err, errs.Precondition):
		return err
	case err != nil:
		return unavailable(err, "the data file %s cannot be prepared; it is unchanged", db.cfg.Path)
	case before > 0:
		db.cfg.Logger.Info("data file migrated", "path", db.cfg.Path, "from", before, "to", len(chain)+1)
	}
	return syncFolder(filepath.Dir(db.cfg.Path))
}

// syncFolder makes the file's entry in its folder durable; without it a new file may be gone after a power cut.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return unavailable(err, "the data folder %s cannot be opened", path)
	}
	err = f.Sync()
	if err := errors.Join(err, f.Close()); err != nil {
		return unavailable(err, "the data folder %s cannot be synced", path)
	}
	return nil
}

// openError says what to do about a file that does not open.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
			"another towpathd uses this data folder (%s); stop it, or give this one another folder", filepath.Dir(path)).
			With("used_by", "another towpathd").Because(err)
	case errors.Is(err, errNotOurs), errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s is no data file of Towpath, or it is damaged; give another folder or restore a backup", path).Because(err)
	default:
		return unavailable(err, "the data file %s cannot be opened", path)
	}
}

func unavailable(err error, format string, args ...any) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, format, args...).Because(err)
}

// Err tells whether the store works: nil, ErrClosed, or the disk error that ended it (errs.Unavailable; only a restart helps).
// It is for readiness.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.ended
}

// end stops all use of the store with that error; the first one stays.
func (db *DB) end(err error) {
	db.mu.Lock()
	if db.ended == nil {
		db.ended = err
	}
	db.mu.Unlock()
	db.queue.close(db.Err())
	db.grown.Notify()
}

// Close implements store.KV.
func (db *DB) Close() error {
	db.mu.Lock()
	again := db.closed
	db.closed = true
	db.mu.Unlock()
	if again {
		return nil
	}
	db.end(store.Closed())
	close(db.stop)
	db.finished.Wait()
	if err := db.bolt.Close(); err != nil { // waits for readers
		return fmt.Errorf("close the data file %s: %w", db.cfg.Path, err)
	}
	return nil
}

// view runs fn on a snapshot, unless the store has ended.
func (db *DB) view(ctx context.Context, fn func(tx *bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.Err(); err != nil {
		return err
	}
	err := db.bolt.View(fn)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) { // Close came in between
		return store.Closed()
	}
	return err
}
