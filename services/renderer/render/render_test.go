package render_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func shop(t testing.TB) *rendererv1.RenderInput {
	files, err := filepath.Glob("../../../examples/shop/*.score.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: load(t, files...),
		Variables: map[string]string{"CURRENCY": "EUR", "A": "1", "B": "2"}, Defaults: &rendererv1.EnvironmentDefaults{Restricted: true}}
}

// The maps of an input have no order, in memory or on the wire; whatever order they come in, the bundle is one.
func TestManyRendersOfShuffledInputsGiveOneTree(t *testing.T) {
	base, trees := shop(t), map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		in := proto.CloneOf(base)
		in.Workloads = shuffled(random, in.Workloads)
		for _, w := range in.Workloads {
			shuffleStruct(random, w)
		}
		resp, err := render.Render(in)
		if err != nil {
			t.Fatal(err)
		}
		trees[resp.GetBundle().GetTree()+resp.GetBundle().GetSha256()] = true
	}
	if len(trees) != 1 {
		t.Errorf("20 renderings of one input gave %d bundles", len(trees))
	}
}

func shuffled[V any](random *rand.Rand, m map[string]V) map[string]V {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	out := map[string]V{}
	for _, k := range keys {
		out[k] = m[k]
	}
	return out
}

func shuffleStruct(random *rand.Rand, s *structpb.Struct) {
	s.Fields = shuffled(random, s.GetFields())
	for _, v := range s.GetFields() {
		if inner := v.GetStructValue(); inner != nil {
			shuffleStruct(random, inner)
		}
	}
}

func TestRenderLeavesItsInputAlone(t *testing.T) {
	in := shop(t)
	in.Overlay = []*rendererv1.Operation{set("/workloads/api/containers/main/variables/LOG_LEVEL", "debug")}
	before := proto.CloneOf(in)
	if _, err := render.Render(in); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(before, in) {
		t.Error("rendering changed its input")
	}
}

// One variable is one line of one file: what a person changed is what a reviewer sees.
func TestOneVariableChangesOneFile(t *testing.T) {
	first, err := render.Render(shop(t))
	if err != nil {
		t.Fatal(err)
	}
	in := shop(t)
	in.Overlay = []*rendererv1.Operation{set("/workloads/api/containers/main/variables/LOG_LEVEL", "debug")}
	second, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for name, content := range second.GetBundle().GetFiles() {
		if string(first.GetBundle().GetFiles()[name]) != string(content) {
			changed = append(changed, name)
		}
	}
	if len(changed) != 1 || changed[0] != "deployment-api.yaml" || first.GetBundle().GetTree() == second.GetBundle().GetTree() {
		t.Errorf("changed files: %v", changed)
	}
	want := strings.Replace(string(first.GetBundle().GetFiles()["deployment-api.yaml"]), "value: info", "value: debug", 1)
	if got := string(second.GetBundle().GetFiles()["deployment-api.yaml"]); got != want {
		t.Errorf("more than the value changed:\n%s", got)
	}
}

func TestChangedFileRollsThePods(t *testing.T) {
	document := head + "containers: {main: {image: x, files: {/x: {content: '%s'}}}}"
	deployments := map[string]bool{}
	for _, content := range []string{"one", "two"} {
		resp, err := render.Render(newInput(t, fmt.Sprintf(document, content)))
		if err != nil {
			t.Fatal(err)
		}
		deployments[string(resp.GetBundle().GetFiles()["deployment-app.yaml"])] = true
	}
	if len(deployments) != 2 {
		t.Error("the Deployment is the same for different files")
	}
}

func TestAnEmptySetIsAnEmptyBundle(t *testing.T) {
	resp, err := render.Render(&rendererv1.RenderInput{Application: "a", Environment: "b", Namespace: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetBundle(); len(got.GetFiles()) != 0 || got.GetTree() != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" || resp.GetRendererVersion() != render.Version {
		t.Errorf("%v", resp)
	}
}

// A few bytes of input must not become gigabytes, nor keep a processor busy. The deadline tells "soon" from "never".
func TestHostileInputIsRefusedSoon(t *testing.T) {
	amplified := newInput(t, head+"containers: {main: {image: x}}\nresources: {env: {type: environment}}")
	amplified.Variables["BIG"] = strings.Repeat("x", 500_000)
	unresolved := newInput(t, head+"containers: {main: {image: x}}\nresources: {env: {type: environment}}")
	many := newInput(t, head+"containers: {main: {image: x}}")
	values, unknown := map[string]any{}, map[string]any{}
	for i := range 1500 {
		values[fmt.Sprintf("V%d", i)] = "${resources.env.BIG}"
		unknown[fmt.Sprintf("V%d", i)] = fmt.Sprintf("${resources.env.V%d}", i)
		unresolved.Variables[fmt.Sprintf("W%d", i)] = "x"
	}
	amplified.Overlay = []*rendererv1.Operation{set("/workloads/app/containers/main/variables", values)}
	unresolved.Overlay = []*rendererv1.Operation{set("/workloads/app/containers/main/variables", unknown)}
	containers := map[string]any{}
	for i := range 1000 {
		containers[fmt.Sprintf("c%d", i)] = map[string]any{"image": "x", "before": map[string]any{fmt.Sprintf("c%d", i+1): map[string]any{"ready": "started"}}}
	}
	containers["c1000"] = map[string]any{"image": "x"}
	many.Overlay = []*rendererv1.Operation{set("/workloads/app/containers", containers)}
	for name, tc := range map[string]struct {
		in     *rendererv1.RenderInput
		reason errorsv1.Reason
	}{
		"a large variable many times": {amplified, errorsv1.Reason_REASON_TOO_LARGE},
		"many broken placeholders":    {unresolved, errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER},
		"a long chain of containers":  {many, errorsv1.Reason_REASON_INVALID_SCORE},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := render.Render(tc.in)
			if errs.ReasonOf(err) != tc.reason {
				t.Errorf("want %s, got %.300v", tc.reason, err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
