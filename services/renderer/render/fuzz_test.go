package render_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"
	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Whatever a workload says, Render gives a typed error that is no fault of our own, or the same valid bundle twice.
func FuzzRender(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.score.yaml", "../../../examples/shop/*.score.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			f.Add(read(f, file), "value")
		}
	}
	f.Add([]byte(head+"containers: {main: {image: \"a\\nb: c\", args: [\"$(x)\"], variables: {A: ${resources.v}}}}\nresources: {v: {type: volume, params: {size: \"1\\n- x: y\"}}}"), "a: b\n- c")
	f.Fuzz(func(t *testing.T, document []byte, value string) {
		workloads, err := score.LoadAll([]*rendererv1.ScoreFile{{Content: document, Image: "x"}})
		if err != nil {
			return
		}
		in := &rendererv1.RenderInput{Application: "fuzz", Environment: "dev", Namespace: "fuzz-dev", Workloads: workloads,
			Variables: map[string]string{"CURRENCY": strings.ToValidUTF8(value, "")}}
		first, err := render.Render(in)
		if err != nil {
			var typed *errs.Error
			if !errors.As(err, &typed) || typed.Kind != errs.Invalid && typed.Kind != errs.Precondition {
				t.Fatalf("not an error about the input: %v", err)
			}
			return
		}
		second, err := render.Render(proto.CloneOf(in))
		if err != nil || second.GetBundle().GetTree() != first.GetBundle().GetTree() {
			t.Fatalf("the second rendering differs: %v", err)
		}
		for name, content := range first.GetBundle().GetFiles() {
			var object struct {
				Kind     string
				Metadata struct{ Namespace string }
				Data     map[string]string
			}
			if err := yaml.Unmarshal(content, &object); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, content)
			}
			if object.Metadata.Namespace != "fuzz-dev" || object.Kind == "Secret" && len(object.Data) > 0 {
				t.Fatalf("%s:\n%s", name, content)
			}
		}
	})
}
