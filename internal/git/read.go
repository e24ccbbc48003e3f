package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Limits bound what ReadSubtree gives; zero means no bound.
type Limits struct {
	// Files is the largest number of files.
	Files int
	// Bytes is the largest sum of the files' sizes.
	Bytes int64
}

// prefetcher is a reader that can fetch many objects in one session instead of one by one.
type prefetcher interface {
	prefetchBlobs(ctx context.Context, blobs []Hash) error
}

// Lookup gives the entry at a path of the tree root. The path "" is the root itself. Errors: ErrNotFound.
func Lookup(ctx context.Context, r TreeReader, root Hash, p string) (Entry, error) {
	e := Entry{Mode: ModeDir, Hash: root}
	if p == "" {
		return e, nil
	}
	for name := range strings.SplitSeq(p, "/") {
		if !e.IsDir() || e.Hash.IsZero() {
			return Entry{}, notFound(p)
		}
		raw, err := r.RawTree(ctx, e.Hash)
		if err != nil {
			return Entry{}, err
		}
		next, ok, err := findEntry(raw, name)
		if err != nil {
			return Entry{}, err
		}
		if !ok {
			return Entry{}, notFound(p)
		}
		e = next
	}
	return e, nil
}

func findEntry(raw []byte, name string) (Entry, bool, error) {
	for e := range rawEntries(raw) {
		if e.end < 0 {
			return Entry{}, false, corrupt("a tree is malformed at byte %d", e.start)
		}
		if string(e.name) == name {
			entries, err := decodeTree(raw[e.start:e.end])
			if err != nil {
				return Entry{}, false, err
			}
			return entries[0], true, nil
		}
	}
	return Entry{}, false, nil
}

// WalkTree calls fn for every entry below the tree root, a directory before what is in it, in Git's order. fn may return
// SkipDir for a directory to leave out what is in it; any other error ends the walk and is returned.
func WalkTree(ctx context.Context, r TreeReader, root Hash, fn func(path string, e Entry) error) error {
	return walkTree(ctx, r, root, "", fn)
}

// SkipDir tells WalkTree not to go into a directory.
var SkipDir = fs.SkipDir

func walkTree(ctx context.Context, r TreeReader, tree Hash, prefix string, fn func(string, Entry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if tree.IsZero() {
		return nil
	}
	raw, err := r.RawTree(ctx, tree)
	if err != nil {
		return err
	}
	entries, err := decodeTree(raw)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(prefix, e.Name)
		switch err := fn(p, e); {
		case err != nil && e.IsDir() && errors.Is(err, SkipDir):
			continue
		case err != nil:
			return err
		}
		if e.IsDir() {
			if err := walkTree(ctx, r, e.Hash, p, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadSubtree gives the files under a path of the tree root (a tree's id, not a commit's), by their path relative to it.
// Symbolic links and submodules are left out: a bundle has neither. A path that is a file gives that file under its own
// base name. Errors: ErrNotFound when the path does not exist, errs.OutOfRange with REASON_TOO_LARGE over the limits.
func ReadSubtree(ctx context.Context, r Reader, root Hash, p string, limits Limits) (map[string][]byte, error) {
	top, err := Lookup(ctx, r, root, p)
	if err != nil {
		return nil, err
	}
	ids := map[string]Hash{}
	if !top.IsDir() {
		ids[path.Base(p)] = top.Hash
	} else if err := walkTree(ctx, r, top.Hash, "", collectFiles(ids, p, limits)); err != nil {
		return nil, err
	}
	if pf, ok := r.(prefetcher); ok {
		wanted := make([]Hash, 0, len(ids))
		for _, h := range ids {
			wanted = append(wanted, h)
		}
		if err := pf.prefetchBlobs(ctx, wanted); err != nil {
			return nil, err
		}
	}
	files := make(map[string][]byte, len(ids))
	var total int64
	for name, h := range ids {
		data, err := r.Blob(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path.Join(p, name), err)
		}
		if total += int64(len(data)); limits.Bytes > 0 && total > limits.Bytes {
			return nil, overLimit(p, fmt.Sprintf("%d bytes", limits.Bytes))
		}
		files[name] = data
	}
	return files, nil
}

func collectFiles(ids map[string]Hash, p string, limits Limits) func(string, Entry) error {
	return func(name string, e Entry) error {
		if !e.Mode.IsFile() || e.Mode == symlinkMode {
			return nil
		}
		ids[name] = e.Hash
		if limits.Files > 0 && len(ids) > limits.Files {
			return overLimit(p, fmt.Sprintf("%d files", limits.Files))
		}
		return nil
	}
}

func overLimit(p, limit string) error {
	return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_TOO_LARGE, "%q holds more than %s; ask for a folder in it", p, limit)
}

// ListOptions say which commits ListCommits gives.
type ListOptions struct {
	// Path leaves out commits that did not change the entry at this path against their first parent; "" means all.
	Path string
	// Limit is the number of commits wanted; zero means 50.
	Limit int
	// Scan is how many commits may be looked at for them; zero means 2,000.
	Scan int
}

// ListCommits gives commits from the commit `from` on, newest first, along first parents: the states that the branch went
// through. next is where the following page begins, the zero Hash at the end of what is known: the first commit, or, in a
// mirror of a host that gives no older commits, where its history was cut.
func ListCommits(ctx context.Context, r Reader, from Hash, opts ListOptions) (commits []Commit, next Hash, err error) {
	limit, scan := opts.Limit, opts.Scan
	if limit <= 0 {
		limit = 50
	}
	if scan <= 0 {
		scan = 2000
	}
	at := from
	var cur Commit
	known := false
	for ; scan > 0 && len(commits) < limit && !at.IsZero(); scan-- {
		if !known {
			if cur, err = r.Commit(ctx, at); err != nil {
				return nil, ZeroHash, err
			}
		}
		parent, parentKnown, err := firstParent(ctx, r, cur)
		if err != nil {
			return nil, ZeroHash, err
		}
		touched, err := touches(ctx, r, cur, parent, opts.Path)
		if err != nil {
			return nil, ZeroHash, err
		}
		if touched {
			commits = append(commits, cur)
		}
		at, cur, known = parent.Hash, parent, parentKnown
	}
	return commits, at, nil
}

// firstParent gives the parent; the zero Commit at the end of the known history.
func firstParent(ctx context.Context, r Reader, c Commit) (Commit, bool, error) {
	if len(c.Parents) == 0 {
		return Commit{}, false, nil
	}
	parent, err := r.Commit(ctx, c.Parents[0])
	if errors.Is(err, ErrMissing) {
		return Commit{}, false, nil
	}
	return parent, err == nil, err
}

func touches(ctx context.Context, r Reader, c, parent Commit, p string) (bool, error) {
	if p == "" {
		return true, nil
	}
	if c.Tree == parent.Tree {
		return false, nil
	}
	now, err := entryOrNothing(ctx, r, c.Tree, p)
	if err != nil {
		return false, err
	}
	before, err := entryOrNothing(ctx, r, parent.Tree, p)
	return now != before, err
}

func entryOrNothing(ctx context.Context, r Reader, root Hash, p string) (Entry, error) {
	e, err := Lookup(ctx, r, root, p)
	if errors.Is(err, ErrNotFound) {
		return Entry{}, nil
	}
	return e, err
}
