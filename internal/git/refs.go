package git

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	branchPrefix = "refs/heads/"
	tagPrefix    = "refs/tags/"
)

// refStore is the references of one bare repository on disk. Its methods are called with the repository's lock held, except
// read and list: a reference file is replaced by rename, so a reader sees the old or the new one.
type refStore struct{ dir string }

// errRefMoved means that a reference is not what the update expected.
var errRefMoved = errors.New("the reference has moved")

// errAfterRename wraps a failure after the new reference may be visible: the outcome is not known.
var errAfterRename = errors.New("the reference may have moved")

// read gives a reference's id, the zero Hash when there is none.
func (r refStore) read(ref string) (Hash, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(ref)))
	switch {
	case err == nil:
		return parseRef(ref, data)
	case errors.Is(err, fs.ErrNotExist) || isNotFile(err):
		packed, err := r.packed()
		return packed[ref], err
	default:
		return ZeroHash, err
	}
}

func isNotFile(err error) bool {
	return errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR)
}

func parseRef(ref string, data []byte) (Hash, error) {
	text := string(bytes.TrimSpace(data))
	if h := NewHash(text); len(text) == 40 && !h.IsZero() {
		return h, nil
	}
	return ZeroHash, corrupt("%s holds %q and not an object id", ref, text)
}

// packed reads the references that git packed into one file before the repository was handed to us.
func (r refStore) packed() (map[string]Hash, error) {
	f, err := os.Open(filepath.Join(r.dir, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	refs := map[string]Hash{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		id, name, ok := strings.Cut(lines.Text(), " ")
		if ok && len(id) == 40 && strings.HasPrefix(name, "refs/") {
			refs[name] = NewHash(id)
		}
	}
	return refs, lines.Err()
}

// list gives all references.
func (r refStore) list() (map[string]Hash, error) {
	refs, err := r.packed()
	if err != nil {
		return nil, err
	}
	if refs == nil {
		refs = map[string]Hash{}
	}
	err = filepath.WalkDir(filepath.Join(r.dir, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".lock") {
			return err
		}
		name, err := filepath.Rel(r.dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		h, err := parseRef(name, data)
		refs[filepath.ToSlash(name)] = h
		return err
	})
	return refs, err
}

// head gives the reference that HEAD names.
func (r refStore) head() (string, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, "HEAD"))
	if err != nil {
		return "", err
	}
	ref, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "ref: ")
	if !ok {
		return "", corrupt("HEAD does not name a branch")
	}
	return ref, nil
}

// update moves a reference from old to new, a zero new deletes it. Errors: errRefMoved when it is not at old,
// errAfterRename when the outcome is not known; after any other error nothing has changed.
func (r refStore) update(ref string, old, new Hash) error {
	path := filepath.Join(r.dir, filepath.FromSlash(ref))
	made, err := makeDirs(filepath.Dir(path))
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		lock.Close()
		if !renamed {
			os.Remove(path + ".lock")
		}
	}()
	current, err := r.read(ref)
	if err != nil {
		return err
	}
	if current != old {
		return errRefMoved
	}
	if new.IsZero() {
		return r.remove(ref, path)
	}
	if _, err := lock.WriteString(new.String() + "\n"); err != nil {
		return err
	}
	if err := lock.Sync(); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		// What a deleted branch "a/b" leaves is in the way of a branch "a". A folder with branches in it stays.
		if err := removeEmptyDirs(path); err != nil {
			return err
		}
	}
	if err := os.Rename(path+".lock", path); err != nil {
		return err
	}
	renamed = true
	for _, dir := range append(made, filepath.Dir(path)) {
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("%w: %w", errAfterRename, err)
		}
	}
	return nil
}

func (r refStore) remove(ref, path string) error {
	// The packed file first: a reference that is gone as a file would otherwise come back as it was when packed.
	packed, err := r.packed()
	if err != nil {
		return err
	}
	if _, ok := packed[ref]; ok {
		delete(packed, ref)
		if err := r.writePacked(packed); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w: %w", errAfterRename, err)
	}
	return nil
}

func (r refStore) writePacked(refs map[string]Hash) error {
	var b strings.Builder
	b.WriteString("# pack-refs with: \n")
	for name, h := range refs {
		fmt.Fprintf(&b, "%s %s\n", h, name)
	}
	return writeFile(filepath.Join(r.dir, "packed-refs"), []byte(b.String()))
}

// setHead makes HEAD name another branch.
func (r refStore) setHead(ref string) error {
	return writeFile(filepath.Join(r.dir, "HEAD"), []byte("ref: "+ref+"\n"))
}

// writeFile replaces a file so that a crash leaves the old or the new content.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".lock"))
	}
	if err := os.Rename(path+".lock", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeDirs creates a folder and its parents and gives the folders whose entries changed, which have to be made durable.
func makeDirs(dir string) (changed []string, err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, nil
	}
	if changed, err = makeDirs(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return append(changed, filepath.Dir(dir)), nil
}

func removeEmptyDirs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			return fmt.Errorf("%s is a folder of branches", filepath.Base(dir))
		}
		if err := removeEmptyDirs(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}

// removeLocks deletes the lock files that a killed process left. Nobody else writes the repository while we hold the data
// folder's lock, so each of them is stale.
func (r refStore) removeLocks() error {
	for _, name := range []string{"HEAD.lock", "packed-refs.lock", "config.lock"} {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return filepath.WalkDir(filepath.Join(r.dir, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".lock") {
			return err
		}
		return os.Remove(path)
	})
}
