// Package wire reads what an API server sends without decoding more of it than is needed: pages of a list, frames of a watch, and of an
// object its name, its version and a hash of everything that a comparison or a health check can depend on. Most objects are dropped
// by these alone, and nothing is allocated for them. It is pure: bytes in, values out.
//
// It trusts the sender to send JSON: text that is none may be read as something, but never with a crash and never beyond its end.
package wire

import (
	"bytes"
	"errors"
)

// ErrShort is JSON that ends too early: more of it may be on its way.
var ErrShort = errors.New("the JSON text ends too early")

var errSyntax = errors.New("this is not JSON")

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skip gives the index behind the value that begins at i.
func skip(b []byte, i int) (int, error) {
	i = space(b, i)
	if i >= len(b) {
		return i, ErrShort
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	start := i
	for i < len(b) && !ends(b[i]) {
		i++
	}
	if i == start {
		return i, errSyntax
	}
	return i, nil
}

// ends reports whether a byte is behind a number or a literal.
func ends(c byte) bool {
	switch c {
	case ',', '}', ']', ':', ' ', '\n', '\t', '\r', '"', '{', '[':
		return true
	}
	return false
}

func skipNested(b []byte, i int) (int, error) {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			var err error
			if i, err = skipString(b, i); err != nil {
				return i, err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
		i++
	}
	return i, ErrShort
}

// shortText is how far a string is read byte by byte: most are shorter, and then that is faster than anything cleverer.
const shortText = 32

// skipString gives the index behind the string whose quote is at i.
func skipString(b []byte, i int) (int, error) {
	j := i + 1
	for end := min(j+shortText, len(b)); j < end; j++ {
		switch b[j] {
		case '"':
			return j + 1, nil
		case '\\':
			j++
		}
	}
	for {
		n := bytes.IndexByte(b[min(j, len(b)):], '"')
		if n < 0 {
			return len(b), ErrShort
		}
		k, back := j+n, 0
		for k-1-back >= j && b[k-1-back] == '\\' {
			back++
		}
		if back%2 == 0 {
			return k + 1, nil
		}
		j = k + 1
	}
}

// member gives the key of the next member of the object that i is in, as it is written between the quotes, and where its value begins.
// At the object's end the key is nil, and at is behind it.
func member(b []byte, i int) (key []byte, at int, err error) {
	for i = space(b, i); i < len(b) && b[i] == ','; i = space(b, i+1) {
	}
	switch {
	case i >= len(b):
		return nil, i, ErrShort
	case b[i] == '}':
		return nil, i + 1, nil
	case b[i] != '"':
		return nil, i, errSyntax
	}
	end, err := skipString(b, i)
	if err != nil {
		return nil, end, err
	}
	key = b[i+1 : end-1]
	if i = space(b, end); i >= len(b) {
		return nil, i, ErrShort
	}
	if b[i] != ':' {
		return nil, i, errSyntax
	}
	return key, space(b, i+1), nil
}

// element gives where the next element of the array that i is in begins; last says that there is none, and at is behind the array.
func element(b []byte, i int) (at int, last bool, err error) {
	for i = space(b, i); i < len(b) && b[i] == ','; i = space(b, i+1) {
	}
	if i >= len(b) {
		return i, false, ErrShort
	}
	if b[i] == ']' {
		return i + 1, true, nil
	}
	return i, false, nil
}

// into goes into the object or array that begins at i with the given sign.
func into(b []byte, i int, sign byte) (int, error) {
	switch i = space(b, i); {
	case i >= len(b):
		return i, ErrShort
	case b[i] != sign:
		return i, errSyntax
	}
	return i + 1, nil
}

// members calls f with each member of the object at i: its key as it is written between the quotes, and where its value is.
func members(b []byte, i int, f func(key []byte, from, to int) error) (int, error) {
	i, err := into(b, i, '{')
	for err == nil {
		key, at, failed := member(b, i)
		if failed != nil || key == nil {
			return at, failed
		}
		if i, err = skip(b, at); err == nil {
			err = f(key, at, i)
		}
	}
	return i, err
}

// text gives what is between the quotes of a string without escapes; names, versions and uids are such.
func text(b []byte) []byte {
	if len(b) < 2 || b[0] != '"' || bytes.IndexByte(b, '\\') >= 0 {
		return nil
	}
	return b[1 : len(b)-1]
}
