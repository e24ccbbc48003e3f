package render_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// goldenInputs are the inputs of all golden cases.
func goldenInputs(t *testing.T) map[string]*rendererv1.RenderInput {
	t.Helper()
	cases, err := filepath.Glob("testdata/*/input.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	out := map[string]*rendererv1.RenderInput{}
	for _, path := range cases {
		files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.score.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(filepath.Dir(path))] = input(t, path, files)
	}
	return out
}

func TestEveryLeafOfEveryGoldenCaseHasAnOrigin(t *testing.T) {
	for name, in := range goldenInputs(t) {
		t.Run(name, func(t *testing.T) {
			resp, err := render.Explain(in, render.Options{}, "", "")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range resp.GetFields() {
				t.Log(f.GetObject().GetFile(), f.GetText())
				if f.GetOrigin().GetSource() == rendererv1.Origin_SOURCE_UNSPECIFIED {
					t.Errorf("%s %s has no origin", f.GetObject().GetFile(), f.GetPath())
				}
			}
		})
	}
}

func TestTracingChangesNoByte(t *testing.T) {
	for name, in := range goldenInputs(t) {
		t.Run(name, func(t *testing.T) {
			plain, err := render.Render(in)
			if err != nil {
				t.Fatal(err)
			}
			traced, err := render.Traced(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain.GetBundle().GetFiles(), traced.GetBundle().GetFiles()); diff != "" || plain.GetBundle().GetTree() != traced.GetBundle().GetTree() {
				t.Errorf("a traced rendering differs (-plain +traced)\n%s", diff)
			}
		})
	}
}
