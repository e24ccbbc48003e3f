package catalog_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	appLevel = "applications/shop/variables/LOG_LEVEL"
	devLevel = devEnv + "/variables/LOG_LEVEL"
)

func (w *world) variables() catalogv1.VariableServiceClient {
	return catalogv1.NewVariableServiceClient(w.conn)
}

func (w *world) setVariable(name, value string) *catalogv1.SetVariableResponse {
	w.t.Helper()
	r, err := w.variables().SetVariable(w.t.Context(), &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: name, Value: value}})
	must(w.t, err)
	return r
}

// reading gives a change that brings a workload which reads a variable.
func reading(name, key string) *catalogv1.Change {
	return &catalogv1.Change{SetOperations: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/" + name, Value: structpb.NewStructValue(must2(structpb.NewStruct(map[string]any{
			"containers": map[string]any{"main": map[string]any{"image": "x:1", "variables": map[string]any{"LEVEL": "${resources.env." + key + "}"}}},
			"resources":  map[string]any{"env": map[string]any{"type": "environment"}},
		}))),
	}}}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func versionsOf(w *world, name string) []string {
	w.t.Helper()
	r, err := w.variables().ListVariableVersions(w.t.Context(), &catalogv1.ListVariableVersionsRequest{Parent: name})
	must(w.t, err)
	var out []string
	for _, v := range r.GetVariables() {
		line := fmt.Sprintf("%d %s", v.GetVersion(), v.GetValue())
		if v.GetSecret() != nil {
			line += v.GetSecret().GetName() + "/" + v.GetSecret().GetKey()
		}
		if v.GetDeleted() {
			line += "deleted"
		}
		if d := v.GetDeployment(); d != "" {
			line += " #" + d[strings.LastIndexByte(d, '/')+1:]
		}
		out = append(out, line)
	}
	return out
}

func TestEveryDeploymentThatChangesVariablesWritesVersions(t *testing.T) {
	w, _ := shop(t)
	ctx := t.Context()
	w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "info", "OTHER": "x"}})
	r := w.setVariable(devLevel, "debug")
	if len(r.GetDeployments()) != 1 || r.GetVariable().GetVersion() != 2 || r.GetVariable().GetDeployment() != r.GetDeployments()[0].GetName() {
		t.Errorf("answer = %v", r)
	}
	if diff := cmp.Diff([]string{"LOG_LEVEL info -> debug"}, r.GetDeployments()[0].GetSummary()); diff != "" {
		t.Error(diff)
	}
	w.deploy(devEnv, &catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"LOG_LEVEL": {Name: "s", Key: "k"}}})
	_, err := w.variables().DeleteVariable(ctx, &catalogv1.DeleteVariableRequest{Name: devLevel})
	must(t, err)
	restored, err := w.variables().RestoreVariable(ctx, &catalogv1.RestoreVariableRequest{Name: devLevel, Version: 3})
	must(t, err)
	if diff := cmp.Diff([]string{"5 s/k #5", "4 deleted #4", "3 s/k #3", "2 debug #2", "1 info #1"}, versionsOf(w, devLevel)); diff != "" {
		t.Error(diff)
	}
	if got := w.getEnv(devEnv).GetIntent().GetVariableVersions(); got[devLevel] != 5 || got[devEnv+"/variables/OTHER"] != 1 {
		t.Errorf("pinned versions = %v", got)
	}
	now, err := w.variables().GetVariable(ctx, &catalogv1.GetVariableRequest{Name: devLevel})
	must(t, err)
	if now.GetEtag() == "" || !proto.Equal(now, restored.GetVariable()) {
		t.Errorf("GetVariable = %v, RestoreVariable gave %v", now, restored.GetVariable())
	}
}

func TestAnApplicationsVariableReachesAnEnvironmentWithItsNextDeployment(t *testing.T) {
	w, _ := shop(t)
	w.setVariable(appLevel, "info")
	w.setVariable("applications/shop/variables/CURRENCY", "EUR")
	w.deploy(devEnv, reading("api", "LOG_LEVEL"))
	w.setVariable(appLevel, "warn")
	if got := w.getEnv(devEnv).GetIntent().GetApplicationVariables()["LOG_LEVEL"]; got != "info" {
		t.Errorf("the environment has %q before its next deployment", got)
	}
	d := w.deploy(devEnv, &catalogv1.Change{})
	if diff := cmp.Diff([]string{"LOG_LEVEL info -> warn (application)"}, d.GetSummary()); diff != "" {
		t.Error(diff)
	}
	if d.GetIntent().GetApplicationVariables()["LOG_LEVEL"] != "warn" || d.GetIntent().GetVariableVersions()[appLevel] != 2 {
		t.Errorf("pinned: %v", d.GetIntent())
	}
	w.setVariable(devLevel, "debug")
	list, err := w.variables().ListVariables(t.Context(), &catalogv1.ListVariablesRequest{Parent: devEnv, PageSize: 1})
	must(t, err)
	second, err := w.variables().ListVariables(t.Context(), &catalogv1.ListVariablesRequest{Parent: devEnv, PageSize: 1, PageToken: list.GetNextPageToken()})
	must(t, err)
	a, b := list.GetVariables()[0], second.GetVariables()[0]
	if a.GetValue() != "EUR" || a.GetOverrides() || b.GetValue() != "debug" || !b.GetOverrides() || second.GetNextPageToken() != "" {
		t.Errorf("pages = %v, %v", list, second)
	}
}

// What an environment was when a deployment was made comes back with it, although the application's variables moved on.
func TestARollbackBringsBackTheApplicationsVariablesOfThen(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.plays()
	w.setVariable(appLevel, "info")
	first := w.inState(w.deploy(devEnv, reading("api", "LOG_LEVEL")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.setVariable(appLevel, "debug")
	w.inState(w.deploy(devEnv, &catalogv1.Change{}).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.variables().SetVariable(t.Context(), &catalogv1.SetVariableRequest{
		Variable: &catalogv1.Variable{Name: appLevel, Secret: &rendererv1.SecretReference{Name: "s", Key: "k"}},
	})
	must(t, err)
	back, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: first.GetName()})
	must(t, err)
	done := w.inState(back.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if done.GetTree() != first.GetTree() || done.GetIntent().GetApplicationVariables()["LOG_LEVEL"] != "info" {
		t.Errorf("tree %s, want %s; intent %v", done.GetTree(), first.GetTree(), done.GetIntent())
	}
	if diff := cmp.Diff([]string{"LOG_LEVEL debug -> info (application)"}, back.GetSummary()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"3 s/k", "2 debug", "1 info"}, versionsOf(w, appLevel)); diff != "" {
		t.Error(diff)
	}
}

func TestARollbackOfVariablesIsAVersionToo(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	w.plays()
	first := w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "info"}})
	w.inState(first.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	second := w.deploy(devEnv, &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "debug", "NEW": "1"}, Scores: score("api", "a:1").GetScores()})
	w.inState(second.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: first.GetName()})
	must(t, err)
	if diff := cmp.Diff([]string{"3 info #3", "2 debug #2", "1 info #1"}, versionsOf(w, devLevel)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"2 deleted #3", "1 1 #2"}, versionsOf(w, devEnv+"/variables/NEW")); diff != "" {
		t.Error(diff)
	}
	d, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if diff := cmp.Diff([]string{"4 deleted #4", "3 info #3", "2 debug #2", "1 info #1"}, versionsOf(w, devLevel)); diff != "" {
		t.Errorf("after the environment's end: %s", diff)
	}
}

func TestRollingOutDeploysWhereTheVariableIsRead(t *testing.T) {
	w, _ := shop(t)
	ctx := t.Context()
	for _, id := range []string{"one", "two", "own", "mute"} {
		w.env("shop", id)
	}
	w.setVariable(appLevel, "info")
	for _, id := range []string{"one", "two", "own"} {
		w.deploy("applications/shop/environments/"+id, reading("api", "LOG_LEVEL"))
	}
	w.setVariable("applications/shop/environments/own/variables/LOG_LEVEL", "mine")
	set := &catalogv1.SetVariableRequest{
		Variable: &catalogv1.Variable{Name: appLevel, Value: "debug"}, Rollout: catalogv1.Rollout_ROLLOUT_ALL, RequestId: "r1", Message: "louder",
	}
	// A second environment that refuses shows that the call goes on where it was interrupted.
	var mu sync.Mutex
	renders := 0
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		if renders++; r.GetInput().GetEnvironment() == "two" && renders > 3 {
			return nil, errs.InvalidField("workloads.api", "is broken just now")
		}
		return bundleOf(r.GetInput()), nil
	})
	_, err := w.variables().SetVariable(ctx, set)
	e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	if e.Meta["environments"] != "applications/shop/environments/two" {
		t.Errorf("metadata = %v", e.Meta)
	}
	w.renderer.set(nil)
	r, err := w.variables().SetVariable(ctx, set)
	must(t, err)
	again, err := w.variables().SetVariable(ctx, set)
	must(t, err)
	var got []string
	for i, d := range r.GetDeployments() {
		got = append(got, d.GetName()+" "+d.GetMessage()+" "+d.GetIntent().GetApplicationVariables()["LOG_LEVEL"])
		if again.GetDeployments()[i].GetName() != d.GetName() {
			t.Errorf("a repeated call made %s", again.GetDeployments()[i].GetName())
		}
	}
	want := []string{"applications/shop/environments/one/deployments/2 louder debug", "applications/shop/environments/two/deployments/2 louder debug"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v := again.GetVariable(); v.GetVersion() != 2 || v.GetEtag() != r.GetVariable().GetEtag() {
		t.Errorf("variable = %v", v)
	}
	uses, err := w.variables().FindVariableUses(ctx, &catalogv1.FindVariableUsesRequest{Name: appLevel})
	must(t, err)
	if len(uses.GetUses()) != 2 || uses.GetUses()[0].GetWorkload() != "api" || uses.GetUses()[0].GetVersion() != 2 {
		t.Errorf("uses = %v", uses)
	}
}

func TestAVariableThatBreaksAnEnvironmentIsNotRolledOut(t *testing.T) {
	w, _ := shop(t)
	w.setVariable(appLevel, "info")
	w.deploy(devEnv, reading("api", "LOG_LEVEL"))
	w.renderer.set(func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		if r.GetInput().GetVariables()["LOG_LEVEL"] == "bad" {
			return nil, errs.InvalidField("workloads.api", "cannot be")
		}
		return bundleOf(r.GetInput()), nil
	})
	_, err := w.variables().SetVariable(t.Context(), &catalogv1.SetVariableRequest{
		Variable: &catalogv1.Variable{Name: appLevel, Value: "bad"}, Rollout: catalogv1.Rollout_ROLLOUT_ALL,
	})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	if diff := cmp.Diff([]string{"1 info"}, versionsOf(w, appLevel)); diff != "" {
		t.Error(diff)
	}
}

func TestSettingAVariableTwiceWithOneRequestIDHasOneEffect(t *testing.T) {
	w, _ := shop(t)
	for _, name := range []string{appLevel, devLevel} {
		r := &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: name, Value: "a", Description: "how loud"}, RequestId: "r"}
		first, err := w.variables().SetVariable(t.Context(), r)
		must(t, err)
		w.setVariable(name, "b")
		again, err := w.variables().SetVariable(t.Context(), r)
		must(t, err)
		if again.GetVariable().GetValue() != "a" || again.GetVariable().GetVersion() != 1 || first.GetVariable().GetEtag() != again.GetVariable().GetEtag() {
			t.Errorf("%s: the second answer is %v", name, again)
		}
		now, err := w.variables().GetVariable(t.Context(), &catalogv1.GetVariableRequest{Name: name})
		must(t, err)
		if now.GetValue() != "b" || now.GetDescription() != "how loud" {
			t.Errorf("now %v", now)
		}
		r.Variable.Value = "c"
		_, err = w.variables().SetVariable(t.Context(), r)
		wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED)
	}
}

func TestVariableCallsThatAreRefused(t *testing.T) {
	w, _ := shop(t)
	ctx, v := t.Context(), w.variables()
	w.setVariable(appLevel, "info")
	w.deploy(devEnv, reading("api", "LOG_LEVEL"))
	set := func(m *catalogv1.Variable, rollout catalogv1.Rollout) error {
		return second(v.SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: m, Rollout: rollout}))
	}
	next := catalogv1.Rollout_ROLLOUT_UNSPECIFIED
	for name, tc := range map[string]struct {
		err    error
		code   codes.Code
		reason errorsv1.Reason
	}{
		"a secret as value":             {set(&catalogv1.Variable{Name: "applications/shop/variables/DB_PASSWORD", Value: "hunter2"}, next), codes.FailedPrecondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET},
		"a secret as environment value": {set(&catalogv1.Variable{Name: devEnv + "/variables/DB_PASSWORD", Value: "hunter2"}, next), codes.FailedPrecondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET},
		"value and secret":              {set(&catalogv1.Variable{Name: appLevel, Value: "x", Secret: &rendererv1.SecretReference{Name: "a", Key: "b"}}, next), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a key with a dot":              {set(&catalogv1.Variable{Name: "applications/shop/variables/a.b", Value: "x"}, next), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"no such application":           {set(&catalogv1.Variable{Name: "applications/none/variables/A", Value: "x"}, next), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"no such environment":           {set(&catalogv1.Variable{Name: "applications/shop/environments/none/variables/A", Value: "x"}, next), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"another's etag":                {set(&catalogv1.Variable{Name: appLevel, Value: "x", Etag: "1"}, next), codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH},
		"another's etag, environment":   {set(&catalogv1.Variable{Name: devLevel, Value: "x", Etag: "1"}, next), codes.Aborted, errorsv1.Reason_REASON_ETAG_MISMATCH},
		"rollout of an environment's":   {set(&catalogv1.Variable{Name: devLevel, Value: "x"}, catalogv1.Rollout_ROLLOUT_ALL), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a name that is none":           {set(&catalogv1.Variable{Name: "variables/A", Value: "x"}, next), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"get of what never was":         {second(v.GetVariable(ctx, &catalogv1.GetVariableRequest{Name: devLevel})), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"delete of what never was":      {second(v.DeleteVariable(ctx, &catalogv1.DeleteVariableRequest{Name: devLevel})), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"delete of what is read":        {second(v.DeleteVariable(ctx, &catalogv1.DeleteVariableRequest{Name: appLevel})), codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE},
		"versions of what never was":    {second(v.ListVariableVersions(ctx, &catalogv1.ListVariableVersionsRequest{Parent: devLevel})), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"uses of what never was":        {second(v.FindVariableUses(ctx, &catalogv1.FindVariableUsesRequest{Name: devLevel})), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"a version that never was":      {second(v.RestoreVariable(ctx, &catalogv1.RestoreVariableRequest{Name: appLevel, Version: 9})), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"a list of nobody":              {second(v.ListVariables(ctx, &catalogv1.ListVariablesRequest{Parent: "applications/none"})), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND},
		"a foreign page token":          {second(v.ListVariables(ctx, &catalogv1.ListVariablesRequest{Parent: devEnv, PageToken: "abc"})), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, tc.err, tc.code, tc.reason) })
	}
}

func TestCommandsCarrySecretVariablesAsReferences(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	got := make(chan *eventsv1.DeploymentRequested, 1)
	w.commands(func(cmd *eventsv1.DeploymentRequested) { got <- cmd })
	w.setVariable("applications/shop/variables/KEY", "plain")
	w.deploy(devEnv, &catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"KEY": {Name: "s", Key: "k"}}})
	in := (<-got).GetInput()
	if in.GetSecretVariables()["KEY"].GetName() != "s" || len(in.GetVariables()) != 0 {
		t.Errorf("input = %v", in)
	}
}
