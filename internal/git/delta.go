package git

import "bytes"

// Deltas are worth it for trees: their bytes are ids, which do not compress, and one edit leaves all others where they were.
const (
	minDelta = 256 // bytes of a tree below which a delta saves nothing
	maxChain = 24  // deltas on top of each other; a reader pays for each
)

// makeDelta gives Git's delta from base to target as "same beginning, new middle, same end"; nil when that is not much
// smaller than the target.
func makeDelta(base, target []byte) []byte {
	if len(target) < minDelta || len(base) < minDelta {
		return nil
	}
	prefix := commonPrefix(base, target)
	suffix := commonSuffix(base[prefix:], target[prefix:])
	middle := target[prefix : len(target)-suffix]
	if len(middle) > len(target)/2 {
		return nil
	}
	d := make([]byte, 0, len(middle)+len(middle)/127+64)
	d = appendVarint(d, len(base))
	d = appendVarint(d, len(target))
	d = appendCopy(d, 0, prefix)
	for rest := middle; len(rest) > 0; {
		n := min(len(rest), 127)
		d = append(d, byte(n))
		d = append(d, rest[:n]...)
		rest = rest[n:]
	}
	return appendCopy(d, len(base)-suffix, suffix)
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	const step = 4096
	i := 0
	for i+step <= n && bytes.Equal(a[i:i+step], b[i:i+step]) {
		i += step
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

func commonSuffix(a, b []byte) int {
	n := min(len(a), len(b))
	const step = 4096
	i := 0
	for i+step <= n && bytes.Equal(a[len(a)-i-step:len(a)-i], b[len(b)-i-step:len(b)-i]) {
		i += step
	}
	for i < n && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	return i
}

// appendVarint writes a size, seven bits a byte, lowest first.
func appendVarint(d []byte, n int) []byte {
	for n >= 0x80 {
		d = append(d, byte(n)|0x80)
		n >>= 7
	}
	return append(d, byte(n))
}

// appendCopy writes instructions to copy n bytes of the base from offset on; one instruction copies at most 64 KiB - 1 here.
func appendCopy(d []byte, offset, n int) []byte {
	for n > 0 {
		size := min(n, 0xffff)
		op := len(d)
		d = append(d, 0x80)
		for i := range 4 {
			if b := byte(offset >> (8 * i)); b != 0 {
				d[op] |= 1 << i
				d = append(d, b)
			}
		}
		for i := range 2 {
			if b := byte(size >> (8 * i)); b != 0 {
				d[op] |= 0x10 << i
				d = append(d, b)
			}
		}
		offset += size
		n -= size
	}
	return d
}
