package git

import (
	"bytes"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// connectivity checks that a set of new objects names nothing that is missing or of the wrong type. One step from every new
// object is enough, because everything in the store has been checked in the same way before: a reference to one of the new
// objects can then never be broken.
type connectivity struct {
	ids  map[Hash]plumbing.ObjectType
	need map[Hash]plumbing.ObjectType
}

func newConnectivity(count int) *connectivity {
	return &connectivity{ids: make(map[Hash]plumbing.ObjectType, count), need: make(map[Hash]plumbing.ObjectType, count)}
}

// add notes an object and what it names. The error says what is malformed.
func (c *connectivity) add(id Hash, o object) error {
	c.ids[id] = o.typ
	switch o.typ {
	case plumbing.TreeObject:
		return c.addTree(id, o)
	case plumbing.CommitObject:
		commit, err := decodeCommit(id, o.data)
		if err != nil {
			return err
		}
		for _, p := range commit.Parents {
			c.need[p] = plumbing.CommitObject
		}
		c.need[commit.Tree] = plumbing.TreeObject
	case plumbing.TagObject:
		return c.addTag(id, o.data)
	default: // a file names nothing
	}
	return nil
}

func (c *connectivity) addTree(id Hash, o object) error {
	raw := o.data
	// What a tree of ours has in common with the one it was spliced from is there when that one is. It spares looking up
	// every entry of every folder on the way. Objects of others come without a base.
	same, tail := 0, len(raw)
	if !o.base.IsZero() {
		c.need[o.base] = plumbing.TreeObject
		same = commonPrefix(o.baseData, raw)
		tail -= commonSuffix(o.baseData[same:], raw[same:])
	}
	var last rawEntry
	for e := range rawEntries(raw) {
		if e.end < 0 {
			return fmt.Errorf("tree %s is malformed", id)
		}
		if last.name != nil && compareNames(last.name, last.isDir(), e.name, e.isDir()) >= 0 {
			return fmt.Errorf("tree %s is not sorted at %q", id, e.name)
		}
		if name := string(e.name); name == "." || name == ".." || bytes.IndexByte(e.name, '/') >= 0 || isDotGit(name) {
			return fmt.Errorf("tree %s has an entry of the name %q", id, name)
		}
		last = e
		switch {
		case e.end <= same || e.start >= tail:
		case e.isDir():
			c.need[e.hash()] = plumbing.TreeObject
		case string(e.mode) == modeText(filemode.Submodule):
			// names a commit of another repository
		default:
			c.need[e.hash()] = plumbing.BlobObject
		}
	}
	return nil
}

func (c *connectivity) addTag(id Hash, raw []byte) error {
	object, rest, _ := bytes.Cut(raw, []byte("\n"))
	kind, _, _ := bytes.Cut(rest, []byte("\n"))
	target := NewHash(string(bytes.TrimPrefix(object, []byte("object "))))
	typ, err := plumbing.ParseObjectType(string(bytes.TrimPrefix(kind, []byte("type "))))
	if err != nil || target.IsZero() {
		return fmt.Errorf("tag %s is malformed", id)
	}
	c.need[target] = typ
	return nil
}

// missing gives the first object that is named and neither new nor in the store with the right type; ok is true when there
// is none.
func (c *connectivity) missing(s *store) (h Hash, ok bool) {
	for h, typ := range c.need {
		have, found := c.ids[h]
		if !found {
			have, found = s.typeOf(h)
		}
		if h == EmptyTree && typ == plumbing.TreeObject {
			continue
		}
		if !found || have != typ {
			return h, false
		}
	}
	return ZeroHash, true
}

// typeOf gives an object's type without reading it where possible.
func (s *store) typeOf(h Hash) (plumbing.ObjectType, bool) {
	if o, ok := s.cache.get(h); ok {
		return o.typ, true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		if at, ok := p.find(h); ok {
			typ, err := p.typeOf(at)
			return typ, err == nil
		}
	}
	o, err := s.loose(h)
	return o.typ, err == nil
}

// typeOf follows the headers of a chain of deltas to the whole object at its beginning.
func (p *pack) typeOf(offset int64) (plumbing.ObjectType, error) {
	for range 10_000 {
		h, err := readHead(p.data, offset)
		switch {
		case err != nil:
			return 0, err
		case h.typ == plumbing.OFSDeltaObject:
			offset = h.baseAt
		case h.typ == plumbing.REFDeltaObject:
			at, ok := p.find(h.baseRef)
			if !ok {
				return 0, corrupt("a delta's base %s is missing", h.baseRef)
			}
			offset = at
		default:
			return h.typ, nil
		}
	}
	return 0, corrupt("a chain of deltas without an end")
}
