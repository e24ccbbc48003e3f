package git

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the pack format's checksum
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/klauspost/compress/zlib"
)

// packLevel trades size for speed: most bytes of our packs are tree ids, which no level compresses.
const packLevel = 3

var deflaters = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(io.Discard, packLevel)
	if err != nil {
		panic(err) // only for a level that does not exist
	}
	return w
}}

// packEntry is where an object lies in a pack and the checksum of its bytes there: a line of the pack's index.
type packEntry struct {
	id     Hash
	offset int64
	crc    uint32
}

// packBuilder writes a pack of version 2.
type packBuilder struct {
	w       io.Writer
	sum     hash.Hash
	offset  int64
	entries []packEntry
	at      map[Hash]int64
	depth   map[Hash]int
	thin    bool
	buf     bytes.Buffer
}

func newPackBuilder(w io.Writer, count int) (*packBuilder, error) {
	b := &packBuilder{
		w: w, sum: sha1.New(), //nolint:gosec // as above
		entries: make([]packEntry, 0, count), at: make(map[Hash]int64, count), depth: map[Hash]int{},
	}
	head := make([]byte, 12)
	copy(head, "PACK")
	binary.BigEndian.PutUint32(head[4:], 2)
	binary.BigEndian.PutUint32(head[8:], uint32(count)) //nolint:gosec // bounded by memory
	return b, b.write(head)
}

func (b *packBuilder) write(p []byte) error {
	if _, err := b.w.Write(p); err != nil {
		return err
	}
	_, _ = b.sum.Write(p)
	b.offset += int64(len(p))
	return nil
}

// add writes a whole object, as a delta against its base where that is in this pack already or, with thin, at the receiver.
func (b *packBuilder) add(id Hash, o object, thin bool) error {
	b.buf.Reset()
	typ, data := o.typ, o.data
	if delta := b.deltaOf(o, thin); delta != nil {
		at, here := b.at[o.base]
		if here {
			appendHead(&b.buf, plumbing.OFSDeltaObject, len(delta))
			b.buf.Write(ofsBytes(b.offset - at))
		} else {
			appendHead(&b.buf, plumbing.REFDeltaObject, len(delta))
			b.buf.Write(o.base[:])
			b.thin = true
		}
		b.depth[id] = b.depth[o.base] + 1
		data = delta
	} else {
		appendHead(&b.buf, typ, len(data))
	}
	z, _ := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(z)
	z.Reset(&b.buf)
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return b.addRaw(id, b.buf.Bytes())
}

// thinTree is the size of a tree in bytes from which a delta against a base that only the receiver has is worth its
// looking the base up.
const thinTree = 16 << 10

func (b *packBuilder) deltaOf(o object, thin bool) []byte {
	if o.base.IsZero() {
		return nil
	}
	if _, here := b.at[o.base]; !here && (!thin || len(o.data) < thinTree) || b.depth[o.base] >= maxChain {
		return nil
	}
	return makeDelta(o.baseData, o.data)
}

// addRaw writes an object whose header and compressed bytes are made already.
func (b *packBuilder) addRaw(id Hash, raw []byte) error {
	b.at[id] = b.offset
	b.entries = append(b.entries, packEntry{id: id, offset: b.offset, crc: crc32.ChecksumIEEE(raw)})
	return b.write(raw)
}

// finish writes the trailer and gives the pack's checksum.
func (b *packBuilder) finish() (sum Hash, err error) {
	b.sum.Sum(sum[:0])
	_, err = b.w.Write(sum[:])
	return sum, err
}

// appendHead writes an entry's type and size.
func appendHead(w *bytes.Buffer, typ plumbing.ObjectType, size int) {
	c := byte(typ)<<4 | byte(size&0x0f)
	size >>= 4
	for size > 0 {
		w.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
		size >>= 7
	}
	w.WriteByte(c)
}

// ofsBytes is the distance to a delta's base in the pack's own encoding.
func ofsBytes(distance int64) []byte {
	var buf [10]byte
	i := len(buf) - 1
	buf[i] = byte(distance & 0x7f)
	for distance >>= 7; distance > 0; distance >>= 7 {
		distance--
		i--
		buf[i] = byte(distance&0x7f) | 0x80
	}
	return slices.Clone(buf[i:])
}

// packed is a pack in memory.
type packed struct {
	data    []byte
	entries []packEntry
	sum     Hash
	thin    bool // it holds deltas against trees that only the receiver has; such a pack cannot be stored
}

// encodePack gives the pack of a set; with thin it may be a thin one.
func encodePack(objs *ObjectSet, thin bool) (packed, error) {
	var out bytes.Buffer
	out.Grow(int(objs.Bytes()/3) + 4096)
	b, err := newPackBuilder(&out, objs.Len())
	if err != nil {
		return packed{}, err
	}
	for id, o := range objs.all() {
		if err := b.add(id, o, thin); err != nil {
			return packed{}, err
		}
	}
	sum, err := b.finish()
	return packed{data: out.Bytes(), entries: b.entries, sum: sum, thin: b.thin}, err
}

// encodeIndex gives the index (version 2) of a pack. It sorts entries.
func encodeIndex(entries []packEntry, packSum Hash) []byte {
	slices.SortFunc(entries, func(a, b packEntry) int { return bytes.Compare(a.id[:], b.id[:]) })
	out := make([]byte, 0, 8+1024+len(entries)*28+40)
	out = append(out, 0xff, 't', 'O', 'c', 0, 0, 0, 2)
	n := 0
	for first := range 256 {
		for n < len(entries) && int(entries[n].id[0]) == first {
			n++
		}
		out = binary.BigEndian.AppendUint32(out, uint32(n)) //nolint:gosec // bounded by memory
	}
	for _, e := range entries {
		out = append(out, e.id[:]...)
	}
	for _, e := range entries {
		out = binary.BigEndian.AppendUint32(out, e.crc)
	}
	var far []int64
	for _, e := range entries {
		if e.offset < 1<<31 {
			out = binary.BigEndian.AppendUint32(out, uint32(e.offset)) //nolint:gosec // checked
			continue
		}
		out = binary.BigEndian.AppendUint32(out, 1<<31|uint32(len(far))) //nolint:gosec // bounded by memory
		far = append(far, e.offset)
	}
	for _, offset := range far {
		out = binary.BigEndian.AppendUint64(out, uint64(offset)) //nolint:gosec // offsets are positive
	}
	out = append(out, packSum[:]...)
	sum := sha1.Sum(out) //nolint:gosec // the index format's checksum
	return append(out, sum[:]...)
}
