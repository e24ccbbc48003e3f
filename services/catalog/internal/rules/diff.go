package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

const (
	maxSummaryLines = 100
	maxSummaryValue = 60
)

// Summary gives the differences between two states in lines for people: "api: LOG_LEVEL info -> debug", "added workload web".
// It compares what is rendered, overlay included; an overlay that does not apply any more is left out of the comparison.
// At most 100 lines, the last then tells how many more there are.
func Summary(before, after State) []string {
	a, err := Effective(before)
	if err != nil {
		a = DocumentOf(before.Set)
	}
	b, err := Effective(after)
	if err != nil {
		b = DocumentOf(after.Set)
	}
	var s summary
	for _, name := range unionKeys(a.Workloads(), b.Workloads()) {
		s.workload(name, a.Workloads(), b.Workloads())
	}
	ra, rb := a.part(resourcesKey), b.part(resourcesKey)
	for _, name := range unionKeys(ra, rb) {
		_, inA := ra[name]
		_, inB := rb[name]
		switch {
		case !inA:
			s.add("added shared resource %s", name)
		case !inB:
			s.add("removed shared resource %s", name)
		default:
			s.walk("resource "+name, nil, ra[name], rb[name])
		}
	}
	s.variables(before.Intent, after.Intent)
	return s.done()
}

type summary struct{ lines []string }

func (s *summary) add(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *summary) done() []string {
	if more := len(s.lines) - maxSummaryLines; more > 0 {
		return append(s.lines[:maxSummaryLines-1:maxSummaryLines-1], fmt.Sprintf("and %d more", more+1))
	}
	return s.lines
}

func (s *summary) variables(a, b *catalogv1.Intent) {
	for _, line := range variableLines(a.GetVariables(), a.GetSecretVariables(), b.GetVariables(), b.GetSecretVariables(), nil) {
		s.add("%s", line)
	}
}

func (s *summary) workload(name string, a, b map[string]any) {
	wa, inA := a[name].(map[string]any)
	wb, inB := b[name].(map[string]any)
	switch {
	case !inA && !inB:
	case !inA:
		s.add("added workload %s", name)
	case !inB:
		s.add("removed workload %s", name)
	default:
		s.walk(name, nil, wa, wb)
	}
}

// walk compares two values and tells the smallest differences.
func (s *summary) walk(owner string, path []string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	if ma, mb, ok := both[map[string]any](a, b); ok {
		for _, key := range unionKeys(ma, mb) {
			va, inA := ma[key]
			vb, inB := mb[key]
			next := append(slices.Clip(path), key)
			switch {
			case !inA:
				s.add("%s: %s set to %s", owner, label(next), show(vb))
			case !inB:
				s.add("%s: %s removed (was %s)", owner, label(next), show(va))
			default:
				s.walk(owner, next, va, vb)
			}
		}
		return
	}
	if la, lb, ok := both[[]any](a, b); ok && len(la) == len(lb) {
		for i := range la {
			s.walk(owner, append(slices.Clip(path), strconv.Itoa(i)), la[i], lb[i])
		}
		return
	}
	s.add("%s: %s %s -> %s", owner, label(path), show(a), show(b))
}

func both[T any](a, b any) (x, y T, ok bool) {
	x, okA := a.(T)
	y, okB := b.(T)
	return x, y, okA && okB
}

// label shortens the two places that people change most: LOG_LEVEL instead of containers.main.variables.LOG_LEVEL, and image.
// The container is told unless it is called main.
func label(path []string) string {
	if len(path) >= 3 && path[0] == "containers" {
		rest := path[2:]
		if len(rest) == 2 && rest[0] == "variables" {
			rest = rest[1:]
		}
		if path[1] != "main" {
			rest = append([]string{path[1]}, rest...)
		}
		return strings.Join(rest, ".")
	}
	return strings.Join(path, ".")
}

func show(v any) string {
	var text string
	switch v := v.(type) {
	case string:
		text = v
		if text == "" || strings.ContainsAny(text, "\n\r\t") {
			text = strconv.Quote(text)
		}
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		text = string(b)
	}
	if r := []rune(text); len(r) > maxSummaryValue {
		return string(r[:maxSummaryValue-1]) + "…"
	}
	return text
}

func unionKeys[V any](a, b map[string]V) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
