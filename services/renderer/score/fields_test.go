package score

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	scorePage   = "../../../docs/score.md"
	beginFields = "<!-- fields: written by UPDATE=1 go test -run TestTheFieldsOfTheDocumentation ./services/renderer/score -->\n"
	endFields   = "<!-- end of fields -->\n"
)

// The page's list of fields is printed from the shapes. UPDATE=1 writes it.
func TestTheFieldsOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile(scorePage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(page), beginFields)
	is, after, ended := strings.Cut(rest, endFields)
	if !begun || !ended {
		t.Fatal("the page has no place for the fields")
	}
	var b strings.Builder
	b.WriteString("| field | what it is | rule |\n| --- | --- | --- |\n")
	describe(&b, "", documentShape)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(scorePage, []byte(before+beginFields+b.String()+endFields+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(b.String(), is); diff != "" {
		t.Errorf("the fields on the page are old; write them with UPDATE=1:\n%s", diff)
	}
}

func describe(b *strings.Builder, where string, s *shape) {
	for _, f := range s.fields {
		at := strings.TrimPrefix(where+"."+f.name, ".")
		rule := f.shape.words()
		if f.shape.kind == objectShape || f.shape.kind == dictShape || f.shape.kind == anyMapShape {
			rule = "a map"
		}
		if f.shape.def != nil {
			rule += fmt.Sprintf("; `%v` when not given", f.shape.def)
		}
		if f.required {
			rule = "required; " + rule
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", at, strings.ReplaceAll(f.shape.doc, "|", `\|`), rule)
		inner(b, at, f.shape)
	}
}

func inner(b *strings.Builder, at string, s *shape) {
	switch s.kind {
	case objectShape:
		describe(b, at, s)
	case dictShape:
		name := "NAME"
		if strings.HasSuffix(at, "files") || strings.HasSuffix(at, "volumes") {
			name = "PATH"
		}
		describe(b, at+"."+name, s.values)
	case listShape:
		describe(b, at+"[]", s.values)
	}
}
