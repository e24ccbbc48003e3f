package drift_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/events"
)

// treat publishes a policy of the environment, as the catalog does.
func (e *env) treat(p *eventsv1.EnvironmentPolicy) {
	e.t.Helper()
	p.Environment = e.name
	subject, err := events.PolicySubject(strings.Split(e.name, "/")[1], "dev")
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.catalog.Publish(e.t.Context(), events.Message{
		Subject: subject, ID: fmt.Sprint(e.name, "/policy@", p.GetRevision()), Type: "dev.towpath.environment.policy", Source: "//towpath.dev/catalog", Body: p,
	}); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) standing(of driftv1.Finding_Standing) []*driftv1.Finding {
	e.t.Helper()
	resp, err := e.svc.ListFindings(e.t.Context(), &driftv1.ListFindingsRequest{Parent: e.name, Standings: []driftv1.Finding_Standing{of}})
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.GetFindings()
}

func TestAPolicyTakesEffectWithoutADeployment(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	devclustertest.Kubectl(t, "-n", e.ns, "label", "service", "web", "team=blue")
	devclustertest.Kubectl(t, "-n", e.ns, "annotate", "configmap", "web-config", "note=x")
	e.awaitCount(2)

	rule := &driftv1.IgnoreRule{Name: e.name + "/ignoreRules/r", ObjectKind: "Service", Field: "metadata.labels[*]", CreateActor: "users/ada", CreateTime: timestamppb.Now()}
	e.treat(&eventsv1.EnvironmentPolicy{Revision: 1, AutomaticSync: true, Ignores: []*driftv1.IgnoreRule{rule}})
	r := await(e, "drift.resolved", func(r *eventsv1.DriftResolved) bool { return r.GetFinding().GetResolution() == "ignored" })
	if f := r.GetFinding(); f.GetIgnoreRule() != rule.GetName() || f.GetDecideActor() != "users/ada" || r.GetOpen() != 1 {
		t.Errorf("told %v", r)
	}
	e.awaitCount(1)
	if fs := e.standing(driftv1.Finding_STANDING_IGNORED); len(fs) != 1 || fs[0].GetIgnoreRule() != rule.GetName() {
		t.Errorf("ignored are %v", fs)
	}

	e.treat(&eventsv1.EnvironmentPolicy{Revision: 2, AutomaticSync: true, SelfHeal: true, Ignores: []*driftv1.IgnoreRule{rule}})
	r = await(e, "drift.resolved", func(r *eventsv1.DriftResolved) bool { return r.GetFinding().GetObjectKind() == "ConfigMap" })
	if f := r.GetFinding(); f.GetResolution() != "healed" || f.GetDecideActor() != "towpath" || f.GetDecideTime() == nil {
		t.Errorf("healed was told as %v", f)
	}
	if label := devclustertest.Kubectl(t, "-n", e.ns, "get", "service", "web", "-o", "jsonpath={.metadata.labels.team}"); label != "blue" {
		t.Errorf("what is ignored was put back: %q", label)
	}

	rule.ExpireTime = timestamppb.New(time.Now().Add(time.Second))
	e.treat(&eventsv1.EnvironmentPolicy{Revision: 3, AutomaticSync: true, Ignores: []*driftv1.IgnoreRule{rule}})
	if f := e.awaitOne(); f.GetField() != "metadata.labels[team]" || f.GetStanding() != driftv1.Finding_STANDING_OPEN || f.GetIgnoreRule() != "" {
		t.Errorf("after the rule's end: %v", f)
	}
}

func TestARevertOfOneFieldLeavesTheOthersAndSaysWhoDecided(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config + "\n---\n" + strings.ReplaceAll(config, "web-config", "other-config"))
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "configmap", "web-config", "-p", `{"data":{"LOG_LEVEL":"debug","EXTRA":"1"},"metadata":{"labels":{"team":"blue"}}}`)
	e.awaitCount(3)
	var name string
	for _, f := range e.findings() {
		if f.GetField() == "data[EXTRA]" {
			name = f.GetName()
		}
	}
	ctx := auth.WithCaller(context.Background(), auth.Caller{Subject: "users/ada"})
	if _, err := e.svc.RevertFindings(ctx, &driftv1.RevertFindingsRequest{Parent: e.name, Names: []string{name}}); err != nil {
		t.Fatal(err)
	}
	r := await(e, "drift.resolved", func(r *eventsv1.DriftResolved) bool { return r.GetFinding().GetName() == name })
	if f := r.GetFinding(); f.GetResolution() != "reverted" || f.GetDecideActor() != "users/ada" {
		t.Errorf("told %v", f)
	}
	e.awaitCount(2)
	onset := e.findings()[0].GetDetectTime().AsTime()

	// A restart keeps the onset, and tells the end of what went meanwhile.
	e.stop()
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "web-config", "team-")
	e.start()
	await(e, "drift.resolved", func(r *eventsv1.DriftResolved) bool {
		return r.GetFinding().GetField() == "metadata.labels[team]" && r.GetFinding().GetResolution() == "undone"
	})
	if f := e.awaitOne(); f.GetDetectTime().AsTime().After(onset.Add(time.Second)) {
		t.Errorf("it began at %v, was told at %v", f.GetDetectTime().AsTime(), onset)
	}
}
