package git

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // Git's object ids are SHA-1; nothing here relies on its collision resistance.
	"fmt"
	"iter"
	"strconv"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// object is one Git object in memory. base, when set, is what its pack entry may be a delta of.
type object struct {
	typ      plumbing.ObjectType
	data     []byte
	base     Hash
	baseData []byte
}

// hashObject gives the id of an object. It uses the standard library's SHA-1, several times faster than the
// collision-detecting one, because the bytes are our own; packs that others send are hashed with the latter.
func hashObject(typ plumbing.ObjectType, data []byte) Hash {
	d := sha1.New() //nolint:gosec // as above
	var head [32]byte
	b := append(head[:0], typ.String()...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(data)), 10)
	b = append(b, 0)
	_, _ = d.Write(b)
	_, _ = d.Write(data)
	var h Hash
	d.Sum(h[:0])
	return h
}

// ObjectSet collects the new objects of one push, in memory, each once. It is safe for concurrent use.
type ObjectSet struct {
	mu    sync.RWMutex
	byID  map[Hash]object
	order []Hash
	bytes int64
}

// NewObjectSet gives an empty set.
func NewObjectSet() *ObjectSet { return &ObjectSet{byID: map[Hash]object{}} }

// AddBlob adds a file's content and gives its id. The bytes must not change afterwards.
func (s *ObjectSet) AddBlob(data []byte) Hash { return s.add(plumbing.BlobObject, data) }

// AddTree adds a tree, whose entries may be in any order, and gives its id.
func (s *ObjectSet) AddTree(entries []Entry) Hash {
	return s.add(plumbing.TreeObject, encodeTree(entries))
}

// Len is the number of objects.
func (s *ObjectSet) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.order)
}

// Bytes is the sum of the objects' sizes before compression: an upper bound, within a few bytes an object, of the pack.
func (s *ObjectSet) Bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bytes
}

// Over gives a reader that looks into the set first and then into r, so that a second commit can be built on a first that
// is not pushed yet.
func (s *ObjectSet) Over(r Reader) Reader { return overlay{set: s, Reader: r} }

func (s *ObjectSet) add(typ plumbing.ObjectType, data []byte) Hash {
	h := hashObject(typ, data)
	s.put(h, object{typ: typ, data: data})
	return h
}

func (s *ObjectSet) put(h Hash, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byID[h]; ok {
		return
	}
	s.byID[h] = o
	s.order = append(s.order, h)
	s.bytes += int64(len(o.data))
}

func (s *ObjectSet) get(h Hash) (object, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.byID[h]
	return o, ok
}

// all gives the objects in the order they were added; the set must not grow meanwhile.
func (s *ObjectSet) all() iter.Seq2[Hash, object] {
	return func(yield func(Hash, object) bool) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		for _, h := range s.order {
			if !yield(h, s.byID[h]) {
				return
			}
		}
	}
}

// overlay is a reader with a set of new objects on top.
type overlay struct {
	Reader
	set *ObjectSet
}

func (o overlay) RawTree(ctx context.Context, h Hash) ([]byte, error) {
	if obj, ok := o.set.get(h); ok && obj.typ == plumbing.TreeObject {
		return obj.data, nil
	}
	return o.Reader.RawTree(ctx, h)
}

func (o overlay) Tree(ctx context.Context, h Hash) ([]Entry, error) {
	if obj, ok := o.set.get(h); ok && obj.typ == plumbing.TreeObject {
		return decodeTree(obj.data)
	}
	return o.Reader.Tree(ctx, h)
}

func (o overlay) Blob(ctx context.Context, h Hash) ([]byte, error) {
	if obj, ok := o.set.get(h); ok && obj.typ == plumbing.BlobObject {
		return obj.data, nil
	}
	return o.Reader.Blob(ctx, h)
}

func (o overlay) Commit(ctx context.Context, h Hash) (Commit, error) {
	if obj, ok := o.set.get(h); ok && obj.typ == plumbing.CommitObject {
		return decodeCommit(h, obj.data)
	}
	return o.Reader.Commit(ctx, h)
}

// rawEntry is one entry of an encoded tree: its place, name, mode and id, without a copy.
type rawEntry struct {
	start, end int
	name       []byte
	mode       []byte
	id         []byte
}

func (e rawEntry) isDir() bool { return string(e.mode) == "40000" }

func (e rawEntry) hash() Hash { return Hash(e.id) }

// nextEntry reads the entry at offset off of an encoded tree; ok is false when the bytes are not a tree.
func nextEntry(raw []byte, off int) (e rawEntry, ok bool) {
	rest := raw[off:]
	sp := bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return e, false
	}
	nul := bytes.IndexByte(rest[sp+1:], 0)
	if nul <= 0 {
		return e, false
	}
	nul += sp + 1
	end := nul + 1 + len(ZeroHash)
	if end > len(rest) {
		return e, false
	}
	return rawEntry{start: off, end: off + end, mode: rest[:sp], name: rest[sp+1 : nul], id: rest[nul+1 : end]}, true
}

// rawEntries gives the entries of an encoded tree; a malformed one ends with an entry whose end is -1.
func rawEntries(raw []byte) iter.Seq[rawEntry] {
	return func(yield func(rawEntry) bool) {
		for off := 0; off < len(raw); {
			e, ok := nextEntry(raw, off)
			if !ok {
				yield(rawEntry{start: off, end: -1})
				return
			}
			if !yield(e) {
				return
			}
			off = e.end
		}
	}
}

// compareNames is Git's order: a directory's name sorts as if it ended in a slash.
func compareNames(a []byte, aDir bool, b []byte, bDir bool) int {
	n := min(len(a), len(b))
	if c := bytes.Compare(a[:n], b[:n]); c != 0 {
		return c
	}
	return int(nameByte(a, n, aDir)) - int(nameByte(b, n, bDir))
}

func nameByte(name []byte, i int, dir bool) byte {
	switch {
	case i < len(name):
		return name[i]
	case dir:
		return '/'
	default:
		return 0
	}
}

func appendEntry(raw []byte, mode string, name []byte, id Hash) []byte {
	raw = append(raw, mode...)
	raw = append(raw, ' ')
	raw = append(raw, name...)
	raw = append(raw, 0)
	return append(raw, id[:]...)
}

// modeText is a mode as trees hold it: octal without leading zeros.
func modeText(m Mode) string { return strconv.FormatUint(uint64(m), 8) }

func decodeTree(raw []byte) ([]Entry, error) {
	var entries []Entry
	for e := range rawEntries(raw) {
		if e.end < 0 {
			return nil, fmt.Errorf("a tree is malformed at byte %d", e.start)
		}
		mode, err := filemode.New(string(e.mode))
		if err != nil {
			return nil, fmt.Errorf("a tree has mode %q: %w", e.mode, err)
		}
		entries = append(entries, Entry{Name: string(e.name), Mode: mode, Hash: e.hash()})
	}
	return entries, nil
}
