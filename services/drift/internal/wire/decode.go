package wire

import (
	"encoding/json"
	"hash/maphash"
	"strconv"
	"unicode/utf8"
)

const (
	// maxDepth bounds nesting as the API server's own decoder does.
	maxDepth = 10_000
	// maxName is how long the texts are that a Decoder keeps, and keptTexts how many it keeps: names of fields repeat from object to
	// object, keys of data do not.
	maxName, keptTexts = 64, 2048
)

// Decoder decodes objects as apimachinery's JSON does: maps, slices, strings, bool, nil, int64, and float64 where int64 does not do. It
// keeps the names of fields, which repeat from object to object. It is not safe for concurrent use.
type Decoder struct {
	// kept are names, each at the place of its hash: a string as it stands here costs nothing to use again.
	kept [keptTexts]kept
	lent *loan // nil when nothing is lent
	// live says that an object of a cluster is being read; where in it, see DecodeLive.
	live     bool
	metadata bool
	owners   bool
}

type kept struct {
	text string
	any  any // the same
}

// NewDecoder makes a Decoder that knows what nearly every object holds.
func NewDecoder() *Decoder {
	d := &Decoder{}
	for _, v := range []string{
		"v1", "apps/v1", "FieldsV1", "Update", "Apply", "towpath", "status", "kube-controller-manager", "TCP", "UDP", "ClusterIP", "None", "Cluster", "IPv4",
		"SingleStack", "Always", "IfNotPresent", "Never", "ClusterFirst", "default-scheduler", "RollingUpdate", "25%", "HTTP", "File",
		"/dev/termination-log", "True", "False", "Available", "Progressing", "app", "main", "http", "Opaque", "",
	} {
		*d.place([]byte(v)) = kept{v, v}
	}
	return d
}

func (d *Decoder) place(text []byte) *kept { return &d.kept[maphash.Bytes(seed, text)%keptTexts] }

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

// DecodeLive decodes an object as a cluster has it. The fieldsV1 of its managedFields, which are half of it and hardly ever asked for,
// stay text: a string with their JSON, see Lookup.
func (d *Decoder) DecodeLive(object []byte) (map[string]any, error) {
	d.live = true
	defer func() { d.live, d.metadata, d.owners = false, false, false }()
	return d.Decode(object)
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
		return d.text(b, i, false)
	}
	end, err := skip(b, i)
	if err != nil {
		return nil, end, err
	}
	v, err := literal(b[i:end])
	return v, end, err
}

func (d *Decoder) object(b []byte, i, depth int) (any, int, error) {
	m := d.lent.object()
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
		name, end, err := d.text(b, i, true)
		if err != nil {
			return nil, end, err
		}
		key, _ := name.(string)
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return nil, i, errSyntax
		}
		if m[key], i, err = d.member(b, space(b, i+1), depth, key); err != nil {
			return nil, i, err
		}
	}
}

// member decodes the value of a member of an object at a depth, with an eye to where in a live object it is.
func (d *Decoder) member(b []byte, i, depth int, key string) (v any, end int, err error) {
	if !d.live {
		return d.value(b, i, depth)
	}
	switch {
	case depth == 1:
		d.metadata, d.owners = key == "metadata", false
	case depth == 2:
		d.owners = d.metadata && key == "managedFields"
	case depth == 4 && d.owners && key == "fieldsV1" && i < len(b) && b[i] == '{':
		end, err = skipNested(b, i)
		return string(b[i:end]), end, err
	}
	return d.value(b, i, depth)
}

func (d *Decoder) array(b []byte, i, depth int) (any, int, error) {
	list := d.lent.list()
	for more := false; ; more = true {
		if i = space(b, i); i >= len(b) {
			return nil, i, ErrShort
		}
		if b[i] == ']' {
			d.lent.made(list)
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

// text gives the value of the string at i. name says that it is the name of a member, and so worth keeping.
func (d *Decoder) text(b []byte, i int, name bool) (any, int, error) {
	ascii, j := true, i+1
	for ; j < len(b) && b[j] != '"'; j++ {
		if c := b[j]; c < 0x20 || c == '\\' {
			return escaped(b, i)
		} else if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	if j >= len(b) {
		return nil, j, ErrShort
	}
	raw := b[i+1 : j]
	if !ascii && !utf8.Valid(raw) {
		return escaped(b, i)
	}
	if len(raw) > maxName {
		return string(raw), j + 1, nil
	}
	k := d.place(raw)
	if k.any != nil && k.text == string(raw) {
		return k.any, j + 1, nil
	}
	s := string(raw)
	boxed := any(s)
	if name { // a value may be a secret, which must not outlive its object
		*k = kept{s, boxed}
	}
	return boxed, j + 1, nil
}

// escaped reads a string that does not stand for itself.
func escaped(b []byte, i int) (any, int, error) {
	end, err := skipString(b, i)
	if err != nil {
		return nil, end, err
	}
	var s string
	err = json.Unmarshal(b[i:end], &s)
	return s, end, err
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
	if n, ok := digits(b); ok {
		return n, nil
	}
	if c := b[0]; c != '-' && (c < '0' || c > '9') || !json.Valid(b) {
		return nil, errSyntax
	}
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return n, nil
	}
	return strconv.ParseFloat(string(b), 64)
}

// digits reads a short whole number, as nearly all are.
func digits(b []byte) (n int64, ok bool) {
	if len(b) > 18 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0
}
