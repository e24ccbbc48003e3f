package git

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// consolidate puts small packs together so that an object is found in few places. It takes the smallest packs as long as
// they are together at least half as large as the next one: every byte is then copied a logarithmic number of times over the
// repository's life. The caller holds s.repacking.
//
// Readers are not disturbed: the new pack is there before the old ones go; our own readers copy what they read under the
// store's lock; git keeps a deleted file open and looks for packs again when an object is not found.
func (s *store) consolidate(ctx context.Context) error {
	chosen := s.smallPacks()
	if len(chosen) < 2 {
		return nil
	}
	total := 0
	copies := map[Hash]int{}
	for _, p := range chosen {
		for i := range p.count {
			id := p.id(i)
			if copies[id] == 0 {
				total++
			}
			copies[id]++
		}
	}
	tmp, err := os.CreateTemp(s.packDir(), "tmp_pack_")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	b, err := newPackBuilder(tmp, total)
	if err != nil {
		tmp.Close()
		return err
	}
	trees := &treeBases{last: map[string]treeBase{}}
	for _, p := range slices.Backward(chosen) { // the largest first: its trees are the older ones
		if err := copyPack(ctx, b, p, copies, trees); err != nil {
			tmp.Close()
			return err
		}
	}
	sum, err := b.finish()
	if err != nil {
		tmp.Close()
		return err
	}
	if err := s.installFile(tmp, b.entries, sum); err != nil {
		return fmt.Errorf("install the consolidated pack: %w", err)
	}
	return s.retire(chosen, sum)
}

// smallPacks chooses the packs to put together. Nobody but the holder of s.repacking closes packs, so they stay open.
func (s *store) smallPacks() []*pack {
	s.mu.RLock()
	packs := slices.Clone(s.packs)
	s.mu.RUnlock()
	slices.SortStableFunc(packs, func(a, b *pack) int { return cmp.Compare(a.size(), b.size()) })
	var sum int64
	n := 0
	for n < len(packs) && (n < 2 || 2*sum >= packs[n].size()) {
		sum += packs[n].size()
		n++
	}
	return packs[:n]
}

// copyPack copies the entries of one pack as they are, compressed. A delta's base is named anew, because it lies elsewhere
// now. An object that is in several packs and is a delta is written whole: two packs may each hold one of a pair as a delta
// of the other, and copying one of each would leave two deltas without a base.
func copyPack(ctx context.Context, b *packBuilder, p *pack, copies map[Hash]int, trees *treeBases) error {
	type place struct {
		offset int64
		id     Hash
	}
	places := make([]place, p.count)
	idAt := make(map[int64]Hash, p.count)
	for i := range p.count {
		places[i] = place{offset: p.offset(i), id: p.id(i)}
		idAt[places[i].offset] = places[i].id
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.offset, b.offset) })
	for i, at := range places {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, done := b.at[at.id]; done {
			continue
		}
		end := p.size() - 20
		if i+1 < len(places) {
			end = places[i+1].offset
		}
		h, err := readHead(p.data, at.offset)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(p.path), err)
		}
		isDelta := h.typ == plumbing.OFSDeltaObject || h.typ == plumbing.REFDeltaObject
		switch {
		case isDelta && copies[at.id] > 1, h.typ == plumbing.TreeObject && h.size >= minDelta:
			err = copyWhole(b, p, at.offset, at.id, trees)
		case isDelta:
			base := h.baseRef
			if h.typ == plumbing.OFSDeltaObject {
				base = idAt[h.baseAt]
			}
			err = b.addDelta(at.id, base, h.size, p.data[at.offset+int64(h.len):end])
		default:
			err = b.addRaw(at.id, p.data[at.offset:end])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(p.path), err)
		}
	}
	return nil
}

// copyWhole writes an object anew: a large tree as a delta of an earlier version of it, where there is one. Pushes of one
// commit hold every tree on their path whole; without this a long history would take ten times the space.
func copyWhole(b *packBuilder, p *pack, offset int64, id Hash, trees *treeBases) error {
	typ, data, err := p.read(offset)
	if err != nil {
		return err
	}
	o := object{typ: typ, data: data}
	if typ == plumbing.TreeObject && len(data) >= minDelta {
		before := trees.swap(id, data)
		o.base, o.baseData = before.id, before.data
	}
	return b.add(id, o, false)
}

// addDelta writes a delta whose compressed bytes are made already. Its base is named by where it lies in this pack or, when it
// comes later, by its id.
func (b *packBuilder) addDelta(id, base Hash, size int, compressed []byte) error {
	b.buf.Reset()
	if where, here := b.at[base]; here {
		appendHead(&b.buf, plumbing.OFSDeltaObject, size)
		b.buf.Write(ofsBytes(b.offset - where))
	} else {
		appendHead(&b.buf, plumbing.REFDeltaObject, size)
		b.buf.Write(base[:])
	}
	b.depth[id] = b.depth[base] + 1
	b.buf.Write(compressed)
	return b.addRaw(id, b.buf.Bytes())
}

// treeBases finds, for a tree, the version of it that was written last: the one with the same first and last name. A wrong
// guess costs nothing, because makeDelta gives none then.
type treeBases struct {
	last  map[string]treeBase
	bytes int
}

type treeBase struct {
	id   Hash
	data []byte
}

// maxTreeBases bounds the trees kept for comparison, in bytes.
const maxTreeBases = 32 << 20

func (t *treeBases) swap(id Hash, data []byte) treeBase {
	key := ""
	for e := range rawEntries(data) {
		if key == "" || e.end == len(data) {
			key += string(e.name) + "/"
		}
	}
	before := t.last[key]
	if t.bytes += len(data) - len(before.data); t.bytes > maxTreeBases {
		clear(t.last)
		t.bytes = len(data)
	}
	t.last[key] = treeBase{id: id, data: data}
	return before
}

// retire takes packs out of use and deletes them.
func (s *store) retire(old []*pack, by Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := filepath.Join(s.packDir(), "pack-"+by.String())
	var failed error
	s.packs = slices.DeleteFunc(s.packs, func(p *pack) bool {
		if p.path == keep || !slices.Contains(old, p) {
			return false
		}
		p.close()
		// The index first: a pack without index is not looked at and is removed at the next start.
		for _, suffix := range []string{".idx", ".pack"} {
			if err := os.Remove(p.path + suffix); err != nil && failed == nil {
				failed = err
			}
		}
		return true
	})
	return failed
}
