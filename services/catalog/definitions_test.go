package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog"
)

// definingRenderer answers resources by definitions: each becomes a file that names the definition. A definition with the input
// "broken" cannot be checked, one with "fails" cannot be rendered.
type definingRenderer struct {
	*fakeRenderer
	mu       sync.Mutex
	rendered []string // environments
}

func (f *definingRenderer) CheckDefinition(_ context.Context, r *rendererv1.CheckDefinitionRequest, _ ...grpc.CallOption) (*rendererv1.CheckDefinitionResponse, error) {
	if r.GetDefinition().GetInputs().GetFields()["broken"] != nil {
		return nil, rpc.ToStatus(errs.InvalidField("definition.inputs.broken", "is broken"), "").Err()
	}
	return &rendererv1.CheckDefinitionResponse{}, nil
}

func (f *definingRenderer) CheckGuardrails(_ context.Context, r *rendererv1.CheckGuardrailsRequest, _ ...grpc.CallOption) (*rendererv1.CheckGuardrailsResponse, error) {
	for i, g := range r.GetGuardrails() {
		if g.GetExpression() == "broken" {
			return nil, rpc.ToStatus(errs.InvalidField(fmt.Sprintf("guardrails[%d].expression:1:1", i), "is broken"), "").Err()
		}
	}
	return &rendererv1.CheckGuardrailsResponse{}, nil
}

func (f *definingRenderer) ExplainMatch(_ context.Context, r *rendererv1.ExplainMatchRequest, _ ...grpc.CallOption) (*rendererv1.ExplainMatchResponse, error) {
	out := &rendererv1.ExplainMatchResponse{}
	for _, d := range r.GetDefinitions() {
		out.Candidates = append(out.Candidates, &rendererv1.MatchCandidate{Definition: d.GetName(), Won: true, Reason: r.GetMatch().GetEnvType()})
	}
	return out, nil
}

func (f *definingRenderer) Render(_ context.Context, r *rendererv1.RenderRequest, _ ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	in := r.GetInput()
	f.mu.Lock()
	f.rendered = append(f.rendered, in.GetApplication()+"/"+in.GetEnvironment())
	f.mu.Unlock()
	files, answers, awaits := map[string][]byte{}, map[string]string{}, false
	for name, w := range in.GetWorkloads() {
		files[name+".yaml"] = []byte(name)
		for res, body := range w.GetFields()["resources"].GetStructValue().GetFields() {
			typ := body.GetStructValue().GetFields()["type"].GetStringValue()
			uid, answer := typ+".default#"+name+"."+res, "builtin/"+typ
			for _, d := range in.GetDefinitions() {
				if d.GetType() != typ || len(d.GetCriteria()) > 0 && d.GetCriteria()[0].GetEnv() != in.GetEnvironment() {
					continue
				}
				if d.GetInputs().GetFields()["fails"] != nil {
					return nil, rpc.ToStatus(errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "%s cannot be made", uid), "").Err()
				}
				answer = d.GetName()
				if d.GetInputs().GetFields()["awaits"] != nil {
					awaits = true
				}
			}
			answers[uid], files[typ+"-"+res+".yaml"] = answer, []byte(answer)
		}
	}
	if awaits && !r.GetClaimsOnly() {
		return nil, rpc.ToStatus(errs.New(errs.Precondition, errorsv1.Reason_REASON_OUTPUTS_MISSING, "outputs are missing"), "").Err()
	}
	if r.GetClaimsOnly() {
		maps.DeleteFunc(files, func(_ string, content []byte) bool {
			return !strings.HasPrefix(string(content), "resourceDefinitions/")
		})
	}
	used := slices.Sorted(maps.Values(answers))
	return &rendererv1.RenderResponse{Bundle: &rendererv1.Bundle{Files: files, Tree: treeID(files)}, RendererVersion: "v1",
		DefinitionsUsed: slices.Compact(used), Answers: answers}, nil
}

type definedWorld struct {
	*world
	renderer *definingRenderer
	defs     catalogv1.DefinitionServiceClient
}

func newDefinedWorld(t *testing.T) *definedWorld {
	t.Helper()
	w := &definedWorld{renderer: &definingRenderer{fakeRenderer: &fakeRenderer{}}}
	w.world = newWorld(t, func(c *catalog.Config) { c.Renderer = w.renderer })
	w.defs = catalogv1.NewDefinitionServiceClient(w.conn)
	return w
}

func (w *definedWorld) define(id string) {
	w.t.Helper()
	_, err := w.defs.CreateResourceDefinition(w.t.Context(), &catalogv1.CreateResourceDefinitionRequest{ResourceDefinitionId: id})
	must(w.t, err)
}

func content(typ string, inputs map[string]any, criteria ...*rendererv1.Criteria) *rendererv1.ResourceDefinition {
	in, err := structpb.NewStruct(inputs)
	if err != nil {
		panic(err)
	}
	return &rendererv1.ResourceDefinition{Type: typ, Driver: rendererv1.ResourceDefinition_DRIVER_STATIC, Inputs: in, Criteria: criteria}
}

func (w *definedWorld) propose(id string, c *rendererv1.ResourceDefinition) *catalogv1.DefinitionVersion {
	w.t.Helper()
	v, err := w.defs.CreateDefinitionVersion(w.t.Context(), &catalogv1.CreateDefinitionVersionRequest{
		Parent: "resourceDefinitions/" + id, DefinitionVersion: &catalogv1.DefinitionVersion{Content: c},
	})
	must(w.t, err)
	return v
}

func (w *definedWorld) activate(name string) *catalogv1.DefinitionVersion {
	w.t.Helper()
	v, err := w.defs.ActivateDefinition(w.t.Context(), &catalogv1.ActivateDefinitionRequest{Name: name})
	must(w.t, err)
	return v
}

// active proposes and activates.
func (w *definedWorld) active(id string, c *rendererv1.ResourceDefinition) string {
	w.t.Helper()
	return w.activate(w.propose(id, c).GetName()).GetName()
}

// asks deploys a workload that asks for a resource of a type.
func (w *definedWorld) asks(env, typ string) *catalogv1.Deployment {
	w.t.Helper()
	s := workload("x")
	s.Fields["resources"] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"res": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"type": structpb.NewStringValue(typ)}}),
	}})
	return w.deploy(env, &catalogv1.Change{SetOperations: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api", Value: structpb.NewStructValue(s),
	}}})
}

func (w *definedWorld) plan(name string, archive bool) (out []*catalogv1.PlanDefinitionResponse, sum *catalogv1.DefinitionPlanSum) {
	w.t.Helper()
	stream, err := w.defs.PlanDefinition(w.t.Context(), &catalogv1.PlanDefinitionRequest{Name: name, Archive: archive})
	must(w.t, err)
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			w.t.Fatal("the stream ended without a sum")
		}
		must(w.t, err)
		if r.GetSum() != nil {
			return out, r.GetSum()
		}
		out = append(out, r)
	}
}

func TestVersionsAreNumberedAndNeverChange(t *testing.T) {
	w := newDefinedWorld(t)
	ctx := t.Context()
	w.define("pg")
	_, err := w.defs.GetDefinitionVersion(ctx, &catalogv1.GetDefinitionVersionRequest{Name: "resourceDefinitions/pg/versions/latest"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	req := &catalogv1.CreateDefinitionVersionRequest{Parent: "resourceDefinitions/pg", RequestId: "r",
		DefinitionVersion: &catalogv1.DefinitionVersion{Content: content("postgres", map[string]any{"a": "1"}), Message: "the first"}}
	first, err := w.defs.CreateDefinitionVersion(ctx, req)
	must(t, err)
	again, err := w.defs.CreateDefinitionVersion(ctx, req)
	must(t, err)
	if again.GetName() != first.GetName() || first.GetName() != "resourceDefinitions/pg/versions/1" || first.GetContent().GetName() != first.GetName() ||
		first.GetState() != catalogv1.DefinitionVersion_STATE_PROPOSED || len(first.GetSha256()) != 64 || first.GetMessage() != "the first" {
		t.Errorf("first = %v, again = %v", first, again)
	}
	same := w.propose("pg", content("postgres", map[string]any{"a": "1"}))
	other := w.propose("pg", content("postgres", map[string]any{"a": "2"}))
	if same.GetSha256() != first.GetSha256() || other.GetSha256() == first.GetSha256() {
		t.Error("the hash is not of the content")
	}
	list, err := w.defs.ListDefinitionVersions(ctx, &catalogv1.ListDefinitionVersionsRequest{Parent: "resourceDefinitions/pg", PageSize: 2})
	must(t, err)
	if len(list.GetDefinitionVersions()) != 2 || list.GetDefinitionVersions()[0].GetName() != other.GetName() || list.GetNextPageToken() == "" {
		t.Errorf("list = %v", list)
	}
	latest, err := w.defs.GetDefinitionVersion(ctx, &catalogv1.GetDefinitionVersionRequest{Name: "resourceDefinitions/pg/versions/latest"})
	must(t, err)
	if latest.GetName() != other.GetName() || latest.GetEtag() == "" {
		t.Errorf("latest = %v", latest)
	}
	for name, tc := range map[string]struct {
		parent  string
		content *rendererv1.ResourceDefinition
		code    codes.Code
		reason  errorsv1.Reason
		field   string
	}{
		"no content":              {"resourceDefinitions/pg", nil, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "definition_version.content"},
		"what does not compile":   {"resourceDefinitions/pg", content("postgres", map[string]any{"broken": 1}), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "definition_version.content.inputs.broken"},
		"an unknown definition":   {"resourceDefinitions/nope", content("postgres", nil), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND, ""},
		"a name that cannot be":   {"resourceDefinitions/Nope", content("postgres", nil), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD, "parent"},
		"a request id used twice": {"resourceDefinitions/pg", content("redis", nil), codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &catalogv1.CreateDefinitionVersionRequest{Parent: tc.parent, DefinitionVersion: &catalogv1.DefinitionVersion{Content: tc.content}}
			if tc.reason == errorsv1.Reason_REASON_REQUEST_ID_REUSED {
				r.RequestId = "r"
			}
			_, err := w.defs.CreateDefinitionVersion(ctx, r)
			e := wantError(t, err, tc.code, tc.reason)
			if tc.field != "" && e.Fields[0].Path != tc.field {
				t.Errorf("fields = %v", e.Fields)
			}
		})
	}
}

func TestOneVersionIsActive(t *testing.T) {
	w := newDefinedWorld(t)
	ctx := t.Context()
	w.define("pg")
	one, two := w.propose("pg", content("postgres", nil)), w.propose("pg", content("postgresql", nil))
	states := func() string {
		list, err := w.defs.ListDefinitionVersions(ctx, &catalogv1.ListDefinitionVersionsRequest{Parent: "resourceDefinitions/pg"})
		must(t, err)
		var out []string
		for _, v := range slices.Backward(list.GetDefinitionVersions()) {
			out = append(out, strings.TrimPrefix(v.GetState().String(), "STATE_"))
		}
		d, err := w.defs.GetResourceDefinition(ctx, &catalogv1.GetResourceDefinitionRequest{Name: "resourceDefinitions/pg"})
		must(t, err)
		return fmt.Sprintf("%s active=%d latest=%d %s", strings.Join(out, " "), d.GetActiveVersion(), d.GetLatestVersion(), d.GetType())
	}
	check := func(want string) {
		t.Helper()
		if got := states(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("PROPOSED PROPOSED active=0 latest=2 postgres" + "ql")
	if v := w.activate(one.GetName()); v.GetActivateActor() != "tokens/bootstrap-admin" || v.GetActivateTime() == nil {
		t.Errorf("activated: %v", v)
	}
	check("ACTIVE PROPOSED active=1 latest=2 postgres")
	w.activate(two.GetName())
	check("ARCHIVED ACTIVE active=2 latest=2 postgresql")
	w.activate(two.GetName())
	w.activate(one.GetName()) // going back is activating the old one again
	check("ACTIVE ARCHIVED active=1 latest=2 postgres")
	for range 2 {
		_, err := w.defs.ArchiveDefinition(ctx, &catalogv1.ArchiveDefinitionRequest{Name: one.GetName()})
		must(t, err)
	}
	check("ARCHIVED ARCHIVED active=0 latest=2 postgresql")
	_, err := w.defs.ActivateDefinition(ctx, &catalogv1.ActivateDefinitionRequest{Name: "resourceDefinitions/pg/versions/9"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestTwoActiveDefinitionsNeverHaveTheSameCriteria(t *testing.T) {
	w := newDefinedWorld(t)
	ctx := t.Context()
	dev := &rendererv1.Criteria{Env: "dev"}
	w.define("one")
	w.define("two")
	one, two := w.propose("one", content("postgres", nil, dev)), w.propose("two", content("postgres", nil, &rendererv1.Criteria{App: "shop"}, dev))
	w.activate(one.GetName())
	_, err := w.defs.ActivateDefinition(ctx, &catalogv1.ActivateDefinitionRequest{Name: two.GetName()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION); e.Meta["other"] != one.GetName() {
		t.Errorf("meta = %v", e.Meta)
	}
	_, err = w.defs.CreateDefinitionVersion(ctx, &catalogv1.CreateDefinitionVersionRequest{Parent: "resourceDefinitions/two",
		DefinitionVersion: &catalogv1.DefinitionVersion{Content: content("postgres", nil, dev)}})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION)
	w.active("two", content("postgres", nil))
	large := content("postgres", nil, dev)
	large.Class = "large"
	w.active("two", large)
	w.active("one", content("postgres", nil, dev)) // its own next version may have them
}

// Of many callers who activate definitions with equal criteria at once, one wins.
func TestActivationsAtOnceAreNotBothActive(t *testing.T) {
	w := newDefinedWorld(t)
	var names []string
	for i := range 6 {
		id := fmt.Sprintf("def%d", i)
		w.define(id)
		names = append(names, w.propose(id, content("postgres", nil)).GetName())
	}
	var wait sync.WaitGroup
	won := make(chan string, len(names))
	for _, name := range names {
		wait.Go(func() {
			if _, err := w.defs.ActivateDefinition(t.Context(), &catalogv1.ActivateDefinitionRequest{Name: name}); err == nil {
				won <- name
			}
		})
	}
	wait.Wait()
	if len(won) != 1 {
		t.Errorf("%d activations of the same criteria", len(won))
	}
}

func TestADefinitionInUseCannotBeDeleted(t *testing.T) {
	w := newDefinedWorld(t)
	ctx := t.Context()
	w.app("shop")
	w.env("shop", "dev")
	w.define("pg")
	v1 := w.active("pg", content("postgres", nil))
	remove := func() error {
		_, err := w.defs.DeleteResourceDefinition(ctx, &catalogv1.DeleteResourceDefinitionRequest{Name: "resourceDefinitions/pg"})
		return err
	}
	wantError(t, remove(), codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE)
	w.asks(devEnv, "postgres")
	must(t, w.pin("pg", v1))
	_, err := w.defs.ArchiveDefinition(ctx, &catalogv1.ArchiveDefinitionRequest{Name: v1})
	must(t, err)
	if e := wantError(t, remove(), codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE); e.Meta["used_by"] != devEnv {
		t.Errorf("used by %v", e.Meta)
	}
	must(t, w.pin("pg", ""))
	must(t, remove())
	// Its versions stay for the history, and a new one of that name does not take their numbers.
	_, err = w.defs.GetDefinitionVersion(ctx, &catalogv1.GetDefinitionVersionRequest{Name: v1})
	must(t, err)
	w.define("pg")
	if v := w.propose("pg", content("postgres", nil)); v.GetName() != "resourceDefinitions/pg/versions/2" {
		t.Errorf("the next version is %s", v.GetName())
	}
}

func (w *definedWorld) pin(id, version string) error {
	pins := map[string]string{}
	if version != "" {
		pins["resourceDefinitions/"+id] = version
	}
	_, err := w.api.UpdateEnvironment(w.t.Context(), &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: devEnv, DefinitionPins: pins}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"definition_pins"}},
	})
	return err
}

func TestADeploymentPinsTheDefinitionsThatItUsed(t *testing.T) {
	w := newDefinedWorld(t)
	commands := make(chan *eventsv1.DeploymentRequested, 10)
	w.commands(func(cmd *eventsv1.DeploymentRequested) { commands <- cmd })
	w.app("shop")
	w.env("shop", "dev")
	w.define("pg")
	w.define("cache")
	w.define("other")
	v1 := w.active("pg", content("postgres", nil))
	w.active("cache", content("redis", nil))
	w.active("other", content("postgres", nil, &rendererv1.Criteria{Env: "prod"}))
	d := w.asks(devEnv, "postgres")
	if diff := cmp.Diff([]string{v1}, d.GetIntent().GetDefinitions()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{v1}, w.getEnv(devEnv).GetIntent().GetDefinitions()); diff != "" {
		t.Error(diff)
	}
	cmd := <-commands
	if got := cmd.GetInput().GetDefinitions(); len(got) != 1 || got[0].GetName() != v1 {
		t.Errorf("the command carries %v", got)
	}
	// A new version is for the next deployment; a plan says so and is held to it.
	change := &catalogv1.Change{Variables: map[string]string{"A": "1"}}
	plan, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: change})
	must(t, err)
	v2 := w.active("pg", content("postgres", map[string]any{"new": true}))
	if got := w.getEnv(devEnv).GetIntent().GetDefinitions(); !slices.Equal(got, []string{v1}) {
		t.Errorf("activating changed the running environment: %v", got)
	}
	_, err = w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: change, PlanHash: plan.GetPlanHash()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); !strings.Contains(e.Meta["moved"], "definitions") {
		t.Errorf("moved = %v", e.Meta)
	}
	// What does not answer here does not move a plan.
	plan, err = w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: change})
	must(t, err)
	if diff := cmp.Diff([]string{v2}, plan.GetIntent().GetDefinitions()); diff != "" {
		t.Error(diff)
	}
	w.active("other", content("postgres", map[string]any{"x": 1}, &rendererv1.Criteria{Env: "prod"}))
	held, err := w.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: change, PlanHash: plan.GetPlanHash()})
	must(t, err)
	if diff := cmp.Diff([]string{v2}, held.GetIntent().GetDefinitions()); diff != "" {
		t.Error(diff)
	}
	must(t, w.pin("pg", v1))
	if d := w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"A": "2"}}); !slices.Equal(d.GetIntent().GetDefinitions(), []string{v1}) {
		t.Errorf("pinned to %s, used %v", v1, d.GetIntent().GetDefinitions())
	}
}

func TestPinsAreChecked(t *testing.T) {
	w := newDefinedWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.define("pg")
	w.define("other")
	proposed := w.propose("pg", content("postgres", nil)).GetName()
	used := w.active("pg", content("postgres", nil))
	w.active("pg", content("postgresql", nil))
	other := w.active("other", content("postgres", nil, &rendererv1.Criteria{Env: "x1"}))
	for name, tc := range map[string]struct {
		id, version string
		code        codes.Code
		reason      errorsv1.Reason
	}{
		"an unknown definition":          {"nope", "resourceDefinitions/nope/versions/1", codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a version of another one":       {"pg", other, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a version that does not exist":  {"pg", "resourceDefinitions/pg/versions/9", codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a word instead of a number":     {"pg", "resourceDefinitions/pg/versions/latest", codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"no name at all":                 {"pg", "1", codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a version that was never used":  {"pg", proposed, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE},
		"an archived version is allowed": {"pg", used, codes.OK, 0},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.pin(tc.id, tc.version)
			if tc.code == codes.OK {
				must(t, err)
				return
			}
			wantError(t, err, tc.code, tc.reason)
		})
	}
	created, err := w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{Parent: "applications/shop", EnvironmentId: "pinned",
		Environment: &catalogv1.Environment{Type: "environmentTypes/development", DefinitionPins: map[string]string{"resourceDefinitions/pg": used}}})
	must(t, err)
	if created.GetDefinitionPins()["resourceDefinitions/pg"] != used {
		t.Errorf("created with pins %v", created.GetDefinitionPins())
	}
	_, err = w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{Parent: "applications/shop", EnvironmentId: "other",
		Environment: &catalogv1.Environment{Type: "environmentTypes/development", DefinitionPins: map[string]string{"resourceDefinitions/pg": "x"}}})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	w.active("other", content("postgres", nil)) // equal to the archived version that dev is pinned to, or not yet
	must(t, w.pin("pg", ""))
	wantError(t, w.pin("pg", used), codes.FailedPrecondition, errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION)
}

func TestBlastRadius(t *testing.T) {
	w := newDefinedWorld(t)
	ctx := t.Context()
	w.app("shop")
	w.define("pg")
	v1 := w.active("pg", content("postgres", nil))
	for i := range 40 { // more than are looked at together
		id := fmt.Sprintf("env%02d", i)
		w.env("shop", id)
		env := "applications/shop/environments/" + id
		switch {
		case i == 39: // nothing was ever deployed
		case i%4 == 0:
			w.asks(env, "redis")
		default:
			w.asks(env, "postgres")
		}
	}
	pinned := "applications/shop/environments/env01"
	_, err := w.api.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{
		Environment: &catalogv1.Environment{Name: pinned, DefinitionPins: map[string]string{"resourceDefinitions/pg": v1}},
		UpdateMask:  &fieldmaskpb.FieldMask{Paths: []string{"definition_pins"}}})
	must(t, err)
	w.renderer.rendered = nil
	v2 := w.propose("pg", content("postgres", map[string]any{"x": 1})).GetName()
	changes, sum := w.plan(v2, false)
	if sum.GetEnvironments() != 28 || sum.GetChanged() != 28 || sum.GetBroken() != 0 || len(changes) != 28 || len(sum.GetPlanHash()) != 64 {
		t.Errorf("sum = %v, %d changes", sum, len(changes))
	}
	if n := len(w.renderer.rendered); n != 2*28 {
		t.Errorf("%d renderings for 28 environments", n)
	}
	want := &catalogv1.PlanDefinitionResponse{Environment: "applications/shop/environments/env02", Resources: []string{"postgres.default#api.res"}, Files: []string{"postgres-res.yaml"}}
	if got := changes[0]; got.String() != want.String() {
		t.Errorf("first = %v", got)
	}
	if _, again := w.plan(v2, false); again.GetPlanHash() != sum.GetPlanHash() {
		t.Error("the same blast radius has two hashes")
	}
	// Archiving the active version leaves what is part of Towpath; archiving another one changes nothing.
	if _, s := w.plan(v1, true); s.GetChanged() != 28 {
		t.Errorf("archive: %v", s)
	}
	if _, s := w.plan(v2, true); s.GetChanged() != 0 {
		t.Errorf("archive of what is not used: %v", s)
	}
	fails := w.propose("pg", content("postgres", map[string]any{"fails": true})).GetName()
	broken, s := w.plan(fails, false)
	if s.GetBroken() != 28 || !strings.Contains(broken[0].GetError(), "cannot be made") {
		t.Errorf("broken: %v %v", s, broken[0])
	}
	// A claim is new: what it will give is not known, so the claim itself is what changes.
	awaits := w.propose("pg", content("postgres", map[string]any{"awaits": true})).GetName()
	claims, s := w.plan(awaits, false)
	if s.GetChanged() != 28 || s.GetBroken() != 0 || !slices.Equal(claims[0].GetFiles(), want.GetFiles()) || !slices.Equal(claims[0].GetResources(), want.GetResources()) {
		t.Errorf("claims: %v %v", s, claims[0])
	}
	// The plan moves when another environment comes within reach.
	w.asks("applications/shop/environments/env39", "postgres")
	_, err = w.defs.ActivateDefinition(ctx, &catalogv1.ActivateDefinitionRequest{Name: v2, PlanHash: sum.GetPlanHash()})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED)
	_, sum = w.plan(v2, false)
	_, err = w.defs.ActivateDefinition(ctx, &catalogv1.ActivateDefinitionRequest{Name: v2, PlanHash: sum.GetPlanHash()})
	must(t, err)
}

func TestABlastRadiusEndsWithItsCaller(t *testing.T) {
	w := newDefinedWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.define("pg")
	w.asks(devEnv, "postgres")
	v := w.propose("pg", content("postgres", nil)).GetName()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stream, err := w.defs.PlanDefinition(ctx, &catalogv1.PlanDefinitionRequest{Name: v})
	if err == nil {
		_, err = stream.Recv()
	}
	wantError(t, err, codes.Canceled, errorsv1.Reason_REASON_CANCELLED)
}

func TestExplainMatchChoosesAmongWhatTheEnvironmentMayUse(t *testing.T) {
	w := newDefinedWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.define("pg")
	v1 := w.active("pg", content("postgres", nil))
	v2 := w.active("pg", content("postgres", nil))
	explain := func() string {
		r, err := w.defs.ExplainMatch(t.Context(), &catalogv1.ExplainMatchRequest{Environment: devEnv, Type: "postgres"})
		must(t, err)
		return r.GetCandidates()[0].GetDefinition() + " " + r.GetCandidates()[0].GetReason()
	}
	if got := explain(); got != v2+" development" {
		t.Errorf("got %s", got)
	}
	must(t, w.pin("pg", v1))
	if got := explain(); got != v1+" development" {
		t.Errorf("got %s", got)
	}
	_, err := w.defs.ExplainMatch(t.Context(), &catalogv1.ExplainMatchRequest{Environment: devEnv, Type: "nope"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_NO_RESOURCE_DEFINITION)
	_, err = w.defs.ExplainMatch(t.Context(), &catalogv1.ExplainMatchRequest{Environment: "applications/shop/environments/nope", Type: "x1"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestGuardrailsMustCompile(t *testing.T) {
	w := newDefinedWorld(t)
	update := func(expression string) error {
		_, err := w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
			EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/development", Guardrails: []*rendererv1.Guardrail{
				{Name: "rule", Expression: expression, Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY}}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"guardrails"}}})
		return err
	}
	must(t, update("true"))
	e := wantError(t, update("broken"), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	if e.Fields[0].Path != "environment_type.guardrails[0].expression:1:1" {
		t.Errorf("fields = %v", e.Fields)
	}
}
