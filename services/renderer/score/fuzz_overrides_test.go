package score_test

import (
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Whatever stands in overrides and properties of a real document, the answer is a document or an error whose problems say where they
// are and what was expected.
func FuzzOverrides(f *testing.F) {
	for _, in := range hostile() {
		if len(in.content) < 2000 {
			f.Add([]byte(in.content), "metadata.x="+in.content)
		}
	}
	for _, p := range []string{"containers.main.files./etc/a.content.0=x", "containers.main=", "metadata.name", `a\.b\\.-1.0=[{}]`, "resources.db.params.a.-1={<<: {a: b}}", "containers.init.files.0.target="} {
		f.Add([]byte("containers: {main: {image: null, variables: {A: null}}}"), p)
	}
	f.Fuzz(func(t *testing.T, overrides []byte, property string) {
		_, err := score.Load(&rendererv1.ScoreFile{Content: []byte(everything), Overrides: overrides, Properties: strings.SplitN(property, "\x00", 4)})
		if err != nil {
			wellPut(t, err)
		}
	})
}

// The same for the document itself, alone, as a source and as the name of a file.
func FuzzDocument(f *testing.F) {
	for _, in := range hostile() {
		if len(in.content) < 2000 {
			f.Add([]byte(in.content))
		}
	}
	for _, content := range real(f) {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, file := range []*rendererv1.ScoreFile{
			{Content: content, Image: "x"},
			{Content: []byte(minimal + "    files: {/x: {source: x}}"), Sources: map[string][]byte{"x": content}},
		} {
			_, places, err := score.LoadPlaced([]*rendererv1.ScoreFile{file})
			if err != nil {
				wellPut(t, err)
				_ = places.Locate(err)
			}
		}
	})
}
