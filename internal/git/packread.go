package git

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/klauspost/compress/zlib"
)

// maxObject is the largest object in bytes that is read: a damaged header must not take all memory.
const maxObject = 1 << 30

var inflaters sync.Pool

// inflate reads exactly size bytes out of the zlib stream at the beginning of raw and says how long the stream is.
func inflate(raw []byte, size int) (data []byte, used int, err error) {
	if size < 0 || size > maxObject {
		return nil, 0, corrupt("an object says that it has %d bytes", size)
	}
	src := bytes.NewReader(raw)
	var z io.ReadCloser
	if pooled, ok := inflaters.Get().(io.ReadCloser); ok {
		z = pooled
		err = z.(zlib.Resetter).Reset(src, nil)
	} else {
		z, err = zlib.NewReader(src)
	}
	if err != nil {
		return nil, 0, corrupt("an object does not begin as zlib: %v", err)
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(z, data); err != nil {
		return nil, 0, corrupt("an object ends early: %v", err)
	}
	// The checksum at the end is read with the end of the stream, which must be here.
	if n, err := z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, 0, corrupt("an object is longer than it says, or its checksum is wrong: %v", err)
	}
	inflaters.Put(z)
	return data, len(raw) - src.Len(), nil
}

// packHead is an entry's header.
type packHead struct {
	typ     plumbing.ObjectType
	size    int
	len     int   // of the header in bytes
	baseAt  int64 // of an offset delta
	baseRef Hash  // of a reference delta
}

func readHead(data []byte, offset int64) (h packHead, err error) {
	bad := corrupt("a pack has a malformed entry at byte %d", offset)
	if offset < 12 || offset >= int64(len(data)) {
		return h, bad
	}
	p := data[offset:]
	h.typ, h.size, h.len = plumbing.ObjectType(p[0]>>4&7), int(p[0]&0x0f), 1
	for shift := 4; p[h.len-1]&0x80 != 0; shift += 7 {
		if h.len >= len(p) || shift > 32 {
			return h, bad
		}
		h.size |= int(p[h.len]&0x7f) << shift
		h.len++
	}
	switch h.typ {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
		return h, nil
	case plumbing.OFSDeltaObject:
		distance := int64(-1)
		for more := true; more; h.len++ {
			if h.len >= len(p) || distance > 1<<48 {
				return h, bad
			}
			c := p[h.len]
			distance, more = (distance+1)<<7|int64(c&0x7f), c&0x80 != 0
		}
		if h.baseAt = offset - distance; h.baseAt < 12 || distance <= 0 {
			return h, bad
		}
		return h, nil
	case plumbing.REFDeltaObject:
		if h.len+len(ZeroHash) > len(p) {
			return h, bad
		}
		h.baseRef = Hash(p[h.len:])
		h.len += len(ZeroHash)
		return h, nil
	default:
		return h, bad
	}
}

// pack is one pack with its index, both mapped into memory. It is safe for concurrent use until close.
type pack struct {
	path  string // without ".pack"
	data  []byte
	idx   []byte
	count int
}

// openPack maps a pack and checks what can be checked without reading it: sizes, versions, and that index and pack belong
// together. A torn write shows here.
func openPack(path string) (*pack, error) {
	p := &pack{path: path}
	var err error
	if p.data, err = mapFile(path + ".pack"); err != nil {
		return nil, err
	}
	if p.idx, err = mapFile(path + ".idx"); err != nil {
		p.close()
		return nil, err
	}
	if err := p.check(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pack) check() error {
	name := filepath.Base(p.path)
	if len(p.data) < 32 || string(p.data[:4]) != "PACK" || binary.BigEndian.Uint32(p.data[4:]) != 2 {
		return corrupt("%s.pack is not a pack of version 2", name)
	}
	if len(p.idx) < 1072 || !bytes.Equal(p.idx[:8], []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2}) {
		return corrupt("%s.idx is not an index of version 2", name)
	}
	p.count = int(binary.BigEndian.Uint32(p.idx[8+255*4:]))
	if p.count != int(binary.BigEndian.Uint32(p.data[8:])) || len(p.idx) < 1072+28*p.count {
		return corrupt("%s.idx does not fit its pack", name)
	}
	if !bytes.Equal(p.data[len(p.data)-20:], p.idx[len(p.idx)-40:len(p.idx)-20]) {
		return corrupt("%s.idx is of another pack", name)
	}
	return nil
}

func (p *pack) close() {
	unmap(p.data)
	unmap(p.idx)
	p.data, p.idx = nil, nil
}

// size is the pack's length in bytes.
func (p *pack) size() int64 { return int64(len(p.data)) }

func (p *pack) id(i int) Hash { return Hash(p.idx[1032+20*i:]) }

func (p *pack) offset(i int) int64 {
	at := 1032 + 24*p.count + 4*i
	v := binary.BigEndian.Uint32(p.idx[at:])
	if v&(1<<31) == 0 {
		return int64(v)
	}
	far := 1032 + 28*p.count + 8*int(v&^(1<<31))
	if far+8 > len(p.idx)-40 {
		return -1
	}
	return int64(binary.BigEndian.Uint64(p.idx[far:])) //nolint:gosec // a value out of range is refused by readHead
}

// find gives the place of an object in the pack.
func (p *pack) find(h Hash) (int64, bool) {
	lo, hi := 0, int(binary.BigEndian.Uint32(p.idx[8+4*int(h[0]):]))
	if h[0] > 0 {
		lo = int(binary.BigEndian.Uint32(p.idx[8+4*(int(h[0])-1):]))
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if mid >= p.count {
			return 0, false
		}
		switch c := bytes.Compare(p.idx[1032+20*mid:1052+20*mid], h[:]); {
		case c == 0:
			return p.offset(mid), true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// read gives the object at an offset with its deltas applied.
func (p *pack) read(offset int64) (plumbing.ObjectType, []byte, error) {
	var deltas [][]byte
	for {
		if len(deltas) > 10_000 {
			return 0, nil, corrupt("%s has a chain of deltas without an end", filepath.Base(p.path))
		}
		h, err := readHead(p.data, offset)
		if err != nil {
			return 0, nil, fmt.Errorf("%s: %w", filepath.Base(p.path), err)
		}
		data, _, err := inflate(p.data[offset+int64(h.len):], h.size)
		if err != nil {
			return 0, nil, fmt.Errorf("%s at byte %d: %w", filepath.Base(p.path), offset, err)
		}
		switch h.typ {
		case plumbing.OFSDeltaObject:
			deltas = append(deltas, data)
			offset = h.baseAt
		case plumbing.REFDeltaObject:
			deltas = append(deltas, data)
			at, ok := p.find(h.baseRef)
			if !ok {
				return 0, nil, corrupt("%s lacks the base %s of a delta", filepath.Base(p.path), h.baseRef)
			}
			offset = at
		default:
			data, err = applyDeltas(data, deltas)
			return h.typ, data, err
		}
	}
}

func applyDeltas(data []byte, deltas [][]byte) ([]byte, error) {
	for i := len(deltas) - 1; i >= 0; i-- {
		next, err := packfile.PatchDelta(data, deltas[i])
		if err != nil {
			return nil, corrupt("a delta does not apply: %v", err)
		}
		data = next
	}
	return data, nil
}

// mapFile maps a file for reading. An empty file gives no bytes.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", filepath.Base(path), err)
	}
	return data, nil
}

func unmap(data []byte) {
	if len(data) > 0 {
		_ = syscall.Munmap(data) // fails only for what was never mapped
	}
}

// packNames lists the packs of a folder that have an index, by their path without suffix.
func packNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".idx"); ok && strings.HasPrefix(name, "pack-") {
			names = append(names, filepath.Join(dir, name))
		}
	}
	return names, nil
}
