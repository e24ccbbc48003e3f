package wire

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

const (
	// maxDepth bounds nesting as the API server's own decoder does.
	maxDepth = 10_000
	// maxNames bounds the names that a Decoder keeps, and maxName their length: names of fields repeat, keys of data do not.
	maxNames, maxName = 2048, 64
)

// Decoder decodes objects as apimachinery's JSON does: maps, slices, strings, bool, nil, int64, and float64 where int64 does not do. It
// keeps the names of fields, which repeat from object to object. It is not safe for concurrent use.
type Decoder struct {
	names map[string]string
}

// NewDecoder makes a Decoder that knows what nearly every object holds.
func NewDecoder() *Decoder {
	d := &Decoder{names: make(map[string]string, 256)}
	for _, v := range []string{
		"v1", "apps/v1", "FieldsV1", "Update", "Apply", "towpath", "status", "kube-controller-manager", "TCP", "UDP", "ClusterIP", "None", "Cluster", "IPv4",
		"SingleStack", "Always", "IfNotPresent", "Never", "ClusterFirst", "default-scheduler", "RollingUpdate", "25%", "HTTP", "File",
		"/dev/termination-log", "True", "False", "Available", "Progressing", "app", "main", "http", "Opaque", "",
	} {
		d.names[v] = v
	}
	return d
}

// Decode decodes an object.
func (d *Decoder) Decode(object []byte) (map[string]any, error) {
	v, i, err := d.value(object, space(object, 0), 0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok || space(object, i) != len(object) {
		return nil, errSyntax
	}
	return m, nil
}

func (d *Decoder) value(b []byte, i, depth int) (any, int, error) {
	switch {
	case i >= len(b):
		return nil, i, ErrShort
	case depth > maxDepth:
		return nil, i, errSyntax
	}
	switch b[i] {
	case '{':
		return d.object(b, i+1, depth+1)
	case '[':
		return d.array(b, i+1, depth+1)
	case '"':
		end, err := skipString(b, i)
		if err != nil {
			return nil, end, err
		}
		s, err := d.text(b[i:end], false)
		return s, end, err
	}
	end, err := skip(b, i)
	if err != nil {
		return nil, end, err
	}
	v, err := literal(b[i:end])
	return v, end, err
}

func (d *Decoder) object(b []byte, i, depth int) (any, int, error) {
	m := map[string]any{}
	for more := false; ; more = true {
		if i = space(b, i); i >= len(b) {
			return nil, i, ErrShort
		}
		if b[i] == '}' {
			return m, i + 1, nil
		}
		if more {
			if b[i] != ',' {
				return nil, i, errSyntax
			}
			if i = space(b, i+1); i >= len(b) {
				return nil, i, ErrShort
			}
		}
		if b[i] != '"' {
			return nil, i, errSyntax
		}
		end, err := skipString(b, i)
		if err != nil {
			return nil, end, err
		}
		key, err := d.text(b[i:end], true)
		if err != nil {
			return nil, end, err
		}
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return nil, i, errSyntax
		}
		var v any
		if v, i, err = d.value(b, space(b, i+1), depth); err != nil {
			return nil, i, err
		}
		m[key] = v
	}
}

func (d *Decoder) array(b []byte, i, depth int) (any, int, error) {
	list := []any{}
	for more := false; ; more = true {
		if i = space(b, i); i >= len(b) {
			return nil, i, ErrShort
		}
		if b[i] == ']' {
			return list, i + 1, nil
		}
		if more {
			if b[i] != ',' {
				return nil, i, errSyntax
			}
			i = space(b, i+1)
		}
		v, end, err := d.value(b, i, depth)
		if err != nil {
			return nil, end, err
		}
		list, i = append(list, v), end
	}
}

// text gives a string's value; quoted has its quotes. name says that it is worth keeping.
func (d *Decoder) text(quoted []byte, name bool) (string, error) {
	raw := quoted[1 : len(quoted)-1]
	if !plain(raw) {
		var s string
		err := json.Unmarshal(quoted, &s)
		return s, err
	}
	if len(raw) > maxName {
		return string(raw), nil
	}
	if s, ok := d.names[string(raw)]; ok {
		return s, nil
	}
	s := string(raw)
	if name && len(d.names) < maxNames {
		d.names[s] = s
	}
	return s, nil
}

// plain reports whether a string stands for itself: no escapes, no control characters, and UTF-8.
func plain(b []byte) bool {
	ascii := true
	for _, c := range b {
		if c < 0x20 || c == '\\' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(b)
}

func literal(b []byte) (any, error) {
	switch string(b) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	if c := b[0]; c != '-' && (c < '0' || c > '9') || !json.Valid(b) {
		return nil, errSyntax
	}
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return n, nil
	}
	return strconv.ParseFloat(string(b), 64)
}
