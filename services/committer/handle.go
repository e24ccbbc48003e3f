package committer

import (
	"context"
	"errors"
	"sync"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// The stages at which a deployment can wait or fail here.
const (
	stageRender = "render"
	stageCommit = "commit"
)

// handle brings one command's deployment into Git and tells so. The bus keeps one environment's commands in order and handles
// those of different environments at the same time; they meet in the lane of their branch and share its pushes.
func (s *Service) handle(ctx context.Context, d events.Delivery) error {
	cmd := new(eventsv1.DeploymentRequested)
	if err := d.Decode(cmd); err != nil {
		return err
	}
	t, err := newTask(cmd, time.Now())
	if t == nil {
		return err
	}
	stage := stageCommit
	var o outcome
	if err == nil {
		s.health.waiting(t, d.Stored)
		t.show = func(reason error) { s.wait(ctx, t, d, stageCommit, reason) }
		o, stage, err = s.perform(ctx, t)
	}
	if err != nil {
		err = s.conclude(ctx, t, d, stage, err)
	} else if err = s.announce(ctx, t, o); isLeftover(err) {
		s.wait(ctx, t, d, stageCommit, err)
	}
	if err == nil {
		s.health.served(t.cmd.GetDeployment())
		s.watchAcknowledgement(ctx, d.Subject)
	}
	return err
}

// perform renders where that is needed and commits. The stage says where an error comes from.
func (s *Service) perform(ctx context.Context, t *task) (o outcome, stage string, err error) {
	if t.spread() {
		return s.performPlaces(ctx, t)
	}
	if s.withdrawn(t) { // an earlier attempt may have put it into Git
		o, err = s.lanes.submit(ctx, t)
		return o, stageCommit, err
	}
	if err := s.holdings.answer(laneKey(t.cmd.GetRepository()), t.key()); err != nil {
		return outcome{}, stageCommit, err
	}
	if t.cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RENDER || t.claims() {
		if err := s.render(ctx, t); err != nil {
			o, found := s.lookUp(ctx, t, err)
			if found {
				return o, stageCommit, nil
			}
			return outcome{}, stageRender, err
		}
	}
	o, err = s.write(ctx, t)
	if errors.Is(err, errNeedsBundle) && t.cmd.GetInput() == nil {
		return outcome{}, stageCommit, errs.InvalidField("input",
			"is missing, and tree %s is no longer in Git; deploy the set again", t.cmd.GetRestoreTree())
	}
	if errors.Is(err, errNeedsBundle) {
		t.whole = true
		if t.bundle == nil {
			if err := s.render(ctx, t); err != nil {
				return outcome{}, stageRender, err
			}
		}
		o, err = s.write(ctx, t)
	}
	return o, stageCommit, err
}

// lookUp asks Git for the outcome of a command that does not render: it may have come before, to another replica, and another
// version of the renderer may refuse today what is committed since yesterday.
func (s *Service) lookUp(ctx context.Context, t *task, cause error) (outcome, bool) {
	if !permanent(cause) {
		return outcome{}, false
	}
	o, err := s.lanes.submit(ctx, t)
	return o, err == nil
}

// render fills the task's bundle and refuses what may not reach Git.
func (s *Service) render(ctx context.Context, t *task) error {
	t.renderStart = time.Now()
	answer, err := s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{Input: t.cmd.GetInput(), ClaimsOnly: t.claims()})
	if err != nil {
		return rpc.FromStatus(err)
	}
	files := answer.GetBundle().GetFiles()
	if err := admitFiles(t.cmd.GetPath(), files); err != nil {
		return err
	}
	tree, err := git.TreeID(files)
	if err != nil {
		return err
	}
	if claimed := answer.GetBundle().GetTree(); !rules.SameTree(claimed, tree.String()) {
		return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "the renderer calls its bundle %s and it is %s", claimed, tree)
	}
	t.bundle = &bundle{files: files, tree: tree, sha256: answer.GetBundle().GetSha256(), version: answer.GetRendererVersion(), claims: answer.GetClaims()}
	t.bundle.objects = answer.GetBundle().GetObjects()
	t.commitStart = time.Now()
	s.failpoint("rendered")
	return nil
}

// watchAcknowledgement reaches the last failpoint when the command has left the stream. The bus acknowledges after the handler
// has returned and has no hook for it; without failpoints nothing is watched.
func (s *Service) watchAcknowledgement(ctx context.Context, subject string) {
	if !s.failpoints {
		return
	}
	s.background.Go(func() {
		for ctx.Err() == nil {
			pending, err := s.cfg.Bus.PendingCommand(ctx, subject)
			if err == nil && !pending {
				s.failpoint("acknowledged")
				return
			}
			pause(ctx, 3)
		}
	})
}

// reasons remembers why deployments wait, to tell only changes.
type reasons struct {
	mu   sync.Mutex
	last map[string]string
}

// changed notes the reason and tells whether it is another one than the last.
func (r *reasons) changed(deployment, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]string{}
	}
	was, ok := r.last[deployment]
	r.last[deployment] = reason
	return !ok || was != reason
}

// has tells whether a reason is known.
func (r *reasons) has(deployment string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[deployment] != ""
}

func (r *reasons) forget(deployment string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, deployment)
}
