package render

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The loops must say what the expressions say that the documentation has.
func TestNameFormsAreTheExpressionsOfTheDocumentation(t *testing.T) {
	for expr, form := range map[string]nameForm{
		`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`:   dnsLabel,
		`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`: objectName,
	} {
		want := regexp.MustCompile(expr)
		for _, s := range []string{"", "a", "-", ".", "a-", "-a", "a.b", "A", "a_b", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253), strings.Repeat("a", 254), "a\n", "ä"} {
			if form.MatchString(s) != want.MatchString(s) {
				t.Errorf("%q: the loop says %t, %s not", s, form.MatchString(s), expr)
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			s := rapid.StringMatching(`[a-b0.\-A]{0,70}`).Draw(t, "s")
			if form.MatchString(s) != want.MatchString(s) {
				t.Fatalf("%q: the loop says %t, %s not", s, form.MatchString(s), expr)
			}
		})
	}
}
