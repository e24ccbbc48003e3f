package catalog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/catalog"
)

const (
	reviewing    = catalogv1.Deployment_STATE_PULL_REQUEST_OPEN
	rejectedNow  = catalogv1.Deployment_STATE_REJECTED
	byPull       = committerv1.WriteMode_WRITE_MODE_PULL_REQUEST
	directOrPull = committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST
)

func pullEvent(n int, number int64, state eventsv1.DeploymentPullRequest_State, when int) events.Delivery {
	return delivery("deployment.pull_request", sec(when), &eventsv1.DeploymentPullRequest{
		Deployment: dep(n), Generation: int64(n), Url: "https://git.test/pulls/1", Number: number, Head: "towpath/shop/dev", State: state,
		Actor: "grace", Time: timestamppb.New(sec(when)), RenderStartTime: timestamppb.New(sec(when - 2)), CommitStartTime: timestamppb.New(sec(when - 1)),
	})
}

const (
	prOpen   = eventsv1.DeploymentPullRequest_STATE_OPEN
	prClosed = eventsv1.DeploymentPullRequest_STATE_CLOSED
	prMerged = eventsv1.DeploymentPullRequest_STATE_MERGED
)

// gitea makes the shop's repository one that is kept at a host with pull requests.
func (w *world) gitea(mode committerv1.WriteMode, more ...func(*catalogv1.Repository)) error {
	w.t.Helper()
	r := &catalogv1.Repository{
		Url: "https://git.test/team/deployments.git", WriteMode: mode, Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA},
	}
	for _, m := range more {
		m(r)
	}
	_, err := w.api.CreateRepository(w.t.Context(), &catalogv1.CreateRepositoryRequest{RepositoryId: "gitea", Repository: r})
	return err
}

// invalid holds an error against the field that it must name.
func invalid(t testing.TB, err error, field string) {
	t.Helper()
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != field {
		t.Errorf("the error names %s and not %s", e.Fields[0].Path, field)
	}
}

func TestRepositoriesThatCannotHavePullRequestsAreRefused(t *testing.T) {
	w, _ := shop(t)
	for name, tc := range map[string]struct {
		change func(*catalogv1.Repository)
		field  string
	}{
		"kept by Towpath":       {func(r *catalogv1.Repository) { r.Url, r.Forge = "embedded:///x", nil }, "repository.write_mode"},
		"no service named":      {func(r *catalogv1.Repository) { r.Forge = nil }, "repository.write_mode"},
		"a service of no kind":  {func(r *catalogv1.Repository) { r.WriteMode, r.Forge = 0, &committerv1.Forge{Url: "https://git.test"} }, "repository.forge.kind"},
		"a base that is no URL": {func(r *catalogv1.Repository) { r.Forge.Url = "git.test" }, "repository.forge.url"},
		"a project of one word": {func(r *catalogv1.Repository) { r.Forge.Project = "deployments" }, "repository.forge.project"},
		"an empty label":        {func(r *catalogv1.Repository) { r.Forge.Labels = []string{"a", " "} }, "repository.forge.labels[1]"},
		"a team without a name": {func(r *catalogv1.Repository) { r.Forge.Reviewers = []string{"team:"} }, "repository.forge.reviewers[0]"},
		"a service that is of no use": {
			func(r *catalogv1.Repository) {
				r.Url, r.WriteMode = "embedded:///x", committerv1.WriteMode_WRITE_MODE_DIRECT
			}, "repository.forge",
		},
	} {
		t.Run(name, func(t *testing.T) {
			invalid(t, w.gitea(byPull, tc.change), tc.field)
		})
	}
	must(t, w.gitea(directOrPull))
}

func TestATypeMayNotAskForPullRequestsWhereThereAreNone(t *testing.T) {
	w, _ := shop(t)
	set := func(mode committerv1.WriteMode) error {
		_, err := w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
			EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/development", WriteMode: mode},
			UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"write_mode"}},
		})
		return err
	}
	invalid(t, set(byPull), "environment_type.write_mode")
	must(t, set(committerv1.WriteMode_WRITE_MODE_DIRECT))
}

func TestAnOpenPullRequestLetsTheNextDeploymentGoAndRefusalsTakeTheirChangesAway(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	second := w.deploy(devEnv, variable("B", "1"))
	sentTo(t, b, 2)
	must(t, handle(t.Context(), pullEvent(2, 1, prOpen, 20)))
	got := w.get(second.GetName())
	if got.GetState() != reviewing || got.GetPullRequest().GetUrl() != "https://git.test/pulls/1" || !strings.Contains(got.GetWaitingReason(), "waits to be merged") {
		t.Fatalf("with an open pull request: %v", got)
	}
	third := w.deploy(devEnv, variable("C", "1"))
	sentTo(t, b, 3) // it does not wait for people
	must(t, handle(t.Context(), delivery("deployment.failed", sec(30), &eventsv1.DeploymentFailed{Deployment: dep(2), Superseded: true, Reason: "SUPERSEDED"})))
	must(t, handle(t.Context(), pullEvent(3, 1, prOpen, 31)))
	must(t, handle(t.Context(), pullEvent(3, 1, prClosed, 40)))
	got = w.get(third.GetName())
	if got.GetState() != rejectedNow || got.GetError().GetReason() != "PULL_REQUEST_CLOSED" || !strings.Contains(got.GetError().GetMessage(), "by grace") ||
		got.GetError().GetRemedy() == "" || got.GetPullRequest().GetActor() != "grace" {
		t.Fatalf("closed: %v", got)
	}
	if got := w.get(second.GetName()); got.GetState() != catalogv1.Deployment_STATE_SUPERSEDED {
		t.Errorf("the second is %s", got.GetState())
	}
	w.deploy(devEnv, variable("D", "1"))
	sentTo(t, b, 4)
	vars := b.lastCommand(t).GetInput().GetVariables()
	if vars["A"] != "1" || vars["D"] != "1" || vars["B"] != "" || vars["C"] != "" {
		t.Errorf("what was refused is in the next deployment: %v", vars)
	}
	must(t, handle(t.Context(), pullEvent(4, 2, prOpen, 50)))
	must(t, handle(t.Context(), pullEvent(4, 2, prMerged, 60)))
	must(t, handle(t.Context(), committedAt(4, 60)))
	if got := w.get(dep(4)); got.GetState() != catalogv1.Deployment_STATE_SYNCING || got.GetPullRequest().GetState() != catalogv1.PullRequest_STATE_MERGED {
		t.Errorf("merged: %v", got)
	}
}

func TestCancellingAnOpenPullRequestAsksTheCommitter(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), pullEvent(1, 1, prOpen, 10)))
	second := w.deploy(devEnv, variable("B", "1"))
	sentTo(t, b, 2)
	if _, err := w.cancel(dep(1)); err == nil {
		t.Error("what a later one was made on can be cancelled")
	} else {
		wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	}
	must(t, handle(t.Context(), pullEvent(2, 1, prOpen, 20)))
	got, err := w.cancel(second.GetName())
	must(t, err)
	if got.GetState() != reviewing || got.GetCancellation() == nil {
		t.Errorf("it ended before the committer has answered: %v", got)
	}
	eventually(t, func() error {
		if n := len(b.cancels()); n != 1 {
			return fmt.Errorf("%d requests to withdraw", n)
		}
		return nil
	})
	must(t, handle(t.Context(), cancelledEvent(2)))
	if got := w.get(second.GetName()); got.GetState() != cancelled {
		t.Errorf("it is %s", got.GetState())
	}
}

func TestALostRecordOfAPullRequestHasItsCommandSentAgain(t *testing.T) {
	w, b := shop(t, func(c *catalog.Config) { c.RepublishAfter = 20 * time.Millisecond })
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), pullEvent(1, 1, prOpen, 10)))
	b.mu.Lock()
	b.empty, b.watched = true, true
	b.mu.Unlock()
	eventually(t, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.looks < 3 {
			return fmt.Errorf("%d looks for the record", b.looks)
		}
		return nil
	})
	if n := len(b.commands()); n != 1 {
		t.Errorf("a watched pull request had its command sent %d times", n)
	}
	b.mu.Lock()
	b.watched = false
	b.mu.Unlock()
	eventually(t, func() error {
		if len(b.commands()) > 1 {
			return nil
		}
		return errors.New("its command is not sent again")
	})
}

func TestARejectedRemovalLeavesTheEnvironment(t *testing.T) {
	w, b := shop(t)
	handle := <-b.handler
	w.deploy(devEnv, variable("A", "1"))
	sentTo(t, b, 1)
	must(t, handle(t.Context(), committedAt(1, 10)))
	_, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	sentTo(t, b, 2)
	must(t, handle(t.Context(), pullEvent(2, 1, prOpen, 20)))
	must(t, handle(t.Context(), pullEvent(2, 1, prClosed, 30)))
	e, err := w.api.GetEnvironment(t.Context(), &catalogv1.GetEnvironmentRequest{Name: devEnv})
	must(t, err)
	if e.GetState() != catalogv1.Environment_STATE_ACTIVE {
		t.Errorf("it is %s", e.GetState())
	}
}
