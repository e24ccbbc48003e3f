package committer

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

const (
	// maxHealth bounds the branches that are remembered; the one that was used least lately is forgotten first.
	maxHealth = 10_000
	// maxWaits bounds the waiting deployments that are remembered. More are counted as far as they fit.
	maxWaits = 100_000
)

const (
	reachable   = committerv1.RepositoryHealth_STATE_REACHABLE
	unreachable = committerv1.RepositoryHealth_STATE_UNREACHABLE
	refusedNow  = committerv1.RepositoryHealth_STATE_REFUSED
)

// health is what this process knows of how branches do. It decides nothing: all of it may be lost at any moment. What it holds
// outlives the lanes, so that a branch that is seldom used has a last push all the same.
type health struct {
	mu    sync.Mutex
	byKey map[string]*list.Element // of *branch
	used  list.List                // the least lately used last
	waits map[string]queued        // by deployment
}

// branch is how one branch does.
type branch struct {
	key, name, shard string
	perMinute        int
	// checked is when the host was last asked anything, and problem what came of it; nil when it did as it was asked.
	checked time.Time
	problem *problem
	// refused is what the host refused of the last push. That the branch can still be read does not take it back, only another push.
	refused *problem
	pushed  time.Time
	took    time.Duration
	tip     string
	budget  rules.Budget
	foreign int
	// refusals counts what the host refused.
	refusals map[rules.Refusal]int
}

// problem is why an exchange with a host did not work, for people.
type problem struct {
	state committerv1.RepositoryHealth_State
	text  string
}

// queued is a deployment that is not in Git yet. It counts for every branch that it is to be written to.
type queued struct {
	keys        []string
	name, shard string
	since       time.Time
}

// of gives what is known of a branch, and makes it the most lately used. The caller holds mu.
func (h *health) of(l *lane) *branch {
	if h.byKey == nil {
		h.byKey, h.waits = map[string]*list.Element{}, map[string]queued{}
	}
	e := h.byKey[l.key]
	if e == nil {
		e = h.used.PushFront(&branch{key: l.key, shard: l.shard, refusals: map[rules.Refusal]int{}})
		h.byKey[l.key] = e
		if h.used.Len() > maxHealth {
			delete(h.byKey, h.used.Remove(h.used.Back()).(*branch).key) //nolint:forcetypeassert // nothing else is in the list
		}
	}
	h.used.MoveToFront(e)
	b := e.Value.(*branch) //nolint:forcetypeassert // nothing else is in the list
	b.name, b.perMinute = l.ref.GetName(), int(l.ref.GetPushBudget())
	return b
}

// asked notes how an exchange with the host ended that only read.
func (h *health) asked(ctx context.Context, l *lane, err error) {
	p, ok := l.problemOf(ctx, err)
	if !ok {
		return
	}
	now := l.svc.clock.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of(l)
	b.checked, b.problem = now, p
	b.count(err)
}

// pushed notes how a push ended.
func (h *health) pushed(ctx context.Context, l *lane, tip git.Hash, took time.Duration, err error) {
	p, ok := l.problemOf(ctx, err)
	now := l.svc.clock.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of(l)
	b.budget.Spend(now)
	if !ok {
		return
	}
	b.checked, b.problem, b.refused = now, p, nil
	b.count(err)
	switch {
	case p == nil && err == nil:
		b.pushed, b.took = now, took
		if !tip.IsZero() {
			b.tip = tip.String()
		}
	case p != nil && p.state == refusedNow:
		b.problem, b.refused = nil, p
	}
}

func (b *branch) count(err error) {
	if what, _, ok := refusalOf(err); ok {
		b.refusals[what]++
	}
}

// noted takes over what only the lane knows. It is called by the lane's goroutine.
func (h *health) noted(l *lane) {
	environments := map[string]bool{}
	for place := range l.reported {
		environments[rules.EnvironmentOf(place)] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of(l)
	b.foreign = len(environments)
	b.budget.Impose(l.budget.Imposed())
	if l.known {
		b.tip = treeText(l.tip)
	}
}

// waiting notes that a deployment is on its way to its branches.
func (h *health) waiting(t *task, since time.Time) {
	keys := []string{laneKey(t.cmd.GetRepository())}
	for _, p := range t.cmd.GetParts() {
		keys = append(keys, laneKey(p.GetRepository()))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waits == nil {
		h.byKey, h.waits = map[string]*list.Element{}, map[string]queued{}
	}
	if _, known := h.waits[t.cmd.GetDeployment()]; known || len(h.waits) >= maxWaits {
		return
	}
	ref := t.cmd.GetRepository()
	h.waits[t.cmd.GetDeployment()] = queued{keys: keys, name: ref.GetName(), shard: events.Shard(ref.GetUrl(), ref.GetBranch()), since: since}
}

// served notes that a deployment waits no longer: it is in Git, or failed.
func (h *health) served(deployment string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waits, deployment)
}

// leave forgets what waits for branches that another replica writes from now on: it knows it itself.
func (h *health) leave(shard string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, w := range h.waits {
		if w.shard == shard {
			delete(h.waits, key)
		}
	}
}

// state is the short of how a branch does.
func (b *branch) state() (committerv1.RepositoryHealth_State, string) {
	switch {
	case b.problem != nil && (b.problem.state == unreachable || b.refused == nil):
		return b.problem.state, b.problem.text
	case b.refused != nil:
		return b.refused.state, b.refused.text
	case b.checked.IsZero():
		return committerv1.RepositoryHealth_STATE_UNSPECIFIED, ""
	default:
		return reachable, ""
	}
}

// queue counts what waits, by branch, and gives since when the oldest does. The caller holds mu.
func (h *health) queue(count func(key string, since time.Time)) {
	for _, w := range h.waits {
		seen := map[string]bool{}
		for _, key := range w.keys {
			if !seen[key] {
				seen[key] = true
				count(key, w.since)
			}
		}
	}
}

// GetRepositoryHealth tells how a branch does, from what this process knows; it asks the host for nothing. Of a branch that another
// replica writes, it says who that is, and what it still knows itself. Errors: INVALID_ARGUMENT.
func (s *Service) GetRepositoryHealth(_ context.Context, r *committerv1.GetRepositoryHealthRequest) (*committerv1.RepositoryHealth, error) {
	ref := r.GetRepository()
	if _, err := git.NormaliseURL(ref.GetUrl()); err != nil {
		return nil, err
	}
	if err := git.ValidateBranch(ref.GetBranch()); err != nil {
		return nil, err
	}
	now := s.clock.now()
	key := laneKey(ref)
	out := &committerv1.RepositoryHealth{BudgetLeft: -1, PullRequests: s.pulls.open(key)}
	if ref.GetPushBudget() > 0 {
		out.BudgetLeft = ref.GetPushBudget()
	}
	out.Holder, _ = s.holder(ref)
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	s.health.queue(func(k string, since time.Time) {
		if k == key {
			out.Queued++
			if age := max(0, now.Sub(since)); age >= out.GetLag().AsDuration() {
				out.Lag = durationpb.New(age)
			}
		}
	})
	if e := s.health.byKey[key]; e != nil {
		e.Value.(*branch).fill(out, int(ref.GetPushBudget()), now) //nolint:forcetypeassert // nothing else is in the list
	}
	out.Problem = s.credentials.redact(out.GetProblem())
	return out, nil
}

func (b *branch) fill(out *committerv1.RepositoryHealth, perMinute int, now time.Time) {
	out.State, out.Problem = b.state()
	out.Tip, out.ForeignChanges = b.tip, int32(min(b.foreign, 1<<30))
	out.BudgetLeft = int32(b.budget.Left(perMinute, now))
	if !b.checked.IsZero() {
		out.CheckTime = timestamppb.New(b.checked)
	}
	if !b.pushed.IsZero() {
		out.PushTime, out.PushDuration = timestamppb.New(b.pushed), durationpb.New(b.took)
	}
}

// problemOf says what an exchange with the host means for the branch's health, nil for well; ok is false when it means nothing,
// because we gave up ourselves.
func (l *lane) problemOf(ctx context.Context, err error) (p *problem, ok bool) {
	if err == nil || errors.Is(err, git.ErrMoved) || errs.Is(err, errs.Invalid) && git.Answered(err) {
		return nil, true
	}
	secrets := l.svc.credentials.secrets(l.ref.GetCredentials())
	told := hostError(ctx, l.ref.GetBranch(), err, secrets)
	if errors.Is(told, context.Canceled) {
		return nil, false
	}
	p = &problem{state: unreachable, text: errs.Message(told)}
	var limit *git.Limited
	switch {
	case errors.As(err, &limit):
		p.state = reachable // it answers, and wants to be left alone
	case permanent(told):
		p.state = refusedNow
	case outage(told):
		if finding, remedy := onTheWay(err); finding != "" {
			p.text = rules.Redact(finding+"; "+remedy, secrets...)
		} else if cause := errors.Unwrap(err); cause != nil && git.Answered(cause) {
			p.text = rules.Redact(errs.Message(told)+": "+cause.Error(), secrets...)
		}
	default:
		return nil, false // of ours, and not of the host
	}
	return p, true
}

// open counts the open pull requests to a branch.
func (p *pulls) open(key string) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n int32
	for _, w := range p.watchers {
		if w.lane == key {
			n++
		}
	}
	return n
}
