package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/klauspost/compress/zlib"
	"golang.org/x/sync/errgroup"
)

// store is the object folder of a bare repository: packs, and loose objects for reading only. A durable one fsyncs what it
// writes before anybody can see it. Reading and adding are safe for concurrent use.
type store struct {
	dir     string
	durable bool
	cache   *objectCache

	mu    sync.RWMutex
	packs []*pack // the newest first

	repacking sync.Mutex
}

// openStore opens an object folder, creating it when needed, and removes what a killed process left half written.
func openStore(dir string, durable bool) (*store, error) {
	s := &store{dir: dir, durable: durable, cache: newObjectCache(cacheBytes)}
	packDir := s.packDir()
	if err := os.MkdirAll(packDir, 0o755); err != nil {
		return nil, err
	}
	if err := removeLeftovers(packDir); err != nil {
		return nil, err
	}
	names, err := packNames(packDir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		p, err := openPack(name)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("open %s: %w", filepath.Base(name), err)
		}
		s.packs = append(s.packs, p)
	}
	return s, nil
}

// removeLeftovers deletes temporary files, and packs without index: no reference can name what is in them, because an index
// becomes durable before a reference moves.
func removeLeftovers(packDir string) error {
	entries, err := os.ReadDir(packDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		leftover := strings.HasPrefix(name, "tmp_")
		if base, ok := strings.CutSuffix(name, ".pack"); ok {
			_, err := os.Stat(filepath.Join(packDir, base+".idx"))
			leftover = errors.Is(err, fs.ErrNotExist)
		}
		if base, ok := strings.CutSuffix(name, ".idx"); ok {
			_, err := os.Stat(filepath.Join(packDir, base+".pack"))
			leftover = errors.Is(err, fs.ErrNotExist)
		}
		if leftover {
			if err := os.Remove(filepath.Join(packDir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *store) packDir() string { return filepath.Join(s.dir, "pack") }

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packs {
		p.close()
	}
	s.packs = nil
}

func (s *store) packCount() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.packs)
}

// size is the sum of the packs in bytes.
func (s *store) size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, p := range s.packs {
		n += p.size()
	}
	return n
}

// has says whether the object is here, without reading it.
func (s *store) has(h Hash) bool {
	if _, ok := s.cache.get(h); ok {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := false
	err := guarded(func() error {
		for _, p := range s.packs {
			if _, found = p.find(h); found {
				break
			}
		}
		return nil
	})
	if found && err == nil {
		return true
	}
	_, err = os.Stat(s.loosePath(h))
	return err == nil
}

// get reads an object and checks its id. Errors: fs.ErrNotExist when it is not here, errCorrupt.
func (s *store) get(h Hash) (object, error) {
	if o, ok := s.cache.get(h); ok {
		return o, nil
	}
	o, err := s.find(h)
	if err != nil {
		return object{}, err
	}
	if hashObject(o.typ, o.data) != h {
		return object{}, corrupt("object %s has the content of another", h)
	}
	s.cache.put(h, o)
	return o, nil
}

func (s *store) find(h Hash) (object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var o object
	found := false
	err := guarded(func() (err error) {
		for _, p := range s.packs {
			if at, ok := p.find(h); ok {
				found = true
				o.typ, o.data, err = p.read(at)
				return err
			}
		}
		return nil
	})
	if found || err != nil {
		return o, err
	}
	return s.loose(h)
}

func (s *store) loosePath(h Hash) string {
	hex := h.String()
	return filepath.Join(s.dir, hex[:2], hex[2:])
}

// loose reads an object that git wrote before the repository was handed to us.
func (s *store) loose(h Hash) (object, error) {
	f, err := os.Open(s.loosePath(h))
	if err != nil {
		return object{}, fs.ErrNotExist
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		return object{}, corrupt("loose object %s: %v", h, err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxObject))
	if err != nil {
		return object{}, corrupt("loose object %s: %v", h, err)
	}
	head, body, _ := bytes.Cut(data, []byte{0})
	kind, size, _ := strings.Cut(string(head), " ")
	typ, err := plumbing.ParseObjectType(kind)
	if n, sizeErr := strconv.Atoi(size); err != nil || sizeErr != nil || n != len(body) {
		return object{}, corrupt("loose object %s has the header %q", h, head)
	}
	return object{typ: typ, data: body}, nil
}

// typed reads an object that must be of one type. Errors: ErrMissing, errCorrupt.
func (s *store) typed(h Hash, typ plumbing.ObjectType) ([]byte, error) {
	o, err := s.get(h)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missing(typ.String(), h)
	case err != nil:
		return nil, err
	case o.typ != typ:
		return nil, missing(typ.String(), h)
	}
	return o.data, nil
}

// RawTree, Tree, Blob and Commit make a store a Reader.
func (s *store) RawTree(_ context.Context, h Hash) ([]byte, error) {
	if h.IsZero() || h == EmptyTree {
		return nil, nil
	}
	return s.typed(h, plumbing.TreeObject)
}

// Tree gives the entries of a tree.
func (s *store) Tree(ctx context.Context, h Hash) ([]Entry, error) {
	raw, err := s.RawTree(ctx, h)
	if err != nil {
		return nil, err
	}
	return decodeTree(raw)
}

// Blob gives a file's content.
func (s *store) Blob(_ context.Context, h Hash) ([]byte, error) {
	return s.typed(h, plumbing.BlobObject)
}

// Commit gives a commit.
func (s *store) Commit(_ context.Context, h Hash) (Commit, error) {
	raw, err := s.typed(h, plumbing.CommitObject)
	if err != nil {
		return Commit{}, err
	}
	return decodeCommit(h, raw)
}

// install adds a pack: its bytes and its index's. When it returns nil, a durable store has both on disk.
func (s *store) install(data []byte, entries []packEntry, sum Hash) error {
	tmp, err := os.CreateTemp(s.packDir(), "tmp_pack_")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no longer there when all went well
	_, err = tmp.Write(data)
	if err != nil {
		tmp.Close()
		return err
	}
	return s.installFile(tmp, entries, sum)
}

// installFile adds a pack that is written to a temporary file in packDir; it closes the file and takes it over.
func (s *store) installFile(tmp *os.File, entries []packEntry, sum Hash) error {
	final := filepath.Join(s.packDir(), "pack-"+sum.String())
	var g errgroup.Group
	g.Go(func() error { return s.finish(tmp) })
	tmpIdx, err := os.CreateTemp(s.packDir(), "tmp_idx_")
	if err != nil {
		return errors.Join(err, g.Wait())
	}
	defer os.Remove(tmpIdx.Name())
	g.Go(func() error {
		if _, err := tmpIdx.Write(encodeIndex(entries, sum)); err != nil {
			return errors.Join(err, tmpIdx.Close())
		}
		return s.finish(tmpIdx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	// The index last: a pack counts from the moment its index is there. A pack of this name that is here already has the same
	// bytes, and replacing it leaves what readers have mapped as it is.
	if err := os.Rename(tmp.Name(), final+".pack"); err != nil {
		return err
	}
	if err := os.Rename(tmpIdx.Name(), final+".idx"); err != nil {
		return err
	}
	if s.durable {
		if err := syncDir(s.packDir()); err != nil {
			return err
		}
	}
	p, err := openPack(final)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.packs, func(other *pack) bool { return other.path == final }) {
		p.close()
		return nil
	}
	s.packs = append([]*pack{p}, s.packs...)
	return nil
}

// finish makes a temporary file durable, readable like git's own packs, and closes it.
func (s *store) finish(f *os.File) error {
	err := f.Chmod(0o444)
	if err == nil && s.durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes renames in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
