package placeholder_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/renderer/placeholder"
)

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"${a}":            "<a>",
		"x${a.b}y${c}z":   "x<a|b>y<c>z",
		"$${a}":           "${a}",
		"$$${a}":          "$<a>",
		"$$$${a}":         "$${a}",
		"$$":              "$",
		"$$$":             "$$",
		"$":               "$",
		"$5 and $x":       "$5 and $x",
		"${unclosed":      "${unclosed",
		"$${unclosed":     "${unclosed",
		"$${}":            "${}",
		"${a\\.b.c}":      "<a.b|c>",
		"${a..b}":         "<a||b>",
		"${a}}":           "<a>}",
		"${{a}}":          "<{a>}",
		"${a\nb}":         "<a\nb>",
		"{a} }${":         "{a} }${",
		"${resources.x}$": "<resources|x>$",
	} {
		got, err := placeholder.Expand(in, func(r placeholder.Ref) (string, error) { return "<" + strings.Join(r.Path, "|") + ">", nil })
		if err != nil || got != want {
			t.Errorf("%q: want %q, got %q and %v", in, want, got, err)
		}
	}
}

func TestExpandFails(t *testing.T) {
	if _, err := placeholder.Parse("a ${} b"); !errors.Is(err, placeholder.ErrEmpty) {
		t.Errorf("${}: %v", err)
	}
	no := errors.New("no")
	if _, err := placeholder.Expand("${a}", func(placeholder.Ref) (string, error) { return "", no }); !errors.Is(err, no) {
		t.Errorf("resolve's error is lost: %v", err)
	}
}

func TestRefs(t *testing.T) {
	want := []placeholder.Ref{{Text: "a.b", Path: []string{"a", "b"}}, {Text: "c", Path: []string{"c"}}}
	if diff := cmp.Diff(want, placeholder.Refs("${a.b} $${x} ${c}")); diff != "" {
		t.Error(diff)
	}
}

// The specification gives the token as a regular expression; the scanner must agree with it on any text.
func FuzzPlaceholder(f *testing.F) {
	for _, s := range []string{"", "${a}", "$${a}", "$$${a.b\\.c}", "$", "$$", "${", "$${", "${}", "$${}", "${a}$${b}$", "a}b{$", "$$$$$", "${\n}", "$\xff{a}"} {
		f.Add(s)
	}
	token := regexp.MustCompile(`\$((?:\$?{([^}]*)})|\$)`)
	f.Fuzz(func(t *testing.T, s string) {
		empty := false
		want := token.ReplaceAllStringFunc(s, func(m string) string {
			switch {
			case m == "$$":
				return "$"
			case m[1] == '$':
				return m[1:]
			case m == "${}":
				empty = true
			}
			return "<" + m[2:len(m)-1] + ">"
		})
		got, err := placeholder.Expand(s, func(r placeholder.Ref) (string, error) { return "<" + r.Text + ">", nil })
		if empty {
			if !errors.Is(err, placeholder.ErrEmpty) {
				t.Fatalf("%q: want ErrEmpty, got %v", s, err)
			}
			return
		}
		if err != nil || got != want {
			t.Fatalf("%q: want %q, got %q and %v", s, want, got, err)
		}
	})
}
