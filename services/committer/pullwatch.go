package committer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git"
)

const (
	// pullWorkers bounds the pull requests that are asked about at the same time.
	pullWorkers = 8
	// maxPullWait bounds the growing wait after a service did not answer.
	maxPullWait = 10 * time.Minute
	// takenBack is how often a pull request may be told as merged while the base does not have it, before that is believed: a
	// service may be faster with its word than its Git with the branch.
	takenBack = 4
)

// pulls watches the open pull requests: one goroutine for each, from its record until that is gone.
type pulls struct {
	svc   *Service
	locks keyed
	slots chan struct{}

	mu       sync.Mutex
	watchers map[string]*watcher
	// quiet is until when a service does not want to be asked, by its repository.
	quiet map[string]time.Time
	alive sync.WaitGroup
}

// watcher is the watch over the record of one subject.
type watcher struct {
	pulls   *pulls
	subject string
	wake    chan struct{}

	// These belong to pulls.mu.
	repository string
	// lane, name and shard are of the branch that it goes to.
	lane, name, shard string
	// request is the record's; a later record of the same is no news.
	request string

	// news tells that a record was stored since the last look began: the watch goes on.
	news bool

	// These belong to the watcher's goroutine.
	failures, missing int
	// restarted tells that this process was not there when the pull request was opened: what an earlier one showed last may be that
	// nobody could look.
	restarted bool
}

func newPulls(s *Service) *pulls {
	return &pulls{svc: s, slots: make(chan struct{}, pullWorkers), watchers: map[string]*watcher{}, quiet: map[string]time.Time{}}
}

// hush notes that a service wants to be left alone for a while: by all watchers of its repository, not only the one that heard it.
func (w *watcher) hush(until time.Time) {
	w.pulls.mu.Lock()
	defer w.pulls.mu.Unlock()
	if until.After(w.pulls.quiet[w.repository]) {
		w.pulls.quiet[w.repository] = until
	}
}

// quietFor is how long a service is to be left alone; zero when it is not.
func (w *watcher) quietFor() time.Duration {
	w.pulls.mu.Lock()
	defer w.pulls.mu.Unlock()
	return time.Until(w.pulls.quiet[w.repository])
}

// run watches until ctx ends.
func (p *pulls) run(ctx context.Context) {
	defer p.alive.Wait()
	start := true
	cfg := events.TailConfig{Stream: events.StreamPulls, LastPerSubject: true, CaughtUp: func() { start = false }}
	for d, err := range p.svc.cfg.Bus.Tail(ctx, cfg) {
		if d.Subject == "" && err != nil {
			p.svc.log.Error("open pull requests are not watched", "error", err)
			return
		}
		if err == nil {
			var rec *record
			if rec, err = readRecord(d); err == nil {
				p.take(ctx, rec, start)
			}
		}
		if err != nil {
			p.svc.log.Error("the record of a pull request cannot be read", "subject", d.Subject, "error", err)
		}
	}
}

// take begins to watch a record, or tells its watcher of news. After a start the looks are spread, so that many do not ask at once;
// one that is merged by itself is looked at right away.
func (p *pulls) take(ctx context.Context, rec *record, start bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref := rec.GetCommand().GetRepository()
	w := p.watchers[rec.subject]
	known := w != nil
	if !known {
		w = &watcher{pulls: p, subject: rec.subject, wake: make(chan struct{}, 1), restarted: start}
		p.watchers[rec.subject] = w
		interval := p.svc.cfg.PullInterval
		first := spread(interval)
		switch {
		case start:
			first = rand.N(interval/4 + 1)
		case ref.GetForge().GetAutoMerge():
			first = 0
		}
		p.alive.Go(func() { w.run(ctx, first) })
	}
	w.news = known
	if known && rec.GetCommand().GetRequestId() != w.request && ref.GetForge().GetAutoMerge() {
		w.nudge()
	}
	w.repository, w.request = repositoryKey(ref.GetUrl()), rec.GetCommand().GetRequestId()
	w.lane, w.name, w.shard = laneKey(ref), ref.GetName(), events.Shard(ref.GetUrl(), ref.GetBranch())
}

// notice has the pull requests of a repository looked at soon.
func (p *pulls) notice(repository string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watchers {
		if w.repository == repository {
			w.nudge()
		}
	}
}

func (w *watcher) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// spread takes away up to a fifth of an interval, so that what began together does not stay so.
func spread(interval time.Duration) time.Duration { return interval - rand.N(interval/5+1) }

func (w *watcher) run(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		if rest := w.quietFor(); rest > 0 {
			timer.Reset(rest + spread(time.Second))
			continue
		}
		select {
		case w.pulls.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		gone, next := w.step(ctx)
		<-w.pulls.slots
		if gone && w.leave() {
			return
		}
		timer.Reset(next)
	}
}

// leave ends the watch unless a new record came meanwhile.
func (w *watcher) leave() bool {
	w.pulls.mu.Lock()
	defer w.pulls.mu.Unlock()
	if w.news {
		w.nudge()
		return false
	}
	delete(w.pulls.watchers, w.subject)
	return true
}

// step looks at the pull request once. gone tells that there is no record any more, next when to look again.
func (w *watcher) step(ctx context.Context) (gone bool, next time.Duration) {
	s := w.pulls.svc
	w.pulls.mu.Lock()
	w.news = false
	w.pulls.mu.Unlock()
	gone, err := s.stepPull(ctx, w)
	switch {
	case err == nil:
		w.failures = 0
		return gone, spread(s.cfg.PullInterval)
	case ctx.Err() != nil:
		return false, s.cfg.PullInterval
	}
	w.failures++
	wait := s.cfg.PullInterval << min(w.failures-1, 10)
	var e *errs.Error
	if errors.As(err, &e) { // the host says when it wants to be asked again
		if seconds, perr := strconv.Atoi(e.Meta["retry_after"]); perr == nil && seconds > 0 {
			wait = max(wait, time.Duration(seconds)*time.Second)
			w.hush(time.Now().Add(time.Duration(seconds) * time.Second))
		}
	}
	s.log.Info("a pull request cannot be looked at now", "subject", w.subject, "error", err)
	return false, spread(min(wait, max(maxPullWait, s.cfg.PullInterval)))
}

// holdsBranch tells whether this process acts for a branch: it has its lease.
func (s *Service) holdsBranch(ref *committerv1.RepositoryRef) bool {
	_, mine := s.holder(ref)
	return mine
}

// stepPull looks at an open pull request: in Git first, which decides whether it is merged, then at the service.
func (s *Service) stepPull(ctx context.Context, w *watcher) (gone bool, err error) {
	first, err := s.recordOf(ctx, w.subject)
	if err != nil || first == nil {
		return first == nil && err == nil, err
	}
	if !s.holdsBranch(first.GetCommand().GetRepository()) {
		return false, nil
	}
	unlock := s.pulls.locks.lock(ctx, first.dep.EnvironmentName())
	if unlock == nil {
		return false, context.Cause(ctx)
	}
	defer unlock()
	rec, err := s.recordOf(ctx, w.subject) // the one before the lock may be of another deployment
	if err != nil || rec == nil {
		return rec == nil && err == nil, err
	}
	if gone, err = s.stepRecord(ctx, w, rec); err != nil {
		s.tellStuck(ctx, w, rec, err)
	}
	return gone, err
}

func (s *Service) stepRecord(ctx context.Context, w *watcher, rec *record) (gone bool, err error) {
	client, err := s.forge(rec.GetCommand().GetRepository())
	if err != nil {
		return false, err
	}
	p, ended, err := s.lookAtRecord(ctx, client, rec)
	if err != nil || ended {
		return ended, err
	}
	if p.taken {
		return false, nil // its command comes again and writes the record
	}
	pr, err := client.Get(ctx, rec.GetPullRequest().GetNumber())
	if err != nil {
		return false, err
	}
	if pr.State != forge.Open {
		return s.notOpen(ctx, w, client, rec, pr)
	}
	w.missing = 0
	return s.stillOpen(ctx, w, client, rec, pr, p)
}

func (s *Service) recordOf(ctx context.Context, subject string) (*record, error) {
	d, found, err := s.cfg.Bus.LastPull(ctx, subject)
	if err != nil || !found {
		return nil, err
	}
	return readRecord(d)
}

// lookTask is the task that looks for a record's outcome.
func (s *Service) lookTask(rec *record) (*task, error) {
	t, err := newTask(withoutInput(rec.GetCommand()), time.Now())
	if err != nil {
		return nil, err
	}
	t.request.ExpectBaseTree = "" // held when it was proposed; since then people decide
	t.renderStart, t.commitStart = rec.GetPullRequest().GetRenderStartTime().AsTime(), rec.GetPullRequest().GetCommitStartTime().AsTime()
	t.pull = &pullTask{head: rec.GetPullRequest().GetHead(), look: true, known: git.NewHash(rec.GetPullRequest().GetCommit())}
	return t, nil
}

// withoutInput makes a command that can be admitted again after its input was left out.
func withoutInput(cmd *eventsv1.DeploymentRequested) *eventsv1.DeploymentRequested {
	cmd = proto.CloneOf(cmd)
	if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RENDER || cmd.GetMode() == eventsv1.DeploymentRequested_MODE_CLAIMS {
		cmd.Input = emptyInput
	}
	return cmd
}

// lookAtRecord asks Git for a record's outcome. ended tells that the deployment is merged or overtaken, and all of it told.
func (s *Service) lookAtRecord(ctx context.Context, client PullRequests, rec *record) (p *proposal, ended bool, err error) {
	t, err := s.lookTask(rec)
	if err != nil {
		return nil, false, err
	}
	o, err := s.lanes.submit(ctx, t)
	switch {
	case errs.ReasonOf(err) == errorsv1.Reason_REASON_SUPERSEDED:
		return nil, true, s.endOvertaken(ctx, client, rec, err)
	case err != nil:
		return nil, false, err
	case o.pull != nil:
		return o.pull, false, nil
	}
	return nil, true, s.endMerged(ctx, client, rec, t, o)
}

// stillOpen notes what is new of an open pull request, and merges it where that is wanted and allowed.
func (s *Service) stillOpen(ctx context.Context, w *watcher, client PullRequests, rec *record, pr *forge.PullRequest, p *proposal) (bool, error) {
	next := proto.CloneOf(rec.OpenPullRequest)
	told := next.GetPullRequest()
	told.WaitsFor, next.ForeignCommit = pr.WaitsFor, ""
	switch {
	case p.foreign != nil:
		next.ForeignCommit = p.foreign.Hash.String()
		told.WaitsFor = fmt.Sprintf("a decision about commit %s of %s, which Towpath did not make and leaves alone: merge it too, or take it off %s",
			next.GetForeignCommit()[:12], p.foreign.Author.Name, told.GetHead())
	case p.commit.IsZero():
		told.WaitsFor = "its branch " + told.GetHead() + ", which somebody has deleted: restore it, or deploy again"
	default:
		told.Commit, next.Base = p.commit.String(), p.base.String()
		if rec.GetCommand().GetRepository().GetForge().GetAutoMerge() {
			merged, why, err := s.autoMerge(ctx, client, rec, pr, p)
			if err != nil {
				return false, err
			}
			if merged {
				_, ended, err := s.lookAtRecord(ctx, client, rec)
				return ended, err
			}
			told.WaitsFor = why
		}
	}
	if proto.Equal(next, rec.OpenPullRequest) {
		s.clearStuck(ctx, rec)
		if !w.restarted {
			return false, nil
		}
		w.restarted = false
		return false, s.tellPull(ctx, rec.dep, told)
	}
	w.restarted = false
	told.Time = timestamppb.Now()
	if err := s.putRecord(ctx, rec.dep, next); err != nil {
		return false, err
	}
	s.clearStuck(ctx, rec)
	return false, s.tellPull(ctx, rec.dep, told)
}

// autoMerge merges the commit that was looked at, and no other. What the service does not allow yet is what the pull request waits
// for.
func (s *Service) autoMerge(ctx context.Context, client PullRequests, rec *record, pr *forge.PullRequest, p *proposal) (merged bool, why string, err error) {
	err = client.Merge(ctx, pr.Number, forge.Merge{
		Method: mergeMethod(rec.GetCommand().GetRepository().GetForge().GetMergeMethod()), HeadCommit: p.commit.String(),
		Title: pr.Title, Body: s.mergeBody(rec),
	})
	switch {
	case err == nil:
		return true, "", nil
	case errs.Is(err, errs.Conflict):
		return false, "", nil // the service has not seen the new head yet
	case permanent(err):
		var e *errs.Error
		if errors.As(err, &e) && e.Meta["waits_for"] != "" {
			return false, e.Meta["waits_for"], nil
		}
		return false, errs.Message(err), nil
	}
	return false, "", err
}

func mergeMethod(m committerv1.Forge_MergeMethod) forge.MergeMethod {
	switch m {
	case committerv1.Forge_MERGE_METHOD_SQUASH:
		return forge.Squash
	case committerv1.Forge_MERGE_METHOD_REBASE:
		return forge.Rebase
	default:
		return forge.MergeCommit
	}
}

// tellStuck shows why nobody can tell what becomes of a pull request; the deployment waits.
func (s *Service) tellStuck(ctx context.Context, w *watcher, rec *record, err error) {
	if kind := errs.KindOf(err); ctx.Err() != nil || kind == errs.Conflict || kind == errs.Cancelled {
		return // that is between the processes, and over soon
	}
	name := rec.GetCommand().GetDeployment()
	ev := &eventsv1.DeploymentWaiting{Deployment: name, Stage: stagePull, Reason: "the pull request cannot be looked at: " + errs.Message(err),
		Attempts: int32(min(w.failures+1, 1<<30))}
	if !s.waiting.changed(name, stagePull+"\n"+ev.GetReason()) {
		return
	}
	id := fmt.Sprintf("%s/waiting/%d", name, time.Now().UnixNano())
	if err := s.publish(ctx, rec.dep, typeWaiting, id, name, ev); err != nil {
		s.waiting.forget(name)
		s.log.Info("a waiting deployment could not be shown", "deployment", name, "error", err)
	}
}

// clearStuck takes back what tellStuck showed.
func (s *Service) clearStuck(ctx context.Context, rec *record) {
	name := rec.GetCommand().GetDeployment()
	if !s.waiting.has(name) {
		return
	}
	id := fmt.Sprintf("%s/waiting/%d", name, time.Now().UnixNano())
	if err := s.publish(ctx, rec.dep, typeWaiting, id, name, &eventsv1.DeploymentWaiting{Deployment: name, Stage: stagePull}); err == nil {
		s.waiting.forget(name)
	}
}

// shortDigest shortens a text that makes an id.
func shortDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
