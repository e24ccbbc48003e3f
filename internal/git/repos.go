package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// ReposOptions tune the embedded repositories. The zero value is right for production.
type ReposOptions struct {
	// Moved is called after a branch moved, by our own push or by a person's, without any lock held. It must not block: the
	// push waits for it.
	Moved func(repo, branch string, old, new Hash)
	// MaxPacks is the number of packs from which small ones are put together; zero means 40.
	MaxPacks int
	// Log may be nil.
	Log *slog.Logger
}

// Repos holds the embedded bare repositories of one data folder: name.git each. One process may have a folder open at a time;
// it is the only writer of what is in it. Safe for concurrent use.
type Repos struct {
	dir  string
	opts ReposOptions
	lock *os.File

	mu     sync.Mutex
	open   map[string]*repo
	closed bool
	work   sync.WaitGroup // repacking in the background
}

// OpenRepos opens a data folder, creating it when needed. Errors: errs.Unavailable with REASON_LOCKED when another process
// has it open.
func OpenRepos(dir string, opts ReposOptions) (*Repos, error) {
	if opts.MaxPacks <= 0 {
		opts.MaxPacks = 40
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("create the folder of the embedded repositories: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	return &Repos{dir: dir, opts: opts, lock: lock, open: map[string]*repo{}}, nil
}

// lockFile takes the lock that the kernel gives back when the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_LOCKED,
				"another process has the folder %s open; stop it or use another folder", filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// Close waits for background work and gives back all files and the folder's lock. Remotes of these repositories are not
// usable afterwards.
func (r *Repos) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, repo := range r.open {
		repo.mu.Lock()
		repo.store.close()
		repo.mu.Unlock()
	}
	return r.lock.Close()
}

// Names lists the repositories, sorted.
func (r *Repos) Names() ([]string, error) {
	var names []string
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() || !strings.HasSuffix(path, ".git") {
			return nil
		}
		rel, err := filepath.Rel(r.dir, path)
		if err != nil {
			return err
		}
		names = append(names, filepath.ToSlash(strings.TrimSuffix(rel, ".git")))
		return fs.SkipDir
	})
	if err != nil {
		return nil, fmt.Errorf("list the embedded repositories: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

var repoName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`)

// ValidateRepo says whether the name can be an embedded repository: letters, digits, dots, hyphens and underscores, with
// slashes between. The error is errs.Invalid.
func ValidateRepo(name string) error {
	problem := ""
	switch {
	case len(name) > 200:
		problem = "is longer than 200 bytes"
	case !repoName.MatchString(name):
		problem = "must be letters, digits, dots, hyphens and underscores, with single slashes between"
	}
	for part := range strings.SplitSeq(strings.ToLower(name), "/") {
		if strings.HasSuffix(part, ".git") || strings.HasSuffix(part, ".lock") || strings.HasSuffix(part, ".") {
			problem = `must not have a part that ends in ".git", ".lock" or a dot`
		}
	}
	if problem != "" {
		return errs.InvalidField("repository", "%q %s", name, problem)
	}
	return nil
}

// repo gives an open repository. Without create, one that does not exist is errs.NotFound.
func (r *Repos) repo(name string, create bool) (*repo, error) {
	if err := ValidateRepo(name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, unavailable(nil, "the embedded repositories are closed")
	}
	if repo := r.open[name]; repo != nil {
		return repo, nil
	}
	dir := filepath.Join(r.dir, filepath.FromSlash(name)+".git")
	_, err := os.Stat(filepath.Join(dir, "HEAD"))
	switch {
	case err == nil:
	case !create:
		return nil, errs.NotFoundf("repository "+name, "")
	default:
		if err := createBare(dir); err != nil {
			return nil, fmt.Errorf("create repository %s: %w", name, err)
		}
	}
	repo := &repo{name: name, repos: r, refs: refStore{dir: dir}}
	if err := repo.refs.removeLocks(); err != nil {
		return nil, fmt.Errorf("open repository %s: %w", name, err)
	}
	if repo.store, err = openStore(filepath.Join(dir, "objects"), true); err != nil {
		return nil, fmt.Errorf("open repository %s: %w", name, err)
	}
	r.open[name] = repo
	return repo, nil
}

// bareConfig makes real git treat the folder as what it is, and keeps it from repacking what we hold mapped.
const bareConfig = `[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
[gc]
	auto = 0
[receive]
	autogc = false
`

// createBare makes a bare repository. HEAD comes last: without it, the folder does not count and is made again.
func createBare(dir string) error {
	for _, sub := range []string{"refs/heads", "refs/tags", "objects/pack", "objects/info", "info"} {
		changed, err := makeDirs(filepath.Join(dir, filepath.FromSlash(sub)))
		if err != nil {
			return err
		}
		for _, d := range changed {
			if err := syncDir(d); err != nil {
				return err
			}
		}
	}
	if err := writeFile(filepath.Join(dir, "config"), []byte(bareConfig)); err != nil {
		return err
	}
	return refStore{dir: dir}.setHead(branchPrefix + "main")
}

// repo is one embedded repository. mu serialises its writers; reading needs no lock.
type repo struct {
	name  string
	repos *Repos
	refs  refStore
	store *store
	mu    sync.Mutex
}

// moveRef moves one branch or tag with the lock held, and maps what can happen to the errors of Remote.Push.
func (r *repo) moveRef(ref string, old, new Hash) error {
	short := strings.TrimPrefix(ref, branchPrefix)
	switch err := r.refs.update(ref, old, new); {
	case err == nil:
		r.adoptHead(ref)
		return nil
	case errors.Is(err, errRefMoved):
		tip, readErr := r.refs.read(ref)
		return errors.Join(moved(short, old, tip), readErr)
	case errors.Is(err, errAfterRename):
		return unknown(short, err)
	default:
		return unavailable(err, "branch %s of repository %s could not be written", short, r.name)
	}
}

// adoptHead points HEAD at the first branch of a repository that has no branch main, so that a clone checks something out.
// When it fails, the branch itself has moved, durably, and only the default of a clone is not as it should be.
func (r *repo) adoptHead(ref string) {
	if !strings.HasPrefix(ref, branchPrefix) {
		return
	}
	head, err := r.refs.head()
	if err == nil && head == ref {
		return
	}
	tip := ZeroHash
	if err == nil {
		tip, err = r.refs.read(head)
	}
	if err == nil && tip.IsZero() {
		err = r.refs.setHead(ref)
	}
	if err != nil {
		r.repos.opts.Log.Warn("HEAD of an embedded repository could not be set", "repository", r.name, "error", err)
	}
}

// afterPush tells the listener, and puts small packs together in the background when there are many.
func (r *repo) afterPush(branch string, old, new Hash) {
	if r.repos.opts.Moved != nil {
		r.repos.opts.Moved(r.name, branch, old, new)
	}
	if r.store.packCount() <= r.repos.opts.MaxPacks || !r.store.repacking.TryLock() {
		return
	}
	r.repos.mu.Lock()
	defer r.repos.mu.Unlock()
	if r.repos.closed {
		r.store.repacking.Unlock()
		return
	}
	r.repos.work.Go(func() {
		defer r.store.repacking.Unlock()
		if err := r.store.consolidate(context.Background()); err != nil {
			r.repos.opts.Log.Error("an embedded repository could not be repacked", "repository", r.name, "error", err)
		}
	})
}
