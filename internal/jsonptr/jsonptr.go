// Package jsonptr addresses and changes places in JSON-like documents (maps, slices, scalars) by JSON Pointer, RFC 6901.
// It is what an environment's overlay and a draft's operations are made of, so that both change documents in exactly the
// same way. It holds no I/O, no clock and no knowledge of what a document means.
package jsonptr

import (
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

// MaxDepth is the largest number of steps in a pointer. Documents that people write stay far below; without a limit one
// pointer could make a document that no recursive reader survives.
const MaxDepth = 64

var (
	unescaper = strings.NewReplacer("~1", "/", "~0", "~")
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
)

// Parse splits a pointer into its unescaped tokens. The empty pointer, which means the whole document, has none. A pointer
// without a leading slash, with a tilde that escapes nothing, or with more than MaxDepth steps is an errs.Invalid error.
func Parse(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, errs.InvalidField(pointer, "is not a JSON Pointer: it must begin with a slash, such as /workloads/api")
	}
	tokens := strings.Split(pointer[1:], "/")
	if len(tokens) > MaxDepth {
		return nil, errs.InvalidField(pointer, "has %d steps, at most %d are allowed", len(tokens), MaxDepth)
	}
	for i, t := range tokens {
		if !strings.Contains(t, "~") {
			continue
		}
		for j := range len(t) {
			if t[j] == '~' && (j+1 == len(t) || t[j+1] != '0' && t[j+1] != '1') {
				return nil, errs.InvalidField(pointer, "has a ~ that escapes nothing: write ~0 for ~ and ~1 for /")
			}
		}
		tokens[i] = unescaper.Replace(t)
	}
	return tokens, nil
}

// Join makes the pointer of the tokens, the reverse of Parse.
func Join(tokens ...string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(escaper.Replace(t))
	}
	return b.String()
}

// Get gives the value at the pointer and whether there is one. A malformed pointer points at nothing.
func Get(doc any, pointer string) (any, bool) {
	tokens, err := Parse(pointer)
	if err != nil {
		return nil, false
	}
	for _, t := range tokens {
		switch at := doc.(type) {
		case map[string]any:
			next, ok := at[t]
			if !ok {
				return nil, false
			}
			doc = next
		case []any:
			i, ok := index(t)
			if !ok || i >= len(at) {
				return nil, false
			}
			doc = at[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

// index reads an array index: decimal digits without leading zeros, as RFC 6901 has it.
func index(token string) (int, bool) {
	if token == "" || len(token) > 9 || len(token) > 1 && token[0] == '0' {
		return 0, false
	}
	for i := range len(token) {
		if token[i] < '0' || token[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(token)
	return n, err == nil
}
