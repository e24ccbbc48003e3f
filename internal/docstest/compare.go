package docstest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Same holds what a page has shown so far of things that must stay the same within it, such as a commit that is named twice.
type Same map[string]string

// podName are the random ends of names that Kubernetes makes up. Its letters have no vowels, so that no word is one of them.
var podName = regexp.MustCompile(`^-[bcdfghjklmnpqrstvwxz2456789]{5,10}\b`)

// varying is what may differ between two runs, tried in this order at each place.
var varying = []struct {
	shown *regexp.Regexp
	real  string
	same  bool // the same digest is the same one wherever a page shows it
}{
	{regexp.MustCompile(`^tow_[A-Za-z0-9_-]{16,}`), `tow_[A-Za-z0-9_-]{16,}`, false},
	{regexp.MustCompile(`^sha256:[0-9a-f]{8,64}`), `sha256:[0-9a-f]{8,64}`, true},
	{regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, false},
	{regexp.MustCompile(`^[0-9a-f]{7,64}\b`), `[0-9a-f]{7,64}`, true},
	{regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?`), `\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?`, false},
	{regexp.MustCompile(`^\d{4}-\d\d-\d\d\b`), `\d{4}-\d\d-\d\d`, false},
	{regexp.MustCompile(`^\d\d:\d\d:\d\d(\.\d+)?\b`), `\d\d:\d\d:\d\d(?:\.\d+)?`, false},
	{regexp.MustCompile(`^(\d+(\.\d+)?(d|h|m|s|ms|µs))+\b( ago)?`), `(?:just now|(?:\d+(?:\.\d+)?(?:d|h|m|s|ms|µs))+(?: ago)?)`, false},
	{regexp.MustCompile(`^\d+ (s|min|h|d|seconds?|minutes?|hours?|days?) ago\b`), `(?:just now|\d+ \w+ ago)`, false},
	{regexp.MustCompile(`^just now\b`), `(?:just now|(?:\d+(?:\.\d+)?(?:d|h|m|s|ms|µs))+ ago)`, false},
}

// word is a boundary: a digest or time begins where a word does.
var word = regexp.MustCompile(`[0-9A-Za-z_]`)

// pattern makes the expression that a line of an answer must meet, and lists the digests that the page shows, in the order of the
// expression's groups.
func pattern(shown string) (re *regexp.Regexp, digests []string) {
	var b strings.Builder
	b.WriteString(`^\s*`)
	rest := strings.TrimSpace(shown)
	before := byte(' ')
next:
	for rest != "" {
		if strings.HasPrefix(rest, "...") {
			b.WriteString(`.*`)
			before, rest = '.', rest[3:]
			continue
		}
		if spaces := len(rest) - len(strings.TrimLeft(rest, " \t")); spaces > 0 {
			b.WriteString(`\s+`)
			before, rest = ' ', rest[spaces:]
			continue
		}
		if m := podName.FindString(rest); m != "" && strings.ContainsAny(m, "2456789") {
			b.WriteString(`-[bcdfghjklmnpqrstvwxz2456789]{5,10}`)
			before, rest = m[len(m)-1], rest[len(m):]
			continue
		}
		if !word.MatchString(string(before)) {
			for _, v := range varying {
				m := v.shown.FindString(rest)
				if m == "" || v.same && !strings.ContainsAny(m, "0123456789") {
					continue
				}
				if v.same {
					b.WriteString(`(` + v.real + `)`)
					digests = append(digests, m)
				} else {
					b.WriteString(v.real)
				}
				before, rest = m[len(m)-1], rest[len(m):]
				continue next
			}
		}
		b.WriteString(regexp.QuoteMeta(rest[:1]))
		before, rest = rest[0], rest[1:]
	}
	b.WriteString(`\s*$`)
	return regexp.MustCompile(b.String()), digests
}

// key is what a digest is known by: tables show the first digits only.
func key(digest string) string { return strings.TrimPrefix(digest, "sha256:")[:7] }

var phase = regexp.MustCompile(`^\s*(PENDING|PROVISIONING|RENDERING|COMMITTING|SYNCING) +([0-9.]+m?s|waits: .*)$`)

// withoutPhases leaves out the phases of a deployment: which of them are seen depends on how fast they go by.
func withoutPhases(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), phase.MatchString)
}

// Compare tells how an answer differs from what a page shows, with nothing for one that does not. A digest that was shown before
// must be the one of then.
func Compare(shown, real []string, same Same) error {
	shown, real = withoutPhases(shown), withoutPhases(real)
	type line struct {
		re      *regexp.Regexp // nil leaves lines out
		digests []string
	}
	lines := make([]line, len(shown))
	for i, s := range shown {
		if strings.TrimSpace(s) != "..." {
			lines[i].re, lines[i].digests = pattern(s)
		}
	}
	// far is how many shown lines were met at the best try, for the message.
	far := 0
	var meet func(i, j int) []int
	meet = func(i, j int) []int {
		far = max(far, i)
		if i == len(lines) {
			if j == len(real) {
				return []int{}
			}
			return nil
		}
		if lines[i].re == nil {
			for k := j; k <= len(real); k++ {
				if m := meet(i+1, k); m != nil {
					return append([]int{-1}, m...)
				}
			}
			return nil
		}
		if j < len(real) && lines[i].re.MatchString(real[j]) {
			if m := meet(i+1, j+1); m != nil {
				return append([]int{j}, m...)
			}
		}
		return nil
	}
	at := meet(0, 0)
	if at == nil {
		return fmt.Errorf("the answer is another one%s\n%s", furthest(shown, far), Difference(shown, real))
	}
	for i, j := range at {
		if j < 0 {
			continue
		}
		found := lines[i].re.FindStringSubmatch(real[j])[1:]
		for n, digest := range lines[i].digests {
			old, ok := same[key(digest)]
			if ok && old != key(found[n]) {
				return fmt.Errorf("the page shows %s again, and it is another one now: %s, which began with %s before", digest, found[n], old)
			}
			same[key(digest)] = key(found[n])
		}
	}
	return nil
}

func furthest(shown []string, far int) string {
	if far >= len(shown) {
		return ": there is more than is shown"
	}
	return fmt.Sprintf(": the first line that did not come is %q", strings.TrimSpace(shown[far]))
}

// Difference shows both, line by line, for a person: "-" is what the page has, "+" what came.
func Difference(shown, real []string) string {
	equal := func(a, b string) bool {
		re, _ := pattern(a)
		return strings.TrimSpace(a) != "..." && re.MatchString(b)
	}
	// The longest common part, by the usual table.
	length := make([][]int, len(shown)+1)
	for i := range length {
		length[i] = make([]int, len(real)+1)
	}
	for i := len(shown) - 1; i >= 0; i-- {
		for j := len(real) - 1; j >= 0; j-- {
			if equal(shown[i], real[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var b strings.Builder
	i, j := 0, 0
	for i < len(shown) || j < len(real) {
		switch {
		case i < len(shown) && j < len(real) && equal(shown[i], real[j]):
			fmt.Fprintf(&b, "  %s\n", real[j])
			i, j = i+1, j+1
		case i < len(shown) && (j == len(real) || length[i+1][j] >= length[i][j+1]):
			fmt.Fprintf(&b, "- %s\n", shown[i])
			i++
		default:
			fmt.Fprintf(&b, "+ %s\n", real[j])
			j++
		}
	}
	return b.String()
}
