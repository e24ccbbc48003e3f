package score_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Whatever is sent, Load gives a typed error or a document that is valid, survives its transport, and is not changed by it.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(minimal), []byte(""), "")
	f.Add([]byte(minimal), []byte("containers: {main: null}"), "metadata.name=xy")
	f.Add([]byte(minimal+"    files: [{target: /a, content: [a]}]\n"), []byte("x"), "containers.main.files.0=")
	f.Add([]byte("a: &a [*a]"), []byte("{"), `a\.b.-1=[`)
	f.Add([]byte("? {a: b}\n: c\n"), []byte("null"), "=")
	f.Add([]byte("<<: [{a: 1}, 2]"), []byte("- 1"), ".=.")
	f.Fuzz(func(t *testing.T, content, overrides []byte, property string) {
		doc, err := score.Load(&rendererv1.ScoreFile{Content: content, Overrides: overrides, Properties: []string{property}, Image: "x"})
		if err != nil {
			var typed *errs.Error
			if !errors.As(err, &typed) || typed.Kind != errs.Invalid || len(typed.Fields) == 0 {
				t.Fatalf("not a typed error with fields: %v", err)
			}
			return
		}
		if found := score.Check(doc, "doc"); len(found) > 0 {
			t.Fatalf("a loaded document is not valid: %v", found)
		}
		s, err := structpb.NewStruct(doc)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(doc, s.AsMap()); diff != "" {
			t.Fatalf("a Struct changes the document: %s", diff)
		}
	})
}
