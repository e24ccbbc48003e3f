package wire

import (
	"bytes"
	"encoding/json"
)

// Lookup gives the value of a member of an object, undecoded; nil where the object does not have it, or is none.
func Lookup(object []byte, key string) []byte {
	i, err := into(object, 0, '{')
	for err == nil {
		name, at, failed := member(object, i)
		if failed != nil || name == nil {
			return nil
		}
		if i, err = skip(object, at); err == nil && means(name, key) {
			return object[at:i]
		}
	}
	return nil
}

// Members calls f with each member of an object, whose value stays undecoded, until f gives false. What is no object has none.
func Members(object []byte, f func(key string, value []byte) bool) {
	i, err := into(object, 0, '{')
	for err == nil {
		name, at, failed := member(object, i)
		if failed != nil || name == nil {
			return
		}
		if i, err = skip(object, at); err != nil || !f(written(name), object[at:i]) {
			return
		}
	}
}

// Empty reports whether an object has no members.
func Empty(object []byte) bool {
	i, err := into(object, 0, '{')
	if err != nil {
		return false
	}
	i = space(object, i)
	return i < len(object) && object[i] == '}'
}

// means reports whether a name as it is written stands for a key. Quotes are the only escapes of most names.
func means(name []byte, key string) bool {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name) == key
	}
	j := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '\\' {
			if i++; i >= len(name) || name[i] != '"' && name[i] != '\\' {
				return written(name) == key
			}
			c = name[i]
		}
		if j >= len(key) || key[j] != c {
			return false
		}
		j++
	}
	return j == len(key)
}

// written gives what a name between its quotes stands for.
func written(name []byte) string {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name)
	}
	var s string
	if json.Unmarshal(append(append([]byte{'"'}, name...), '"'), &s) != nil {
		return string(name)
	}
	return s
}

// maxFolded bounds the nesting that Fold follows.
const maxFolded = 200

// Fold goes through an object that holds nothing but objects, such as a fieldsV1, and makes one number of it: each of a member's key and
// number, then whole of an object's size and the sum over its members. false for what holds anything else.
func Fold(object []byte, each func(key []byte, below uint64) uint64, whole func(n int, sum uint64) uint64) (uint64, bool) {
	f := folder{each: each, whole: whole}
	sum, i, err := f.object(object, space(object, 0), 0)
	return sum, err == nil && space(object, i) == len(object)
}

type folder struct {
	each  func(key []byte, below uint64) uint64
	whole func(n int, sum uint64) uint64
	key   []byte // of the member with escapes that is looked at
}

func (f *folder) object(b []byte, i, depth int) (uint64, int, error) {
	i, err := into(b, i, '{')
	if depth > maxFolded {
		err = errSyntax
	}
	n, sum := 0, uint64(0)
	for err == nil {
		key, at, failed := member(b, i)
		if failed != nil || key == nil {
			return f.whole(n, sum), at, failed
		}
		var below uint64
		if below, i, err = f.object(b, at, depth+1); err == nil {
			n, sum = n+1, sum+f.each(f.plain(key), below)
		}
	}
	return 0, i, err
}

// plain gives what a key stands for, valid until the next call.
func (f *folder) plain(key []byte) []byte {
	if bytes.IndexByte(key, '\\') < 0 {
		return key
	}
	f.key = f.key[:0]
	for i := 0; i < len(key); i++ {
		if key[i] == '\\' {
			if i++; i >= len(key) || key[i] != '"' && key[i] != '\\' {
				return []byte(written(key))
			}
		}
		f.key = append(f.key, key[i])
	}
	return f.key
}
