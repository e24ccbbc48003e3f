package jsonptr

import (
	"fmt"
	"maps"
	"slices"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Op is one change of a document, made by Set or Remove.
type Op struct {
	pointer string
	remove  bool
	value   any
}

// Set makes an operation that writes the value at the pointer. What stands there is replaced and missing maps on the way are
// made. In an array the last token is the index of an element to replace, or "-" to append. The value is shared, not copied:
// nobody may change it afterwards.
func Set(pointer string, value any) Op { return Op{pointer: pointer, value: value} }

// Remove makes an operation that removes what stands at the pointer, which must exist. Later elements of an array move up.
func Remove(pointer string) Op { return Op{pointer: pointer, remove: true} }

// Pointer gives the place that the operation changes.
func (o Op) Pointer() string { return o.pointer }

// Apply makes the document that results from the operations in order. The given document is never changed: maps and slices
// on the way to a change are copied, everything else is shared. The first operation that cannot be applied ends it with an
// errs.Invalid error whose field path is the operation's pointer.
func Apply(doc map[string]any, ops ...Op) (map[string]any, error) {
	for _, op := range ops {
		tokens, err := Parse(op.pointer)
		if err != nil {
			return nil, err
		}
		if len(tokens) == 0 {
			return nil, errs.InvalidField("/", "the whole document cannot be replaced or removed: name a place in it")
		}
		next, problem := change(doc, tokens, 0, op)
		if problem != "" {
			return nil, errs.InvalidField(op.pointer, "%s", problem)
		}
		doc, _ = next.(map[string]any)
	}
	return doc, nil
}

// change gives a copy of at in which the operation is done at tokens[i:], or says why it cannot be.
func change(at any, tokens []string, i int, op Op) (any, string) {
	switch at := at.(type) {
	case map[string]any:
		return changeMap(at, tokens, i, op)
	case []any:
		return changeSlice(at, tokens, i, op)
	default:
		return nil, fmt.Sprintf("%s is %s and has no %q: only maps and lists can be stepped into",
			Join(tokens[:i]...), describe(at), tokens[i])
	}
}

func changeMap(at map[string]any, tokens []string, i int, op Op) (any, string) {
	token, last := tokens[i], i == len(tokens)-1
	child, exists := at[token]
	if !exists && op.remove {
		return nil, fmt.Sprintf("cannot be removed: %s has no %q", place(tokens[:i]), token)
	}
	out := maps.Clone(at)
	if out == nil {
		out = map[string]any{}
	}
	switch {
	case last && op.remove:
		delete(out, token)
		return out, ""
	case last:
		out[token] = op.value
		return out, ""
	case !exists:
		child = map[string]any{}
	}
	next, problem := change(child, tokens, i+1, op)
	out[token] = next
	return out, problem
}

func changeSlice(at []any, tokens []string, i int, op Op) (any, string) {
	token, last := tokens[i], i == len(tokens)-1
	if token == "-" && last && !op.remove {
		return append(slices.Clip(slices.Clone(at)), op.value), ""
	}
	n, ok := index(token)
	if !ok {
		return nil, fmt.Sprintf("%s is a list: %q is not an index (use 0 to %d, or - to append)", place(tokens[:i]), token, max(len(at)-1, 0))
	}
	if n >= len(at) {
		return nil, fmt.Sprintf("%s has %d elements: there is none at index %d", place(tokens[:i]), len(at), n)
	}
	out := slices.Clone(at)
	switch {
	case last && op.remove:
		return slices.Delete(out, n, n+1), ""
	case last:
		out[n] = op.value
		return out, ""
	}
	next, problem := change(at[n], tokens, i+1, op)
	out[n] = next
	return out, problem
}

func place(tokens []string) string {
	if len(tokens) == 0 {
		return "the document"
	}
	return Join(tokens...)
}

func describe(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	default:
		return "a number"
	}
}
