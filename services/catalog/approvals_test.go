package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const (
	awaiting  = catalogv1.Deployment_STATE_AWAITING_APPROVAL
	pending   = catalogv1.Deployment_STATE_PENDING
	cancelled = catalogv1.Deployment_STATE_CANCELLED
)

// person gives the API as somebody else sees it.
func (w *world) person(id string) catalogv1.CatalogServiceClient {
	w.t.Helper()
	tok, err := w.access.CreateToken(w.t.Context(), &catalogv1.CreateTokenRequest{
		TokenId: id, Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_OPERATOR},
	})
	must(w.t, err)
	conn := w.dial(tok.GetSecret())
	must(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return catalogv1.NewCatalogServiceClient(conn)
}

// setType changes the environment type of the environments that env makes.
func (w *world) setType(t *catalogv1.EnvironmentType, paths ...string) {
	w.t.Helper()
	t.Name = "environmentTypes/development"
	_, err := w.api.UpdateEnvironmentType(w.t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: t, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
	})
	must(w.t, err)
}

func (w *world) needApprovals(n int32, author bool) {
	w.setType(&catalogv1.EnvironmentType{Approvals: &catalogv1.ApprovalRule{Required: n, AuthorMayApprove: author}}, "approvals")
}

func variable(key, value string) *catalogv1.Change {
	return &catalogv1.Change{Variables: map[string]string{key: value}}
}

// variables gives what an intent has, as "A=1 B=2".
func variables(i *catalogv1.Intent) string {
	var out []string
	for k, v := range i.GetVariables() {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func approve(c catalogv1.CatalogServiceClient, w *world, name string) *catalogv1.Deployment {
	w.t.Helper()
	d, err := c.ApproveDeployment(w.t.Context(), &catalogv1.ApproveDeploymentRequest{Name: name, Comment: "looks good"})
	must(w.t, err)
	return d
}

// sentTo waits until the committer has got that many commands and gives them.
func sentTo(t testing.TB, b *lightBus, n int) []string {
	t.Helper()
	eventually(t, func() error {
		if got := b.commands(); len(got) < n {
			return fmt.Errorf("commands %v, want %d", got, n)
		}
		return nil
	})
	return b.commands()
}

func TestDeploymentGoesAheadWithTheApprovalsThatItsTypeAsksFor(t *testing.T) {
	w, b := shop(t)
	w.needApprovals(2, false)
	bob, eve := w.person("bob"), w.person("eve")
	d := w.deploy(devEnv, score("api", "api:1"))
	if d.GetState() != awaiting || d.GetPlanHash() == "" || d.GetApprovalsRequired() != 2 || d.GetWaitingReason() != "0 of 2 approvals given" {
		t.Fatalf("accepted as %v", d)
	}
	w.needApprovals(9, true) // is for what comes later
	if variables(w.getEnv(devEnv).GetIntent()) != "" || w.getEnv(devEnv).GetLatestDeployment() != d.GetName() {
		t.Errorf("environment = %v", w.getEnv(devEnv))
	}
	one := approve(bob, w, d.GetName())
	if one.GetState() != awaiting || one.GetWaitingReason() != "1 of 2 approvals given" {
		t.Errorf("after one vote: %s, %q", one.GetState(), one.GetWaitingReason())
	}
	if len(b.commands()) != 0 {
		t.Error("it was sent without its approvals")
	}
	two, err := eve.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: d.GetName(), PlanHash: d.GetPlanHash()})
	must(t, err)
	if two.GetState() != pending || two.GetWaitingReason() != "" || len(two.GetApprovals()) != 2 {
		t.Errorf("after two votes: %v", two)
	}
	var states []string
	for _, p := range two.GetPhases() {
		states = append(states, p.GetState().String())
	}
	if want := []string{"STATE_AWAITING_APPROVAL", "STATE_PENDING"}; !slices.Equal(states, want) {
		t.Errorf("phases %v, want %v", states, want)
	}
	sentTo(t, b, 1)
	cmd := b.lastCommand(t)
	if cmd.GetExpectTree() != d.GetPlannedTree() || cmd.GetExpectBaseTree() != "absent" || cmd.GetExpectTree() == "" {
		t.Errorf("the command is held to %q on %q, the plan was %q", cmd.GetExpectTree(), cmd.GetExpectBaseTree(), d.GetPlannedTree())
	}
	if got := w.getEnv(devEnv).GetIntent(); got.GetSet() != d.GetIntent().GetSet() {
		t.Errorf("the environment's intent is %v", got)
	}
}

func TestVotesThatDoNotCount(t *testing.T) {
	w, _ := shop(t)
	w.needApprovals(2, false)
	bob := w.person("bob")
	d, err := bob.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("A", "1")})
	must(t, err)
	_, err = bob.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: d.GetName()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_CANNOT_APPROVE); e.Meta["because"] != "author" {
		t.Errorf("meta = %v", e.Meta)
	}
	approve(w.api, w, d.GetName())
	_, err = w.api.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: d.GetName()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_CANNOT_APPROVE); e.Meta["because"] != "voted" {
		t.Errorf("meta = %v", e.Meta)
	}
	_, err = w.person("eve").ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: d.GetName(), PlanHash: "of another plan"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED)

	w.needApprovals(1, true)
	own, err := bob.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("A", "2")})
	must(t, err)
	if got := approve(bob, w, own.GetName()); got.GetState() != pending {
		t.Errorf("with author_may_approve the author's vote leaves it %s", got.GetState())
	}
	_, err = w.api.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: own.GetName()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "PENDING" {
		t.Errorf("meta = %v", e.Meta)
	}
	w.get(d.GetName()) // the older one that still waited is made pointless
	if got := w.get(d.GetName()).GetState(); got != catalogv1.Deployment_STATE_SUPERSEDED {
		t.Errorf("the older one is %s", got)
	}
}

func TestMovedPlanVoidsApprovals(t *testing.T) {
	w, b := shop(t)
	w.needApprovals(2, false)
	bob, eve := w.person("bob"), w.person("eve")
	d := w.deploy(devEnv, variable("A", "1"))
	approve(bob, w, d.GetName())
	w.setType(&catalogv1.EnvironmentType{Defaults: &rendererv1.EnvironmentDefaults{Replicas: 7}}, "defaults")
	_, err := eve.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: d.GetName(), PlanHash: d.GetPlanHash()})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != "environment_type" {
		t.Errorf("meta = %v", e.Meta)
	}
	anew := w.get(d.GetName())
	if anew.GetState() != awaiting || anew.GetPlanHash() == d.GetPlanHash() || len(anew.GetApprovals()) != 1 ||
		!strings.Contains(anew.GetWaitingReason(), "environment_type") || !strings.Contains(anew.GetWaitingReason(), "0 of 2") {
		t.Errorf("it is %v", anew)
	}
	approve(eve, w, d.GetName())
	if got := approve(bob, w, d.GetName()); got.GetState() != pending {
		t.Errorf("approved anew it is %s: %s", got.GetState(), got.GetWaitingReason())
	}
	sentTo(t, b, 1)
}

// What the waiting one changes is kept when it is planned on what another one has made meanwhile.
func TestWaitingDeploymentIsPlannedOnWhatWentAheadBeforeIt(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.needApprovals(1, false)
	bob := w.person("bob")
	first := w.deploy(devEnv, &catalogv1.Change{Scores: score("api", "api:1").GetScores(), Variables: map[string]string{"A": "1"}})
	second := w.deploy(devEnv, &catalogv1.Change{Scores: score("web", "web:1").GetScores(), Variables: map[string]string{"B": "1"}})
	approve(bob, w, first.GetName())
	sentTo(t, b, 1)
	_, err := bob.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: second.GetName()})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE) // the first is on its way
	must(t, handle(t.Context(), committedAt(1, 10)))
	_, err = bob.ApproveDeployment(t.Context(), &catalogv1.ApproveDeploymentRequest{Name: second.GetName()})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED)
	got := approve(bob, w, second.GetName())
	if got.GetState() != pending || variables(got.GetIntent()) != "A=1 B=1" {
		t.Errorf("it is %s with %v", got.GetState(), got.GetIntent())
	}
	set, err := w.api.GetSet(t.Context(), &catalogv1.GetSetRequest{Name: got.GetIntent().GetSet()})
	must(t, err)
	if len(set.GetWorkloads()) != 2 {
		t.Errorf("workloads = %v", set.GetWorkloads())
	}
}

func TestWhatNeverReachedGitIsNotInTheNextDeployment(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *world, *lightBus, func(string, string)){
		"rejected": func(t *testing.T, w *world, _ *lightBus, _ func(string, string)) {
			got, err := w.api.RejectDeployment(t.Context(), &catalogv1.RejectDeploymentRequest{Name: dep(2), Comment: "not today"})
			must(t, err)
			last := got.GetApprovals()[len(got.GetApprovals())-1]
			if got.GetState() != catalogv1.Deployment_STATE_REJECTED || last.GetApproved() || last.GetComment() != "not today" || got.GetWaitingReason() != "" {
				t.Errorf("rejected: %v", got)
			}
		},
		"cancelled while it waits for approval": func(t *testing.T, w *world, _ *lightBus, _ func(string, string)) {
			got, err := w.api.CancelDeployment(t.Context(), &catalogv1.CancelDeploymentRequest{Name: dep(2)})
			must(t, err)
			if got.GetState() != cancelled {
				t.Errorf("cancelled: %v", got)
			}
		},
		"failed before Git": func(t *testing.T, w *world, b *lightBus, fail func(string, string)) {
			approve(w.person("bob"), w, dep(2))
			sentTo(t, b, 2)
			fail(dep(2), "PUSH_REFUSED")
			if got := w.get(dep(2)); got.GetState() != catalogv1.Deployment_STATE_FAILED || !strings.Contains(got.GetError().GetRemedy(), "tow retry -e shop/dev 2") {
				t.Errorf("failed: %v", got.GetError())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := shop(t)
			handle := <-b.handler
			w.deploy(devEnv, variable("A", "1"))
			sentTo(t, b, 1)
			must(t, handle(t.Context(), committedAt(1, 10)))
			w.needApprovals(1, true)
			w.deploy(devEnv, variable("B", "1"))
			end(t, w, b, func(name, reason string) { must(t, handle(t.Context(), failedEvent(name, reason))) })
			if got := variables(w.getEnv(devEnv).GetIntent()); got != "A=1" {
				t.Errorf("the environment is meant to be %q", got)
			}
			if got := w.deploy(devEnv, variable("C", "1")); variables(got.GetIntent()) != "A=1 C=1" {
				t.Errorf("the next one brings %q", variables(got.GetIntent()))
			}
		})
	}
}

func TestRemovalWaitsForApprovalToo(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	w.needApprovals(1, false)
	d, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	if d.GetState() != awaiting || w.getEnv(devEnv).GetState() != catalogv1.Environment_STATE_ACTIVE {
		t.Fatalf("removal %s, environment %s", d.GetState(), w.getEnv(devEnv).GetState())
	}
	approve(w.person("bob"), w, d.GetName())
	if got := w.getEnv(devEnv).GetState(); got != catalogv1.Environment_STATE_DELETING {
		t.Errorf("environment %s", got)
	}
	sentTo(t, b, 2)
}

func TestCommentsAreAddedAndChangeNothingElse(t *testing.T) {
	w, _ := shop(t)
	d := w.deploy(devEnv, variable("A", "1"))
	got, err := w.person("bob").CommentDeployment(t.Context(), &catalogv1.CommentDeploymentRequest{Name: d.GetName(), Text: "looks slow"})
	must(t, err)
	if len(got.GetComments()) != 1 || got.GetComments()[0].GetActor() != "tokens/bob" || got.GetComments()[0].GetText() != "looks slow" {
		t.Errorf("comments = %v", got.GetComments())
	}
	opts := protocmp.IgnoreFields(&catalogv1.Deployment{}, "comments", "etag", "update_time")
	if diff := cmp.Diff(d, got, protocmp.Transform(), opts); diff != "" {
		t.Errorf("the rest changed (-before +after):\n%s", diff)
	}
	for range 99 {
		_, err = w.api.CommentDeployment(t.Context(), &catalogv1.CommentDeploymentRequest{Name: d.GetName(), Text: "again"})
		must(t, err)
	}
	_, err = w.api.CommentDeployment(t.Context(), &catalogv1.CommentDeploymentRequest{Name: d.GetName(), Text: "one too many"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_TOO_LARGE)
	_, err = w.api.CommentDeployment(t.Context(), &catalogv1.CommentDeploymentRequest{Name: dep(7), Text: "x"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}
