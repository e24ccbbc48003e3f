package schema

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

// Problem is one wrong place of an object.
type Problem struct {
	// Path is the place: spec.template.spec.containers[name=api].image.
	Path string
	// Text says what is wrong and what is expected.
	Text string
}

// MaxProblems is how many problems are told of one object.
const MaxProblems = 100

// implied are fields that Kubernetes' documents call required and that the API server itself fills in.
var implied = map[string]bool{"roleRef.apiGroup": true}

// Validate gives what is wrong with an object, in the order of its places; nothing for an object of a kind that is not Kubernetes'
// own. A null is as if the field were not there, as the API server takes it.
func Validate(o map[string]any) []Problem {
	apiVersion, _ := o["apiVersion"].(string)
	kind, _ := o["kind"].(string)
	t := load()
	k := t.byKind[[2]string{apiVersion, kind}]
	switch {
	case k == nil:
		if problem := t.served(apiVersion, kind); problem != "" {
			return []Problem{{"apiVersion", problem}}
		}
		return nil
	case k.Scope == None:
		return []Problem{{"kind", "a " + kind + " is a question to the API server; it cannot be kept in a cluster"}}
	}
	v := validator{table: t}
	v.object(o, k.number, nil)
	slices.SortStableFunc(v.problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return v.problems
}

// place is a step of a path; it is written out only where something is wrong.
type place struct {
	up    *place
	field string
	// item is an item of a list: its number, or its key where it has one.
	index int
	key   string
}

func (p *place) String() string {
	if p == nil {
		return ""
	}
	up := p.up.String()
	switch {
	case p.key != "":
		return up + "[" + p.key + "]"
	case p.field == "":
		return up + "[" + strconv.Itoa(p.index) + "]"
	case strings.ContainsAny(p.field, "./[]"):
		return up + "[" + strconv.Quote(p.field) + "]"
	case up == "":
		return p.field
	}
	return up + "." + p.field
}

type validator struct {
	table    *table
	problems []Problem
}

func (v *validator) wrong(at *place, format string, args ...any) {
	if len(v.problems) < MaxProblems {
		path := at.String()
		if path == "" {
			path = "(the object)"
		}
		v.problems = append(v.problems, Problem{path, fmt.Sprintf(format, args...)})
	}
}

func (v *validator) object(o map[string]any, number int, at *place) {
	d := v.table.definition(number)
	for name, value := range o {
		t := d.fields[name]
		if t == nil {
			v.unknown(d, name, at)
			continue
		}
		if value == nil || t.what == anything {
			continue
		}
		here := place{up: at, field: name}
		v.value(value, t, &here)
	}
	for _, name := range d.required {
		if o[name] == nil && (at == nil || !implied[at.field+"."+name]) {
			v.wrong(&place{up: at, field: name}, "is missing: expected %s", words[d.fields[name].what])
		}
	}
}

func (v *validator) unknown(d *definition, name string, at *place) {
	v.wrong(&place{up: at, field: name}, "is not a field that Kubernetes %s has here%s", strings.TrimPrefix(v.table.version, "v"), score.Suggest(name, slices.Sorted(maps.Keys(d.fields))))
}

func (v *validator) value(value any, t *typ, at *place) {
	switch t.what {
	case object:
		if m, ok := value.(map[string]any); ok {
			v.object(m, t.object, at)
			return
		}
	case dictionary:
		if m, ok := value.(map[string]any); ok {
			v.dictionary(m, t.of, at)
			return
		}
	case list, keyedList:
		if l, ok := value.([]any); ok {
			v.list(l, t, at)
			return
		}
	default:
		if !v.leaf(value, t.what, at) {
			return
		}
	}
	v.wrong(at, "is %s: expected %s", describe(value), words[t.what])
}

func (v *validator) dictionary(m map[string]any, of *typ, at *place) {
	for k, value := range m {
		if value != nil && of.what != anything {
			v.value(value, of, &place{up: at, field: k})
		}
	}
}

func (v *validator) list(l []any, t *typ, at *place) {
	var seen map[string]int
	if t.what == keyedList && len(l) > 1 {
		seen = make(map[string]int, len(l))
	}
	for i, item := range l {
		here := place{up: at, index: i}
		m, isMap := item.(map[string]any)
		if isMap && t.what == keyedList {
			here.key = label(m, t.keys)
			v.twice(seen, m, t, i, &here)
		}
		switch {
		case item != nil:
			v.value(item, t.of, &here)
		case t.of.what == object:
			v.wrong(&here, "is empty: expected a map")
		}
	}
}

// label tells an item by its key, where that is one text: containers[name=api].
func label(m map[string]any, keys []key) string {
	if name, ok := m[keys[0].name].(string); ok && len(keys) == 1 && name != "" && len(name) <= 100 && !strings.ContainsAny(name, "[]\n") {
		return keys[0].name + "=" + name
	}
	return ""
}

// twice finds items with equal keys: a server that merges lists by key cannot tell them apart.
func (v *validator) twice(seen map[string]int, m map[string]any, t *typ, i int, at *place) {
	if seen == nil {
		return
	}
	var id strings.Builder
	for _, k := range t.keys {
		value := m[k.name]
		if value == nil {
			value = k.fallback
		}
		fmt.Fprintf(&id, "%v\x00", value)
	}
	if first, ok := seen[id.String()]; ok {
		names := make([]string, len(t.keys))
		for j, k := range t.keys {
			names[j] = k.name
		}
		v.wrong(&place{up: at.up, index: i}, "has the same %s as [%d]", strings.Join(names, " and "), first)
		return
	}
	seen[id.String()] = i
}

var quantity = lazyre.New(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$`)

// leaf reports whether a value has a wrong type. A value of the right type that is wrong itself is told of here.
func (v *validator) leaf(value any, what byte, at *place) (wrong bool) {
	switch value := value.(type) {
	case string:
		return v.text(value, what, at)
	case bool:
		return what != 'b'
	case int:
		return v.number(int64(value), what, at)
	case int64:
		return v.number(value, what, at)
	case float64:
		if value == math.Trunc(value) && math.Abs(value) <= 1<<53 {
			return v.number(int64(value), what, at)
		}
		return what != 'f' && what != 'q'
	}
	return true
}

func (v *validator) text(value string, what byte, at *place) (wrong bool) {
	var ok bool
	switch what {
	case 's', 'x':
		return false
	case 'q':
		ok = quantity.MatchString(strings.TrimSpace(value))
	case 't':
		_, err := time.Parse(time.RFC3339, value)
		ok = err == nil
	case 'y':
		_, err := base64.StdEncoding.DecodeString(value)
		ok = err == nil
	default:
		return true
	}
	if !ok {
		v.wrong(at, "is not %s", words[what])
	}
	return false
}

func (v *validator) number(n int64, what byte, at *place) (wrong bool) {
	switch what {
	case text32, 'x':
		if n < math.MinInt32 || n > math.MaxInt32 {
			v.wrong(at, "is %d: expected a whole number between %d and %d", n, math.MinInt32, math.MaxInt32)
		}
		return false
	case text64, 'f', 'q':
		return false
	}
	return true
}

// describe names what stands there, without its content: it may be long, and it may be nobody's business.
func describe(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case int, int64:
		return "a whole number"
	case float64:
		return "a number"
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	}
	return fmt.Sprintf("a %T", v)
}
