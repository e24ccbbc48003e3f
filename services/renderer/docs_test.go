package renderer_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer"
	"github.com/towpath-dev/towpath/services/renderer/archive"
	files "github.com/towpath-dev/towpath/services/renderer/document"
	"github.com/towpath-dev/towpath/services/renderer/worker"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

var fence = regexp.MustCompile("(?ms)^```([a-z]+)(?: ([^\n]+))?\n(.*?)^```$")

// Every example of the page about definitions is what it says: definitions compile, workloads render with the definitions between
// them and the example before, and files, errors, verdicts and explanations are those that come out.
func TestTheExamplesOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/definitions.md")
	if err != nil {
		t.Fatal(err)
	}
	pool := worker.New(worker.Config{Workers: 1})
	defer pool.Close()
	svc, err := renderer.New(renderer.Config{Sandbox: pool})
	if err != nil {
		t.Fatal(err)
	}
	x := &example{t: t, svc: svc, archive: archive.Files{}}
	counts := map[string]int{}
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		words := append(strings.Fields(m[2]), "")
		counts[words[0]]++
		x.take(words[0], words[1:], m[3])
	}
	for kind, least := range map[string]int{"definition": 6, "score": 6, "file": 1, "error": 1, "explain": 1, "guardrails": 1, "verdicts": 1, "claims": 1, "archive": 6} {
		if counts[kind] < least {
			t.Errorf("the page has %d examples of %s, want %d", counts[kind], kind, least)
		}
	}
}

// example is what the blocks since the last workload have built up.
type example struct {
	t           *testing.T
	svc         rendererv1.RendererServiceServer
	archive     archive.Files // of the next definition
	definitions []*rendererv1.ResourceDefinition
	guardrails  []*rendererv1.Guardrail
	done        bool // the workload was rendered: the next definition begins another example
	input       *rendererv1.RenderInput
	resp        *rendererv1.RenderResponse
	err         error
}

func (x *example) take(kind string, args []string, text string) {
	x.t.Helper()
	switch kind {
	case "archive":
		x.archive[args[0]] = []byte(text)
	case "definition":
		x.define(args[0], text)
	case "claims":
		x.claims(args[0], text)
	case "guardrails":
		x.definitions = nil
		var err error
		x.guardrails, err = files.Guardrails([]byte(text))
		x.check(err)
	case "score":
		x.render(text)
	case "file":
		x.same(text, string(x.resp.GetBundle().GetFiles()[args[0]]))
	case "error":
		if x.err == nil || !strings.Contains(x.err.Error(), strings.TrimSpace(text)) {
			x.t.Errorf("want the error …%s…, got %v", text, x.err)
		}
		x.err = nil
	case "explain":
		x.explain(args[0], args[1], text)
	case "verdicts":
		got := ""
		for _, v := range x.resp.GetVerdicts() {
			word := strings.ToLower(strings.TrimPrefix(v.GetEnforcement().String(), "ENFORCEMENT_"))
			got += fmt.Sprintf("%s %s %s: %s\n", word, v.GetGuardrail(), v.GetObject().GetFile(), v.GetMessage())
		}
		x.same(text, got)
	}
}

func (x *example) define(name, text string) {
	x.t.Helper()
	if x.check(x.err); x.done {
		x.definitions, x.done, x.err = nil, false, nil
	}
	d, err := files.Definition([]byte(text))
	x.check(err)
	d.Name = name
	if len(x.archive) > 0 {
		data, err := archive.Pack(x.archive)
		x.check(err)
		x.check(files.PutArchive(d, data))
		x.archive = archive.Files{}
	}
	_, err = x.svc.CheckDefinition(x.t.Context(), &rendererv1.CheckDefinitionRequest{Definition: d})
	x.check(err)
	x.definitions = append(x.definitions, d)
}

func (x *example) render(text string) { x.renderWith(text, nil) }

func (x *example) renderWith(text string, defaults *rendererv1.EnvironmentDefaults) {
	x.t.Helper()
	x.check(x.err)
	loaded, err := x.svc.LoadWorkloads(x.t.Context(), &rendererv1.LoadWorkloadsRequest{Files: []*rendererv1.ScoreFile{{Content: []byte(text)}}})
	x.check(err)
	x.input = &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev",
		Workloads: loaded.GetWorkloads(), Definitions: x.definitions, Defaults: defaults,
	}
	x.resp, x.err = x.svc.Render(x.t.Context(), &rendererv1.RenderRequest{Guardrails: x.guardrails, Input: x.input})
	if x.done = true; x.err != nil {
		return
	}
	for _, d := range x.definitions {
		if !strings.Contains(strings.Join(x.resp.GetDefinitionsUsed(), " "), d.GetName()) {
			x.t.Errorf("the example does not use the definition %s", d.GetName())
		}
	}
}

// claims checks that the workload before waits for outputs, and that one of its claims is what the page says.
func (x *example) claims(file, want string) {
	x.t.Helper()
	var e *errs.Error
	if !errors.As(x.err, &e) || e.Reason != errorsv1.Reason_REASON_OUTPUTS_MISSING {
		x.t.Errorf("want a workload that waits for outputs, got %v", x.err)
	}
	resp, err := x.svc.Render(x.t.Context(), &rendererv1.RenderRequest{Input: x.input, ClaimsOnly: true})
	x.check(err)
	x.same(want, string(resp.GetBundle().GetFiles()[file]))
	x.err = nil
}

func (x *example) explain(typ, id, want string) {
	x.t.Helper()
	resp, err := x.svc.ExplainMatch(x.t.Context(), &rendererv1.ExplainMatchRequest{Definitions: x.definitions,
		Match: &rendererv1.MatchRequest{Type: typ, ResId: id, App: "shop", Env: "dev", EnvType: "development"}})
	x.check(err)
	got := ""
	for _, c := range resp.GetCandidates() {
		got += c.GetDefinition() + " " + c.GetReason() + "\n"
	}
	x.same(want, got)
}

func (x *example) same(want, got string) {
	x.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		x.t.Errorf("-page +rendered:\n%s", diff)
	}
}

func (x *example) check(err error) {
	x.t.Helper()
	var e *errs.Error
	if errors.As(err, &e) {
		x.t.Fatalf("%v", e)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}
