package score

import (
	"fmt"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

// checker holds the small rules that validation is made of. Every rule reports and goes on, so that one answer lists all
// problems.
type checker struct {
	problems *problems
}

// rule is what a string must match, with the words for it.
type rule struct {
	pattern *lazyre.Regexp
	min     int
	max     int
	words   string
}

func (r rule) matches(s string) bool {
	return len(s) >= r.min && (r.max == 0 || len(s) <= r.max) && (r.pattern == nil || r.pattern.MatchString(s))
}

const labelWords = "2 to 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit"

var (
	labelRule = rule{lazyre.New(`^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$`), 2, 63, labelWords}
	typeRule  = rule{lazyre.New(`^[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`), 2, 63,
		"2 to 63 letters, digits and dashes, beginning and ending with a letter or digit"}
	idRule = rule{lazyre.New(`^[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*$`), 2, 63,
		"2 to 63 characters: lower-case labels of letters, digits and inner dashes, separated by dots"}
	annotationRule = rule{lazyre.New(`^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*/)?` +
		`[A-Za-z0-9][A-Za-z0-9._-]{0,61}[A-Za-z0-9]$`), 2, 316,
		"an optional host/ prefix, then 2 to 63 letters, digits, dots, dashes and underscores, such as example.com/team"}
	memoryRule = rule{lazyre.New(`^(0\.\d+|[1-9]\d*(\.\d+)?)(K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`), 1, 0,
		"a number with an optional unit K, M, G, T, P, E (powers of 1000) or Ki, Mi, Gi, Ti, Pi, Ei (of 1024), such as 256Mi"}
	cpuRule      = rule{lazyre.New(`^\d+(?:m|\.\d+)?$`), 1, 0, "cores such as 2 or 0.5, or thousandths such as 250m"}
	modeRule     = rule{lazyre.New(`^0?[0-7]{3}$`), 3, 4, `three octal digits, such as "0644"`}
	headerRule   = rule{lazyre.New(`^[A-Za-z0-9_-]+$`), 1, 0, "letters, digits, dashes and underscores"}
	anyString    = rule{words: "a string"}
	someString   = rule{min: 1, words: "a string that is not empty"}
	variableRule = rule{lazyre.New(`^[^=]+$`), 1, 0, "not empty and without ="}
)

// isMap reports whether there is a map, and says so when there is something else.
func (c checker) isMap(n *node, where path) bool {
	if n == nil {
		return false
	}
	if n.kind == mapKind {
		return true
	}
	c.problems.add(n.pos, where, "expected a map, got %s", n.describe())
	return false
}

// closed reports the keys of a map that have no meaning, and the required ones that are missing.
func (c checker) closed(n *node, where path, required, optional []string) {
	known := append(slices.Clone(required), optional...)
	for _, key := range n.names() {
		if len(c.problems.found) > maxProblems {
			return // more would not be listed, and to find their hints costs most
		}
		if !slices.Contains(known, key) {
			c.problems.add(n.keyPos(key), where.field(key), "is not a known field%s (known: %s)", suggest(key, known), strings.Join(known, ", "))
		}
	}
	c.required(n, where, required...)
}

func (c checker) required(n *node, where path, keys ...string) {
	for _, key := range keys {
		if n.get(key) == nil {
			c.problems.add(n.pos, where.field(key), "is required and missing")
		}
	}
}

// str checks a string and gives it. A missing one is nothing to report: required does that.
func (c checker) str(n *node, where path, r rule) (string, bool) {
	if n == nil {
		return "", false
	}
	s, ok := n.text()
	if !ok {
		hint := ""
		if n.kind == scalarKind && n.scalar != nil {
			hint = `: put it in quotes`
		}
		c.problems.add(n.pos, where, "expected a string, got %s%s", n.describe(), hint)
		return "", false
	}
	if !r.matches(s) {
		c.problems.add(n.pos, where, "%s is not valid: expected %s", quote(s), r.words)
		return "", false
	}
	return s, true
}

// key checks the spelling of a map's key.
func (c checker) key(n *node, key string, where path, r rule) {
	if !r.matches(key) {
		c.problems.add(n.keyPos(key), where.field(key), "the name %s is not valid: expected %s", quote(key), r.words)
	}
}

func (c checker) enum(n *node, where path, values ...string) {
	if s, ok := c.str(n, where, anyString); ok && !slices.Contains(values, s) {
		c.problems.add(n.pos, where, "%s is not valid: expected %s%s", quote(s), strings.Join(values, " or "), suggest(s, values))
	}
}

func (c checker) boolean(n *node, where path) {
	if n == nil {
		return
	}
	if _, ok := n.scalar.(bool); !ok || n.kind != scalarKind {
		c.problems.add(n.pos, where, "expected true or false, got %s", n.describe())
	}
}

func (c checker) port(n *node, where path) {
	if n == nil {
		return
	}
	f, ok := n.scalar.(float64)
	if n.kind != scalarKind || !ok {
		c.problems.add(n.pos, where, "expected a port number from 1 to 65535, got %s", n.describe())
		return
	}
	if f < 1 || f > 65535 || f != float64(int(f)) {
		c.problems.add(n.pos, where, "%v is not a port: expected a whole number from 1 to 65535", f)
	}
}

// strings checks a list of strings.
func (c checker) strings(n *node, where path) {
	if n == nil {
		return
	}
	if n.kind != listKind {
		c.problems.add(n.pos, where, `expected a list of strings, got %s; write it as ["first", "second"]`, n.describe())
		return
	}
	for i, item := range n.list {
		c.str(item, where.index(i), anyString)
	}
}

// each calls f for every field of a map in order.
func (c checker) each(n *node, where path, f func(key string, value *node, at path)) {
	if !c.isMap(n, where) {
		return
	}
	for _, key := range n.names() {
		f(key, n.fields[key], where.field(key))
	}
}

// quote shows a value in a message, shortened.
func quote(s string) string {
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return fmt.Sprintf("%q", s)
}
