package git

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"hash/crc32"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	gohash "github.com/go-git/go-git/v5/plumbing/hash"

	"github.com/towpath-dev/towpath/internal/errs"
)

// indexLimits keep a pack that somebody else made from taking all memory: a few kilobytes can inflate to gigabytes.
type indexLimits struct {
	object int64 // one object, in bytes
	total  int64 // all objects, in bytes; zero means no bound
	chain  int   // deltas on top of each other
}

// indexed is what indexPack finds.
type indexed struct {
	entries []packEntry
	sum     Hash
}

// indexPack reads a whole pack, computes every object's id with the collision-detecting SHA-1 and calls visit with each. The
// pack must be self-contained: a delta's base is in it. Errors: errCorrupt, errs.Invalid with REASON_TOO_LARGE, visit's.
func indexPack(data []byte, limits indexLimits, visit func(id Hash, o object) error) (indexed, error) {
	x := packIndexer{data: data, limits: limits, visit: visit, kids: map[int64][]int64{}, kidsOf: map[Hash][]int64{}}
	if err := x.checkTrailer(); err != nil {
		return indexed{}, err
	}
	if err := x.scan(); err != nil {
		return indexed{}, err
	}
	if err := x.resolve(); err != nil {
		return indexed{}, err
	}
	return indexed{entries: x.entries, sum: Hash(data[len(data)-20:])}, nil
}

type packIndexer struct {
	data    []byte
	limits  indexLimits
	visit   func(Hash, object) error
	entries []packEntry
	total   int64
	crcs    map[int64]uint32 // of deltas, by offset
	bases   []packEntry      // whole objects, in the pack's order
	types   []plumbing.ObjectType
	kids    map[int64][]int64 // deltas by their base's offset
	kidsOf  map[Hash][]int64  // deltas by their base's id
}

func (x *packIndexer) checkTrailer() error {
	if len(x.data) < 32 || string(x.data[:4]) != "PACK" || binary.BigEndian.Uint32(x.data[4:]) != 2 {
		return corrupt("this is not a pack of version 2")
	}
	sum := gohash.New(crypto.SHA1)
	_, _ = sum.Write(x.data[:len(x.data)-20])
	if !bytes.Equal(sum.Sum(nil), x.data[len(x.data)-20:]) {
		return corrupt("the pack's checksum is wrong")
	}
	return nil
}

// scan goes over the entries: whole objects get their id now, deltas are noted under their base.
func (x *packIndexer) scan() error {
	count := int(binary.BigEndian.Uint32(x.data[8:]))
	if int64(count)*9 > int64(len(x.data)) {
		return corrupt("the pack is too short for %d objects", count)
	}
	x.entries = make([]packEntry, 0, count)
	x.crcs = map[int64]uint32{}
	body := x.data[:len(x.data)-20]
	offset := int64(12)
	for range count {
		h, err := readHead(body, offset)
		if err != nil {
			return err
		}
		if err := x.account(int64(h.size)); err != nil {
			return err
		}
		data, used, err := inflate(body[offset+int64(h.len):], h.size)
		if err != nil {
			return err
		}
		end := offset + int64(h.len+used)
		crc := crc32.ChecksumIEEE(body[offset:end])
		switch h.typ {
		case plumbing.OFSDeltaObject:
			x.kids[h.baseAt] = append(x.kids[h.baseAt], offset)
			x.crcs[offset] = crc
		case plumbing.REFDeltaObject:
			x.kidsOf[h.baseRef] = append(x.kidsOf[h.baseRef], offset)
			x.crcs[offset] = crc
		default:
			if err := x.whole(offset, crc, object{typ: h.typ, data: data}); err != nil {
				return err
			}
		}
		offset = end
	}
	if offset != int64(len(body)) {
		return corrupt("the pack has bytes after its last object")
	}
	return nil
}

func (x *packIndexer) account(size int64) error {
	x.total += size
	if x.limits.object > 0 && size > x.limits.object {
		return tooLarge(size, x.limits.object)
	}
	if x.limits.total > 0 && x.total > x.limits.total {
		return tooLarge(x.total, x.limits.total)
	}
	return nil
}

func (x *packIndexer) whole(offset int64, crc uint32, o object) error {
	id := hashForeign(o.typ, o.data)
	e := packEntry{id: id, offset: offset, crc: crc}
	x.entries = append(x.entries, e)
	x.bases = append(x.bases, e)
	x.types = append(x.types, o.typ)
	return x.visit(id, o)
}

// resolve applies the deltas, from every whole object up.
func (x *packIndexer) resolve() error {
	if len(x.crcs) == 0 {
		return nil
	}
	want := len(x.entries) + len(x.crcs)
	for i, base := range x.bases {
		if len(x.kids[base.offset]) == 0 && len(x.kidsOf[base.id]) == 0 {
			continue
		}
		h, err := readHead(x.data, base.offset)
		if err != nil {
			return err
		}
		data, _, err := inflate(x.data[base.offset+int64(h.len):], h.size)
		if err != nil {
			return err
		}
		if err := x.resolveKids(base, object{typ: x.types[i], data: data}); err != nil {
			return err
		}
	}
	if len(x.entries) != want {
		return corrupt("the pack has deltas whose base it does not have")
	}
	return nil
}

// level is one delta's result with the deltas on top of it that are still to do.
type level struct {
	o    object
	todo []int64
}

func (x *packIndexer) resolveKids(base packEntry, o object) error {
	stack := []level{{o: o, todo: x.take(base)}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.todo) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		offset := top.todo[0]
		top.todo = top.todo[1:]
		e, kid, err := x.patch(offset, top.o)
		if err != nil {
			return err
		}
		if todo := x.take(e); len(todo) > 0 {
			if len(stack) >= x.limits.chain {
				return errs.InvalidField("pack", "has a chain of more than %d deltas; repack it", x.limits.chain)
			}
			stack = append(stack, level{o: kid, todo: todo})
		}
	}
	return nil
}

// take gives the deltas on top of an object, once: an object that is in the pack twice resolves them one time only.
func (x *packIndexer) take(e packEntry) []int64 {
	kids := append(x.kids[e.offset], x.kidsOf[e.id]...)
	delete(x.kids, e.offset)
	delete(x.kidsOf, e.id)
	return kids
}

func (x *packIndexer) patch(offset int64, base object) (packEntry, object, error) {
	h, err := readHead(x.data, offset)
	if err != nil {
		return packEntry{}, object{}, err
	}
	delta, _, err := inflate(x.data[offset+int64(h.len):], h.size)
	if err != nil {
		return packEntry{}, object{}, err
	}
	if err := x.account(int64(deltaTarget(delta))); err != nil {
		return packEntry{}, object{}, err
	}
	data, err := packfile.PatchDelta(base.data, delta)
	if err != nil {
		return packEntry{}, object{}, corrupt("a delta does not apply: %v", err)
	}
	o := object{typ: base.typ, data: data}
	e := packEntry{id: hashForeign(o.typ, data), offset: offset, crc: x.crcs[offset]}
	x.entries = append(x.entries, e)
	return e, o, x.visit(e.id, o)
}

// deltaTarget reads the size of a delta's result: the second number in it.
func deltaTarget(delta []byte) int {
	n, i := 0, 0
	for range 2 {
		n = 0
		for shift := 0; i < len(delta) && shift < 60; shift += 7 {
			c := delta[i]
			i++
			n |= int(c&0x7f) << shift
			if c&0x80 == 0 {
				break
			}
		}
	}
	return n
}

// hashForeign gives the id of an object that somebody else made, by the SHA-1 that notices a forged collision.
func hashForeign(typ plumbing.ObjectType, data []byte) Hash { return plumbing.ComputeHash(typ, data) }
