package score

import (
	"encoding/base64"
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
	// test decides in place of the pattern, where it is faster. The pattern is then for the JSON Schema alone.
	test func(s string) bool
}

func (r *rule) matches(s string) bool {
	if len(s) < r.min || r.max > 0 && len(s) > r.max {
		return false
	}
	if r.test != nil {
		return r.test(s)
	}
	return r.pattern == nil || r.pattern.MatchString(s)
}

const labelWords = "2 to 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit"

var (
	labelRule = rule{pattern: lazyre.New(`^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$`), min: 2, max: 63, words: labelWords}
	typeRule  = rule{pattern: lazyre.New(`^[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`), min: 2, max: 63,
		words: "2 to 63 letters, digits and dashes, beginning and ending with a letter or digit"}
	idRule = rule{pattern: lazyre.New(`^[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*$`), min: 2, max: 63,
		words: "2 to 63 characters: lower-case labels of letters, digits and inner dashes, separated by dots"}
	annotationRule = rule{pattern: lazyre.New(`^(?:[a-z0-9][a-z0-9-]{0,61}[a-z0-9](?:\.[a-z0-9][a-z0-9-]{0,61}[a-z0-9])*/)?` +
		`[A-Za-z0-9][A-Za-z0-9._-]{0,61}[A-Za-z0-9]$`), min: 2, max: 316,
		words: "an optional host/ prefix whose parts between dots have 2 to 63 lower-case letters, digits and inner dashes, then 2 to 63 letters, digits, dots, dashes and underscores, such as example.com/team"}
	memoryRule = rule{pattern: lazyre.New(`^(0\.\d+|[1-9]\d*(\.\d+)?)(K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`), min: 1,
		words: "a number with an optional unit K, M, G, T, P, E (powers of 1000) or Ki, Mi, Gi, Ti, Pi, Ei (of 1024), such as 256Mi"}
	cpuRule      = rule{pattern: lazyre.New(`^\d+(?:m|\.\d+)?$`), min: 1, words: "cores such as 2 or 0.5, or thousandths such as 250m"}
	modeRule     = rule{pattern: lazyre.New(`^0?[0-7]{3}$`), min: 3, max: 4, words: `three octal digits, such as "0644"`}
	headerRule   = rule{pattern: lazyre.New(`^[A-Za-z0-9_-]+$`), min: 1, words: "letters, digits, dashes and underscores"}
	anyString    = rule{words: "a string"}
	someString   = rule{min: 1, words: "a string that is not empty"}
	imageRule    = rule{min: 1, words: "an image, such as registry.example.com/shop/api:1.4.2"}
	variableRule = rule{pattern: lazyre.New(`^[^=]+$`), min: 1, words: "a name that is not empty and without ="}
	sourceRule   = rule{pattern: lazyre.New(`^[^/]`), min: 1, words: "the name of a file, relative to the Score file"}
	base64Rule   = rule{words: "standard base64 (A-Z, a-z, 0-9, +, / and = at the end), as the program base64 writes it",
		pattern: lazyre.New(`^[\r\n]*(?:(?:[A-Za-z0-9+/][\r\n]*){4})*(?:(?:[A-Za-z0-9+/][\r\n]*){2}=[\r\n]*=[\r\n]*|(?:[A-Za-z0-9+/][\r\n]*){3}=[\r\n]*)?$`),
		test: func(s string) bool {
			_, err := base64.StdEncoding.DecodeString(s)
			return err == nil
		}}
)

// isMap reports whether there is a map, and says so when there is something else.
func (c checker) isMap(n *node, s *shape, where path) bool {
	if n.kind == mapKind {
		return true
	}
	c.problems.add(n.pos, where, "expected %s, got %s", s.words(), n.describe())
	return false
}

// str checks a string and gives whether it is right.
func (c checker) str(n *node, s *shape, where path) bool {
	text, ok := n.text()
	if !ok {
		hint := ""
		if n.kind == scalarKind && n.scalar != nil {
			hint = ": put it in quotes"
		}
		c.problems.add(n.pos, where, "expected a string, got %s%s", n.describe(), hint)
		return false
	}
	switch {
	case len(s.enum) > 0 && !slices.Contains(s.enum, text):
		c.problems.add(n.pos, where, "%s is not valid: expected %s%s", quote(text), s.words(), suggest(text, s.enum))
	case len(s.enum) == 0 && !s.rule.matches(text):
		c.problems.add(n.pos, where, "%s is not valid: expected %s", quote(text), s.rule.words)
	default:
		return true
	}
	return false
}

func (c checker) boolean(n *node, where path) {
	if _, ok := n.scalar.(bool); ok && n.kind == scalarKind {
		return
	}
	hint := ""
	switch text, _ := n.text(); strings.ToLower(text) {
	case "yes", "on", "y", "true":
		hint = "; did you mean true?"
	case "no", "off", "n", "false":
		hint = "; did you mean false?"
	}
	c.problems.add(n.pos, where, "expected true or false, got %s%s", n.describe(), hint)
}

func (c checker) port(n *node, where path) {
	f, ok := n.scalar.(float64)
	switch {
	case n.kind != scalarKind || !ok:
		hint := ""
		if text, _ := n.text(); text != "" && strings.Trim(text, "0123456789") == "" {
			hint = ": take the quotes away"
		}
		c.problems.add(n.pos, where, "expected a port number from 1 to 65535, got %s%s", n.describe(), hint)
	case f < 1 || f > 65535 || f != float64(int(f)):
		c.problems.add(n.pos, where, "%v is not a port: expected a whole number from 1 to 65535", f)
	}
}

// quote shows a value in a message, shortened.
func quote(s string) string { return fmt.Sprintf("%q", shortened(s)) }

func shortened(s string) string {
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}
