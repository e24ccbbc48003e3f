package kube

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// kubernetes expands a value as the kubelet does: $(NAME) is a variable, $$ is one dollar sign, and any other dollar sign is
// itself. A name that is not known stays as it is.
func kubernetes(value string, known map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '$' || i+1 == len(value) {
			b.WriteByte(value[i])
			continue
		}
		switch i++; value[i] {
		case '$':
			b.WriteByte('$')
		case '(':
			name, _, closed := strings.Cut(value[i+1:], ")")
			if !closed {
				b.WriteString("$(")
				continue
			}
			if v, ok := known[name]; ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			i += len(name) + 1
		default:
			b.WriteString("$" + value[i:i+1])
		}
	}
	return b.String()
}

// Whatever a value holds, the container sees it as it was written, with the secrets in their places.
func TestContainersSeeValuesAsTheyWereWritten(t *testing.T) {
	piece := rapid.OneOf(
		rapid.Map(rapid.StringMatching(`[$()aA ]{0,6}`), func(s string) definition.Piece { return definition.Piece{Text: s} }),
		rapid.Map(rapid.SampledFrom([]string{"a-b", "a.b", "a_b", "a"}), func(s string) definition.Piece {
			return definition.Piece{Secret: &definition.Secret{Name: "name", Key: s}}
		}))
	rapid.Check(t, func(t *rapid.T) {
		var text, want strings.Builder
		for _, p := range rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces") {
			if p.Secret == nil {
				text.WriteString(p.Text)
				want.WriteString(p.Text)
				continue
			}
			ref, err := definition.EncodeSecret(p.Secret.Name, p.Secret.Key)
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString(ref)
			want.WriteString("<secret " + p.Secret.Key + ">")
		}
		helpers := map[string]definition.Secret{}
		got := envVar("X", definition.SplitSecrets(text.String()), helpers)
		known := map[string]string{"A": "expanded", "a": "expanded", "": "expanded"}
		for name, s := range helpers {
			known[name] = "<secret " + s.Key + ">"
		}
		if ref, ok := got["valueFrom"].(map[string]any); ok {
			key := ref["secretKeyRef"].(map[string]any)["key"].(string)
			if want.String() != "<secret "+key+">" {
				t.Fatalf("%q became a reference to %s", text.String(), key)
			}
			return
		}
		if seen := kubernetes(got["value"].(string), known); seen != want.String() {
			t.Fatalf("%q is written as %q and seen as %q", want.String(), got["value"], seen)
		}
	})
}
