package catalog_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/events"
)

// decisions plays the committer for decisions and deployments alike.
type decisions struct {
	mu   sync.Mutex
	sent []*eventsv1.ForeignDecision
	cmds []*eventsv1.DeploymentRequested
}

func (w *world) decisions() *decisions {
	w.t.Helper()
	got := &decisions{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		err := w.outside.Consume(ctx, events.ConsumerConfig{Stream: events.StreamCommands, Durable: "committer", Filter: []string{"towpath.cmd.commit.>"}},
			func(_ context.Context, d events.Delivery) error {
				got.mu.Lock()
				defer got.mu.Unlock()
				if d.Type == "dev.towpath.environment.foreign_decision" {
					f := &eventsv1.ForeignDecision{}
					got.sent = append(got.sent, f)
					if !strings.HasSuffix(d.Subject, ".shop.dev.foreign") {
						w.t.Errorf("the subject is %s", d.Subject)
					}
					return d.Decode(f)
				}
				cmd := &eventsv1.DeploymentRequested{}
				got.cmds = append(got.cmds, cmd)
				err := d.Decode(cmd)
				w.succeed(cmd)
				return err
			})
		if err != nil && ctx.Err() == nil {
			w.t.Errorf("consume: %v", err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
	return got
}

func (d *decisions) all() []*eventsv1.ForeignDecision {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*eventsv1.ForeignDecision{}, d.sent...)
}

func (w *world) git() catalogv1.GitServiceClient { return catalogv1.NewGitServiceClient(w.conn) }

// finding is what the committer tells of somebody's commit in the folder of dev.
func (w *world) finding(found string) *eventsv1.ForeignCommit {
	return &eventsv1.ForeignCommit{
		Environment: devEnv, Repository: "repositories/default", Branch: "main", Path: "environments/dev/shop", Commit: strings.Repeat("c", 40),
		ExpectedTree: strings.Repeat("e", 40), FoundTree: found, Author: "Grace <grace@example.com>", ForeignCommit: strings.Repeat("f", 40), Subject: "More",
	}
}

func (w *world) tell(id string, f *eventsv1.ForeignCommit) *catalogv1.ForeignChange {
	w.t.Helper()
	w.emit(devEnv, "repository.foreign_commit", id, time.Now(), f)
	var out *catalogv1.ForeignChange
	eventually(w.t, func() error {
		for _, c := range w.getEnv(devEnv).GetForeignChanges() {
			if c.GetFoundTree() == f.GetFoundTree() {
				out = c
				return nil
			}
		}
		return errors.New("it is not shown")
	})
	return out
}

func (w *world) changesAre(what string, ok func([]*catalogv1.ForeignChange) bool) {
	w.t.Helper()
	eventually(w.t, func() error {
		if !ok(w.getEnv(devEnv).GetForeignChanges()) {
			return errors.New(what + " does not come")
		}
		return nil
	})
}

func (w *world) foreignPolicy(p committerv1.ForeignPolicy) {
	w.t.Helper()
	_, err := w.api.UpdateRepository(w.t.Context(), &catalogv1.UpdateRepositoryRequest{
		Repository: &catalogv1.Repository{Name: "repositories/default", ForeignPolicy: p}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"foreign_policy"}},
	})
	must(w.t, err)
}

func (w *world) resolve(decision catalogv1.ResolveForeignChangeRequest_Decision, found string) (*catalogv1.ForeignChange, error) {
	return w.git().ResolveForeignChange(w.t.Context(), &catalogv1.ResolveForeignChangeRequest{Name: devEnv, Decision: decision, FoundTree: found, Message: "It was right"})
}

func ended(found, how string) *eventsv1.ForeignResolved {
	return &eventsv1.ForeignResolved{
		Environment: devEnv, Repository: "repositories/default", Branch: "main", Path: "environments/dev/shop", FoundTree: found, How: how,
	}
}

const (
	overwriteIt = catalogv1.ResolveForeignChangeRequest_DECISION_OVERWRITE
	restoreIt   = catalogv1.ResolveForeignChangeRequest_DECISION_RESTORE
)

var oneTree, otherTree = strings.Repeat("1", 40), strings.Repeat("2", 40)

func TestAForeignChangeIsShownDecidedOnceAndEnds(t *testing.T) {
	w := foreignWorld(t)
	got := w.decisions()
	w.foreignPolicy(committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD)
	w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	_, err := w.resolve(overwriteIt, "")
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	f := w.tell("one", w.finding(oneTree))
	if f.GetState() != catalogv1.ForeignChange_STATE_HELD || f.GetAuthor() != "Grace <grace@example.com>" || f.GetNoticeTime() == nil {
		t.Errorf("it is shown as %v", f)
	}
	_, err = w.resolve(overwriteIt, otherTree)
	wantError(t, err, codes.Aborted, errorsv1.Reason_REASON_FOREIGN_CHANGE)
	for range 3 { // the same decision again is the same decision
		f, err = w.resolve(overwriteIt, oneTree)
		must(t, err)
	}
	if f.GetState() != catalogv1.ForeignChange_STATE_DECIDED {
		t.Errorf("it is decided as %v", f)
	}
	_, err = w.resolve(restoreIt, "")
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	eventually(t, func() error {
		if len(got.all()) == 0 {
			return errors.New("no decision is sent")
		}
		return nil
	})
	d := got.all()[0]
	if d.GetFoundTree() != oneTree || d.GetDecision() != eventsv1.ForeignDecision_DECISION_OVERWRITE || d.GetMessage() != "It was right" ||
		d.GetRepository().GetUrl() == "" || d.GetAuthor().GetSubject() == "" || d.GetPath() != "environments/dev/shop" {
		t.Errorf("sent is %v", d)
	}
	for _, again := range got.all() {
		if again.GetRequestId() != d.GetRequestId() {
			t.Errorf("one decision has the ids %s and %s", d.GetRequestId(), again.GetRequestId())
		}
	}
	w.tell("again", w.finding(oneTree)) // the same finding by another process undoes no decision
	w.emit(devEnv, "repository.foreign_resolved", "allowed", time.Now(), ended(oneTree, "allowed"))
	w.changesAre("the decision", func(all []*catalogv1.ForeignChange) bool {
		return len(all) == 1 && all[0].GetState() == catalogv1.ForeignChange_STATE_DECIDED
	})
	w.emit(devEnv, "repository.foreign_resolved", "overwritten", time.Now(), ended(oneTree, "overwritten"))
	w.changesAre("the end", func(all []*catalogv1.ForeignChange) bool { return len(all) == 0 })
	if n := count(t, w.kv, "foreignDecisions/"); n != 0 {
		t.Errorf("%d decisions are left", n)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	if p := got.cmds[0].GetForeignPolicy(); p != committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD {
		t.Errorf("the command had the policy %s", p)
	}
}

func TestADecisionReachesTheCommitterWhateverDies(t *testing.T) {
	w := foreignWorld(t)
	w.tell("one", w.finding(oneTree))
	w.server.Shutdown() // nothing can be sent
	_, err := w.resolve(restoreIt, oneTree)
	must(t, err)
	if n := count(t, w.kv, "foreignDecisions/"); n != 1 {
		t.Fatalf("%d decisions wait", n)
	}
}

func TestWhatCannotBeDoneGoesBackToThePersonWithTheReason(t *testing.T) {
	w := foreignWorld(t)
	w.decisions()
	w.foreignPolicy(committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD)
	w.tell("one", w.finding(oneTree))
	_, err := w.resolve(restoreIt, "")
	must(t, err)
	w.emit(devEnv, "repository.foreign_resolved", "not", time.Now(), ended(oneTree, "not done: tree e is no longer in the repository"))
	w.changesAre("the reason", func(all []*catalogv1.ForeignChange) bool {
		return len(all) == 1 && all[0].GetState() == catalogv1.ForeignChange_STATE_HELD && len(all[0].GetNotAdopted()) == 1
	})
	_, err = w.resolve(overwriteIt, "")
	must(t, err)
}

func TestAnotherChangeInTheFolderTakesThePlaceOfTheFirst(t *testing.T) {
	w := foreignWorld(t)
	w.tell("one", w.finding(oneTree))
	w.tell("two", w.finding(otherTree))
	all := w.getEnv(devEnv).GetForeignChanges()
	if len(all) != 1 || all[0].GetState() != catalogv1.ForeignChange_STATE_TOLD {
		t.Errorf("shown are %v", all)
	}
	w.emit(devEnv, "repository.foreign_resolved", "late", time.Now(), ended(oneTree, "reverted")) // of the first one
	state := w.finding("")
	state.Path = ".towpath/state/ab/shop/dev"
	f := w.tell("state", state)
	if all := w.getEnv(devEnv).GetForeignChanges(); len(all) != 2 {
		t.Errorf("shown are %v", all)
	}
	_, err := w.git().ResolveForeignChange(t.Context(), &catalogv1.ResolveForeignChangeRequest{Name: devEnv, Path: f.GetPath(), Decision: overwriteIt})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	_, err = w.resolve(overwriteIt, "")
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	w.decisions()
	w.inState(w.deploy(devEnv, score("api", "api:1")).GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.changesAre("the commit's end of both", func(all []*catalogv1.ForeignChange) bool { return len(all) == 0 })
}

func TestADraftForOneEnvironmentIsForNoOther(t *testing.T) {
	w := foreignWorld(t)
	w.decisions()
	w.deploy(devEnv, score("api", "api:1"))
	create := func(d *catalogv1.Draft) error {
		_, err := w.drafts().CreateDraft(t.Context(), &catalogv1.CreateDraftRequest{Parent: "applications/shop", DraftId: "next", Draft: d})
		return err
	}
	op := setOp("/objects/apps~1v1/Deployment/api/spec/replicas", 2.0)
	wantError(t, create(&catalogv1.Draft{OverlayOperations: ops(op)}), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	for _, bad := range []string{"/objects/apps~1v1/Deployment", "/objects/apps~1v1/Deployment/api/metadata/name", "/elsewhere/x"} {
		wantError(t, create(&catalogv1.Draft{Environment: devEnv, OverlayOperations: ops(setOp(bad, "x"))}), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	}
	secret := setOp("/objects/apps~1v1/Deployment/api/spec/template/spec/containers/name=main/env/name=API_TOKEN/value", "hunter2hunter2")
	wantError(t, create(&catalogv1.Draft{Environment: devEnv, OverlayOperations: ops(secret)}), codes.FailedPrecondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET)
	must(t, create(&catalogv1.Draft{Environment: devEnv, OverlayOperations: ops(op), Variables: map[string]string{"A": "b"}}))
	w.env("shop", "other")
	_, err := w.drafts().DeployDraft(t.Context(), &catalogv1.DeployDraftRequest{Name: "applications/shop/drafts/next", Environment: "applications/shop/environments/other"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	d, err := w.drafts().DeployDraft(t.Context(), &catalogv1.DeployDraftRequest{Name: "applications/shop/drafts/next"})
	must(t, err)
	if len(d.GetIntent().GetOverlay()) != 1 || d.GetIntent().GetVariables()["A"] != "b" {
		t.Errorf("it brings %v", d.GetIntent())
	}
}

func ops(all ...*rendererv1.Operation) []*rendererv1.Operation { return all }

func foreignWorld(t *testing.T) *world {
	w := newWorld(t)
	w.app("shop")
	w.env("shop", "dev")
	return w
}
