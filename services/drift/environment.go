package drift

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// tracked is one object of an environment: what it should be, and what was last seen of it. The live object is not kept.
// It is guarded by its environment's mutex.
type tracked struct {
	key      objectKey
	gvr      schema.GroupVersionResource
	desired  *unstructured.Unstructured
	baseline compare.Baseline
	prepared *compare.Prepared

	uid      types.UID
	version  uint64 // resourceVersion last looked at
	specHash uint64 // of the version last compared; 0 for none
	exists   bool
	health   driftv1.Health
	message  string
	findings map[string]*driftv1.Finding // by id
	// latest is an event that came while the environment was being changed, goneUID a removal; they are looked at afterwards.
	latest  *unstructured.Unstructured
	goneUID types.UID
	// applied is the server's answer to our apply until the whole sync is through.
	applied *unstructured.Unstructured
}

// environment keeps one environment's cluster at what Git says. One goroutine does everything that changes the cluster, in
// turn; events are compared by whoever brings them.
type environment struct {
	name string
	svc  *Service
	log  *slog.Logger
	wake chan struct{}
	ops  chan func(ctx context.Context)

	mu      sync.Mutex
	desired *eventsv1.DesiredState // what should be
	synced  *eventsv1.DesiredState // what was applied last; nil for never
	// syncTime is when synced was applied.
	syncTime time.Time
	cluster  *cluster
	objects  map[objectKey]*tracked
	// orphans are objects of ours that are no longer declared.
	orphans map[objectKey]*driftv1.Finding
	// busy names what is changing the cluster now, "" when nothing is. Meanwhile findings stay as they are, because half-done work looks
	// like drift.
	busy     string
	failed   error // why the last attempt ended; nil when it went well
	attempts int
	down     error // why the cluster cannot be reached
	told     *eventsv1.EnvironmentHealth
	waiting  string // the reason that was told last
}

func newEnvironment(s *Service, name string) *environment {
	return &environment{
		name: name, svc: s, log: s.cfg.Log.With("environment", name), wake: make(chan struct{}, 1),
		ops: make(chan func(context.Context)), objects: map[objectKey]*tracked{}, orphans: map[objectKey]*driftv1.Finding{},
	}
}

// want takes a newer desired state; an older one, or one that is known, changes nothing.
func (e *environment) want(d *eventsv1.DesiredState) {
	e.mu.Lock()
	if e.desired != nil && d.GetGeneration() < e.desired.GetGeneration() {
		e.mu.Unlock()
		return
	}
	e.desired, e.attempts = d, 0
	e.mu.Unlock()
	e.poke()
}

// poke makes run look again.
func (e *environment) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// do runs f in turn with syncs and waits for it.
func (e *environment) do(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	op := func(run context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(run, cancel)()
		done <- f(ctx)
	}
	select {
	case e.ops <- op:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 15 * time.Second
	// refusedRetry is for what the cluster refused: somebody may mend the cluster (a missing kind, a quota) without a new commit.
	refusedRetry = 30 * time.Second
)

// run is the environment's goroutine.
func (e *environment) run(ctx context.Context) {
	retry := time.NewTimer(0)
	<-retry.C
	for {
		select {
		case <-ctx.Done():
			return
		case op := <-e.ops:
			op(ctx)
			continue
		case <-e.wake:
		case <-retry.C:
		}
		gone, err := e.settle(ctx)
		if gone {
			e.svc.forget(e)
			return
		}
		if err != nil && ctx.Err() == nil {
			retry.Reset(e.backoff(err))
		}
	}
}

func (e *environment) backoff(err error) time.Duration {
	if !errs.Is(err, errs.Unavailable) {
		return refusedRetry
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return min(firstRetry<<min(e.attempts, 10), lastRetry)
}

// settle brings the cluster to the desired state if it is not there, and then reverts findings where the environment heals
// itself. gone says that the environment was removed.
func (e *environment) settle(ctx context.Context) (gone bool, err error) {
	e.mu.Lock()
	want, synced := e.desired, e.synced
	e.mu.Unlock()
	switch {
	case want.GetRemoved():
		err = e.remove(ctx, want)
		gone = err == nil
	case synced == nil || synced.GetGeneration() != want.GetGeneration() || synced.GetTree() != want.GetTree():
		err = e.sync(ctx, want, false)
	}
	e.note(want, err)
	if err == nil && !gone && want.GetSelfHeal() && e.openFindings() > 0 {
		_, err = e.revert(ctx, nil)
	}
	return gone, err
}

// note keeps the outcome of an attempt, and tells why a deployment waits or that it failed.
func (e *environment) note(d *eventsv1.DesiredState, err error) {
	e.mu.Lock()
	e.failed = err
	if err == nil {
		e.attempts, e.waiting = 0, ""
		e.mu.Unlock()
		e.tell()
		return
	}
	e.attempts++
	attempts, reason := e.attempts, errs.Message(err)
	repeated := e.waiting == reason
	e.waiting = reason
	e.mu.Unlock()
	e.log.Warn("the cluster could not be brought to what Git says", "generation", d.GetGeneration(), "attempt", attempts, "error", err)
	e.tell()
	if repeated {
		return
	}
	e.announceProblem(d, err, reason, attempts)
}

// clusterChanged hears that the cluster went away (err says why) or is back.
func (e *environment) clusterChanged(err error) {
	e.mu.Lock()
	e.down = err
	e.mu.Unlock()
	e.tell()
	if err == nil {
		e.poke() // what waited goes on at once instead of at its next retry
		go e.resweep()
	}
}

// resweep looks at all objects after an outage; watches resume by themselves but may have missed removals.
func (e *environment) resweep() {
	ctx, cancel := context.WithTimeout(e.svc.ctx, time.Minute)
	defer cancel()
	err := e.do(ctx, func(ctx context.Context) error {
		if e.cluster == nil || e.synced == nil {
			return nil
		}
		return e.sweep(ctx)
	})
	if err != nil {
		e.log.Warn("the objects could not all be looked at after an outage", "error", err)
	}
}

// begin marks the environment as being changed.
func (e *environment) begin(what string) {
	e.mu.Lock()
	e.busy = what
	e.mu.Unlock()
	e.tell()
}

// end lets events in again and looks at those that came meanwhile.
func (e *environment) end() {
	e.mu.Lock()
	what := e.busy
	e.busy = ""
	for _, t := range e.objects {
		late, gone := t.latest, t.goneUID
		t.latest, t.goneUID = nil, ""
		switch {
		case late != nil:
			e.judge(t, late, resolutionOf(what))
		case gone != "" && gone == t.uid:
			e.judge(t, nil, resolutionOf(what))
		}
	}
	e.mu.Unlock()
	e.tell()
}

func (e *environment) openFindings() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.countFindings()
}

// countFindings needs the mutex.
func (e *environment) countFindings() int {
	n := len(e.orphans)
	for _, t := range e.objects {
		n += len(t.findings)
	}
	return n
}

// tell publishes sync and health when they have changed.
func (e *environment) tell() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.desired == nil {
		return
	}
	st := e.status()
	now := &eventsv1.EnvironmentHealth{
		Environment: e.name, Deployment: e.shown().GetDeployment(), Generation: e.shown().GetGeneration(),
		Sync: st.GetSync(), Health: st.GetHealth(), Message: st.GetMessage(), Findings: st.GetFindings(),
	}
	if proto.Equal(now, e.told) {
		return
	}
	e.told = proto.CloneOf(now)
	at := e.svc.cfg.Now()
	now.Time = timestamppb.New(at)
	e.svc.out.send(announcement{
		env: e.name, typ: "environment.health", resource: e.name, body: now, time: at,
		id: e.name + "/health@" + strconv.FormatInt(at.UnixNano(), 10),
	})
}

// shown is the state that the cluster is at, or on its way to.
func (e *environment) shown() *eventsv1.DesiredState {
	if e.synced != nil {
		return e.synced
	}
	return e.desired
}
