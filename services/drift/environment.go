package drift

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// sighting is an event that came while the environment was being changed. A removal has no object.
type sighting struct {
	gvr     schema.GroupVersionResource
	object  *unstructured.Unstructured
	uid     types.UID
	version uint64
}

// orphan is an object of ours that is no longer declared.
type orphan struct {
	finding *driftv1.Finding
	gvr     schema.GroupVersionResource
}

// environment keeps one environment's cluster at what Git says. One goroutine does everything that changes the cluster, in
// turn; events are compared by whoever brings them.
type environment struct {
	name string
	svc  *Service
	log  *slog.Logger
	wake chan struct{} // there may be something to sync
	look chan struct{} // there may be something to attend to
	ops  chan func(ctx context.Context)
	done chan struct{} // closed at the end of run
	// read are files by tree, of a desired state that could not be read whole yet. It belongs to run.
	read map[string][]*committerv1.File

	mu      sync.Mutex
	desired *eventsv1.DesiredState      // what should be
	given   *eventsv1.EnvironmentPolicy // how it is treated; nil for as its deployment said
	synced  *eventsv1.DesiredState      // what was applied last; nil for never
	// syncTime is when synced was applied.
	syncTime time.Time
	cluster  *cluster
	objects  map[objectKey]*tracked
	orphans  map[objectKey]orphan
	sweeper  *wire.Decoder // while a sweep looks at an object: its decoder, which lends only
	// busy names what is changing the cluster now, "" when nothing is. Meanwhile findings stay as they are, because half-done work looks
	// like drift; what happens is kept in late and looked at afterwards.
	busy     string
	late     map[objectKey]sighting
	failed   error // why the last attempt ended; nil when it went well
	attempts int
	down     error // why the cluster cannot be reached
	told     *eventsv1.EnvironmentHealth
	waiting  string // the reason that was told last
	holdup   string // what a removal waits for
	gone     bool   // removed from the cluster; nothing is told any more
	sweepDue bool   // all objects are to be looked at again
	contests map[string]*contest
	quiet    quiet
	decided  decider // who has findings put back, while that is being done
	explain  schedule
	claims   claimWork
	surveyed bool      // unmanaged objects that are there have been looked for
	opineAt  time.Time // when the server is asked again what it makes of objects; zero for never
	// auditDue says that the audit log has something new about objects in the namespace.
	auditDue atomic.Bool
	engine   engineState
	ran      lastRun
	place    // where it is looked after
}

func newEnvironment(s *Service, name string) *environment {
	return &environment{
		name: name, svc: s, log: s.cfg.Log.With("environment", name),
		wake: make(chan struct{}, 1), look: make(chan struct{}, 1), done: make(chan struct{}),
		ops: make(chan func(context.Context)), objects: map[objectKey]*tracked{}, orphans: map[objectKey]orphan{},
		late: map[objectKey]sighting{}, contests: map[string]*contest{},
	}
}

// want takes a newer desired state; an older one, or one that is known, changes nothing.
func (e *environment) want(d *eventsv1.DesiredState) {
	if d.GetClaimsOnly() {
		e.wantClaims(d)
		return
	}
	e.mu.Lock()
	if e.desired != nil && d.GetGeneration() < e.desired.GetGeneration() {
		e.mu.Unlock()
		return
	}
	if e.desired.GetGeneration() != d.GetGeneration() {
		e.waiting = "" // what keeps this deployment waiting is told even if it is what kept the one before
	}
	e.desired, e.attempts, e.ran.refused = d, 0, 0
	e.overtakeClaims()
	e.mu.Unlock()
	poke(e.wake)
}

// poke makes run look again.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// do runs f in turn with syncs and waits for it. Once begun, f goes on when the caller leaves: half of a sync or revert helps
// nobody.
func (e *environment) do(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	select {
	case e.ops <- func(run context.Context) { done <- f(run) }:
	case <-e.done:
		return notHere(e.name)
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
)

// run is the environment's goroutine.
func (e *environment) run(ctx context.Context) {
	defer close(e.done)
	retry, tick := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	retry.Stop()
	tick.Stop()
	e.recall(ctx)
	defer retry.Stop()
	defer tick.Stop()
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case op := <-e.ops:
			op(ctx)
		case <-e.wake:
			due = true
		case <-retry.C:
			due = true
		case <-e.look:
		case <-tick.C:
		}
		if due {
			gone, err := e.settle(ctx)
			if gone && e.svc.forget(e) {
				return
			}
			if claims := e.settleClaims(ctx, false); err == nil {
				err = claims
			}
			if gone {
				poke(e.wake) // it is wanted again since
			}
			if pause, again := e.backoff(err); err != nil && again {
				retry.Reset(pause)
			}
		}
		if ctx.Err() == nil {
			e.catchUp(ctx)
			e.attend(ctx)
			tick.Reset(e.nextLook())
		}
	}
}

// passes reports whether an error may be over at the next attempt, without anybody doing something.
func passes(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Conflict, errs.Timeout:
		return true
	default:
		return false
	}
}

// settle brings the cluster to the desired state if it is not there. gone says that the environment was removed.
func (e *environment) settle(ctx context.Context) (gone bool, err error) {
	e.mu.Lock()
	want, synced := e.desired, e.synced
	again := e.failed != nil && e.policy().automatic || e.engineDue()
	e.mu.Unlock()
	switch {
	case want == nil:
		return false, nil // there are claims only
	case want.GetRemoved():
		err = e.remove(ctx, want)
		gone = err == nil
	case again || synced == nil || synced.GetGeneration() != want.GetGeneration() || synced.GetTree() != want.GetTree():
		err = e.sync(ctx, want, false)
	default:
		return false, nil
	}
	e.note(ctx, want, err)
	return gone, err
}

// note keeps the outcome of an attempt, and tells why a deployment waits or that it failed.
func (e *environment) note(ctx context.Context, d *eventsv1.DesiredState, err error) {
	if err != nil && ctx.Err() != nil {
		return // we are being stopped; that is nobody's failure
	}
	if errors.Is(err, errUnderWay) {
		e.noteUnderWay(d)
		return
	}
	e.mu.Lock()
	e.failed = err
	if err == nil {
		e.attempts, e.waiting = 0, ""
		e.mu.Unlock()
		e.tell()
		return
	}
	e.attempts++
	if !passes(err) {
		e.ran.refused++
	}
	attempts, reason := e.attempts, errs.Message(err)
	repeated := e.waiting == reason
	e.waiting = reason
	e.mu.Unlock()
	e.log.Warn("the cluster could not be brought to what Git says", "generation", d.GetGeneration(), "attempt", attempts, "error", err)
	e.tell()
	if !repeated {
		e.announceProblem(d, err, reason, attempts)
	}
}

// clusterChanged hears that the cluster went away (err says why) or is back.
func (e *environment) clusterChanged(err error) {
	e.mu.Lock()
	e.down = err
	if err == nil {
		for _, t := range e.objects {
			t.version = 0 // a cluster that was restored from a backup counts from an earlier version on
		}
	}
	e.mu.Unlock()
	e.tell()
	if err == nil {
		// What waited goes on at once instead of at its next retry. The objects are looked at by the lists that the watches begin
		// anew with, one for each kind, and not by one for each kind and environment.
		poke(e.wake)
	}
}

// lookAgain has all objects read and compared soon, whatever was seen of them.
func (e *environment) lookAgain() {
	e.mu.Lock()
	for _, t := range e.objects {
		t.specHash = 0
	}
	e.sweepDue = true
	e.mu.Unlock()
	poke(e.look)
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
	for k, s := range e.late {
		e.see(k, s, resolutionOf(what))
	}
	clear(e.late)
	e.decided = decider{}
	e.mu.Unlock()
	e.tell()
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
	if e.desired == nil || e.gone {
		return
	}
	shown := e.shown()
	now := &eventsv1.EnvironmentHealth{
		Environment: e.name, Deployment: shown.GetDeployment(), Generation: shown.GetGeneration(), Findings: int32(e.countFindings()),
	}
	now.Sync, now.Health, now.Message = e.summary()
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
