// Package yamlout writes Kubernetes objects as YAML, always the same bytes for the same object. General YAML writers sort
// keys alphabetically or keep the order they happen to get, and may fold long lines differently in their next version; a
// bundle's id is made of these bytes, so they are ours to decide.
//
// The style: two spaces, block form, lists indented like their key, apiVersion, kind, metadata and name first and all other
// keys sorted, strings plain where no YAML reader could take them for anything else, multi-line strings as literal blocks.
package yamlout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Marshal writes the value. It takes maps with string keys, slices of any, strings, booleans, nil, int, int64 and float64;
// anything else, a number that is not finite and a string that is not UTF-8 are errors, because they would be a fault of the
// renderer and must not reach Git.
func Marshal(v map[string]any) ([]byte, error) {
	if len(v) == 0 {
		return []byte("{}\n"), nil
	}
	w, _ := writers.Get().(*writer)
	w.buf, w.keys, w.err = w.buf[:0], w.keys[:0], nil
	w.mapping(v, 0)
	out, err := bytes.Clone(w.buf), w.err
	if cap(w.buf) <= maxKept {
		clear(w.keys[:cap(w.keys)]) // or keys of objects that are gone would be kept
		writers.Put(w)
	}
	return out, err
}

// writers keeps buffers that have grown to the size of an object: what is written is copied out of them once, in its own size.
var writers = sync.Pool{New: func() any { return &writer{buf: make([]byte, 0, 4096), keys: make([]string, 0, 64)} }}

// maxKept is the largest buffer that is kept, so that one large ConfigMap does not hold its memory for ever.
const maxKept = 64 << 10

type writer struct {
	buf []byte
	// keys is a stack of the sorted keys of the maps that are being written.
	keys []string
	err  error
}

// first holds the keys that lead a map, in their order.
var first = map[string]int{"apiVersion": -5, "kind": -4, "metadata": -3, "name": -2, "namespace": -1}

// lead gives the place of a key among those that lead a map, 0 for all others.
func lead(k string) int {
	switch k[:min(len(k), 1)] { // most keys begin with another letter, and need not be looked up
	case "a", "k", "m", "n":
		return first[k]
	}
	return 0
}

func order(a, b string) int {
	if c := lead(a) - lead(b); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func (w *writer) mapping(m map[string]any, indent int) {
	bottom := len(w.keys)
	for k := range m {
		w.keys = append(w.keys, k)
	}
	top := len(w.keys)
	slices.SortFunc(w.keys[bottom:], order)
	for i := bottom; i < top; i++ {
		if i > bottom {
			w.indent(indent)
		}
		k := w.keys[i] // by index: what is written below pushes onto the stack, which may move it
		w.key(k)
		w.value(m[k], indent, false)
	}
	w.keys = w.keys[:bottom]
}

// value writes what stands after "key:" or "-". A map inside a list starts on the line of its dash.
func (w *writer) value(v any, indent int, inList bool) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			w.buf = append(w.buf, " {}\n"...)
			return
		}
		if inList {
			w.buf = append(w.buf, ' ')
		} else {
			w.buf = append(w.buf, '\n')
			w.indent(indent + 2)
		}
		w.mapping(v, indent+2)
	case []any:
		w.list(v, indent, inList)
	case string:
		w.text(v, indent+2)
	default:
		w.buf = append(w.buf, ' ')
		w.scalar(v)
		w.buf = append(w.buf, '\n')
	}
}

// list writes the dashes in the column of the list's key; a list inside a list is indented.
func (w *writer) list(v []any, indent int, inList bool) {
	if len(v) == 0 {
		w.buf = append(w.buf, " []\n"...)
		return
	}
	at := indent
	if inList {
		at += 2
		w.buf = append(w.buf, ' ')
	} else {
		w.buf = append(w.buf, '\n')
		w.indent(at)
	}
	for i, item := range v {
		if i > 0 {
			w.indent(at)
		}
		w.buf = append(w.buf, '-')
		w.value(item, at, true)
	}
}

const spaces = "                                "

func (w *writer) indent(n int) {
	for ; n > len(spaces); n -= len(spaces) {
		w.buf = append(w.buf, spaces...)
	}
	w.buf = append(w.buf, spaces[:n]...)
}

func (w *writer) key(k string) {
	if len(k) > 512 || !plain(k) {
		w.quoted(k)
		if len(k) > 512 {
			w.fail("a key is longer than 512 bytes")
		}
	} else {
		w.buf = append(w.buf, k...)
	}
	w.buf = append(w.buf, ':')
}

func (w *writer) text(s string, indent int) {
	if literal(s) {
		w.literal(s, indent)
		return
	}
	w.buf = append(w.buf, ' ')
	if plain(s) {
		w.buf = append(w.buf, s...)
	} else {
		w.quoted(s)
	}
	w.buf = append(w.buf, '\n')
}

func (w *writer) scalar(v any) {
	switch v := v.(type) {
	case nil:
		w.buf = append(w.buf, "null"...)
	case bool:
		w.buf = strconv.AppendBool(w.buf, v)
	case int:
		w.buf = strconv.AppendInt(w.buf, int64(v), 10)
	case int64:
		w.buf = strconv.AppendInt(w.buf, v, 10)
	case float64:
		w.float(v)
	default:
		w.fail(fmt.Sprintf("a %T cannot be written as YAML", v))
	}
}

func (w *writer) float(v float64) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		w.fail("a number is not finite")
	case v == math.Trunc(v) && math.Abs(v) <= 1<<53:
		w.buf = strconv.AppendInt(w.buf, int64(v), 10)
	default:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if mantissa, exponent, ok := strings.Cut(text, "e"); ok && !strings.Contains(mantissa, ".") {
			text = mantissa + ".0e" + exponent // YAML 1.1 readers want a dot in a float
		}
		w.buf = append(w.buf, text...)
	}
}

// literal writes a block scalar; the indentation indicator is needed where the text itself begins with a space.
func (w *writer) literal(s string, indent int) {
	w.buf = append(w.buf, " |"...)
	body := strings.TrimSuffix(s, "\n")
	switch {
	case body == s:
		w.buf = append(w.buf, '-')
	case strings.HasSuffix(body, "\n"):
		w.buf = append(w.buf, '+')
	}
	w.buf = append(w.buf, '\n')
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			w.indent(indent)
			w.buf = append(w.buf, line...)
		}
		w.buf = append(w.buf, '\n')
	}
}

// literal reports whether a block scalar gives a string back unchanged in every reader: with a line end, printable, no
// carriage returns or tabs at line ends, not beginning with white space.
func literal(s string) bool {
	if !strings.Contains(s, "\n") || strings.TrimRight(s, "\n") == "" || s[0] == ' ' || s[0] == '\t' || s[0] == '\n' {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if trimmed := strings.TrimRight(line, " \t"); trimmed != line {
			return false
		}
	}
	return printable(s, "\n\t")
}

func printable(s, also string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == utf8.RuneError ||
			!unicode.IsPrint(r) && !strings.ContainsRune(also, r) {
			return false
		}
	}
	return true
}

// plain reports whether a string can stand without quotes: it begins with a letter or slash, holds only characters without a
// meaning in YAML, and no reader of YAML 1.1 or 1.2 takes it for a boolean, a number, a date or null.
func plain(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '/':
		case i == 0:
			return false
		case c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '+', c == '@', c == '=', c == ',', c == '(', c == ')', c == '$':
		case c == ':' && i+1 < len(s) && s[i+1] != ' ':
		default:
			return false
		}
	}
	if len(s) > len("false") {
		return true // and no word of the list; to lower it would cost more than all the rest
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan":
		return false
	}
	return true
}

// simple reports whether a string needs nothing but the quotes around it: printable ASCII without quotes and backslashes.
func simple(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// quoted writes a double-quoted scalar. JSON's escapes are YAML's, so encoding/json does it; it also escapes the line
// separators that YAML would fold.
func (w *writer) quoted(s string) {
	if simple(s) {
		w.buf = append(append(append(w.buf, '"'), s...), '"')
		return
	}
	if !utf8.ValidString(s) {
		w.fail("a string is not UTF-8")
		return
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		w.fail(err.Error())
		return
	}
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if unicode.IsPrint(r) {
			w.buf = utf8.AppendRune(w.buf, r)
			continue
		}
		if r > 0xffff {
			w.buf = fmt.Appendf(w.buf, `\U%08x`, r)
		} else {
			w.buf = fmt.Appendf(w.buf, `\u%04x`, r)
		}
	}
}

func (w *writer) fail(problem string) {
	if w.err == nil {
		w.err = fmt.Errorf("yamlout: %s", problem)
	}
}
