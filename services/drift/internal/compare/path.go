package compare

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

type stepKind uint8

const (
	fieldStep stepKind = iota // a name of a struct
	keyStep                   // a key of a free map
	itemStep                  // an item of a keyed list
	valueStep                 // an item of a set
	indexStep                 // an item of an atomic list; inside atomic values only
)

// step is one element of the place where the walk stands. Steps are cheap; text is made of them only for a finding.
type step struct {
	kind  stepKind
	name  string
	list  *typ // of an itemStep: the list's type with its keys
	item  any  // of an itemStep the item, of a valueStep the value
	index int  // position in the live list, -1 when the live object does not have it
	nth   int  // 0, or 1 for the second item with the same keys
}

// render gives the readable path of the package comment's grammar.
func render(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		switch s.kind {
		case fieldStep:
			if safe(s.name) && !strings.ContainsAny(s.name, "./") {
				if i > 0 {
					b.WriteByte('.')
				}
				b.WriteString(s.name)
				continue
			}
			b.WriteString("[" + quoted(s.name) + "]")
		case keyStep:
			b.WriteString("[" + quoted(s.name) + "]")
		case valueStep:
			b.WriteString("[=" + quotedValue(s.item) + "]")
		case indexStep:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case itemStep:
			b.WriteByte('[')
			renderKeys(&b, s)
			b.WriteByte(']')
		}
	}
	return b.String()
}

func renderKeys(b *strings.Builder, s step) {
	first := true
	for i, k := range s.list.keys {
		v := keyValue(s.list, i, s.item)
		if d := s.list.keyDefaults[i]; len(s.list.keys) > 1 && d != nil && d != "" && sameScalar(d, v, plain) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteString(k + "=" + quotedValue(v))
	}
	if s.nth > 0 {
		b.WriteString("#" + strconv.Itoa(s.nth+1))
	}
}

// keyValue gives an item's value for the list's i-th key, the schema default when the item leaves it out.
func keyValue(list *typ, i int, item any) any {
	m, _ := item.(map[string]any)
	if v := m[list.keys[i]]; v != nil && v != "" {
		return v
	}
	return list.keyDefaults[i]
}

func safe(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("._/-:@+", c) < 0 {
			return false
		}
	}
	return true
}

func quoted(s string) string {
	if safe(s) {
		return s
	}
	return marshal(s)
}

func quotedValue(v any) string {
	if s, ok := v.(string); ok {
		return quoted(s)
	}
	return marshal(v)
}

// marshal gives compact JSON. The values come out of JSON, so it cannot fail for them.
func marshal(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "null"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer gives the RFC 6901 pointer into the live object, empty when the live object does not have the place.
func pointer(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteByte('/')
		switch s.kind {
		case fieldStep, keyStep:
			b.WriteString(pointerEscape.Replace(s.name))
		default:
			if s.index < 0 {
				return ""
			}
			b.WriteString(strconv.Itoa(s.index))
		}
	}
	return b.String()
}

// owned gives the step as managedFields spell it ("f:spec", `k:{"name":"web"}`), also the key of a baseline's tree.
func (s *step) owned() string {
	switch s.kind {
	case valueStep:
		return "v:" + marshal(s.item)
	case indexStep:
		return "i:" + strconv.Itoa(s.index)
	case itemStep:
		return itemKey(s.list, s.item)
	default:
		return "f:" + s.name
	}
}

// itemKey spells an item of a keyed list as managedFields do: keys sorted, defaults filled in.
func itemKey(list *typ, item any) string {
	b := make([]byte, 0, 64)
	b = append(b, "k:{"...)
	n := 0
	for i, k := range list.keys {
		v := keyValue(list, i, item)
		if v == nil {
			continue
		}
		if n > 0 {
			b = append(b, ',')
		}
		n++
		b = append(b, '"')
		b = append(b, k...)
		b = append(b, `":`...)
		switch v := v.(type) {
		case string:
			if safe(v) {
				b = append(b, '"')
				b = append(b, v...)
				b = append(b, '"')
			} else {
				b = append(b, marshal(v)...)
			}
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case int:
			b = strconv.AppendInt(b, int64(v), 10)
		case float64:
			b = strconv.AppendFloat(b, v, 'f', -1, 64)
		default:
			b = append(b, marshal(v)...)
		}
	}
	return string(append(b, '}'))
}

// decodeItemKey reads a key that another encoder wrote, into the spelling of itemKey. It returns s when s is no item key.
func decodeItemKey(s string) string {
	rest, ok := strings.CutPrefix(s, "k:")
	if !ok {
		return s
	}
	var m map[string]any
	if json.Unmarshal([]byte(rest), &m) != nil {
		return s
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return itemKey(&typ{keys: keys, keyDefaults: make([]any, len(keys))}, m)
}
