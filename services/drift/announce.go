package drift

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// announcement is one event to be published.
type announcement struct {
	env, typ, id, resource string
	time                   time.Time
	body                   proto.Message
	term                   int // see openFindings.terms
}

// maxQueued bounds the memory while the event server is away. Beyond it the oldest are dropped: sync, health and findings are told anew
// when they change, and after a restart.
const maxQueued = 100_000

// announcer publishes events in order, from memory, so that nobody who looks at a cluster waits for the event server.
type announcer struct {
	bus  bus
	log  *slog.Logger
	wake chan struct{}
	open *openFindings
	save atomic.Bool // write open findings now

	mu    sync.Mutex
	queue []announcement
	now   string // the environment whose event is being published
}

func newAnnouncer(b bus, log *slog.Logger) *announcer {
	return &announcer{bus: b, log: log, wake: make(chan struct{}, 1), open: newOpenFindings()}
}

func (a *announcer) send(x announcement) {
	x.term = a.open.term(x.env)
	a.mu.Lock()
	if len(a.queue) == maxQueued {
		a.queue = a.queue[1:]
	}
	a.queue = append(a.queue, x)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// lastWords is how long the announcer goes on at the end of the service to publish what is queued.
const lastWords = 2 * time.Second

// run publishes until ctx ends, then what is left once stopped says that nobody sends any more.
func (a *announcer) run(ctx context.Context, stopped <-chan struct{}) {
	a.drain(ctx)
	<-stopped
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	for a.next(ctx) {
	}
	a.saveOpen(ctx, true)
}

// next publishes the oldest one; false when there is none or ctx has ended.
func (a *announcer) next(ctx context.Context) bool {
	a.mu.Lock()
	if len(a.queue) == 0 || ctx.Err() != nil {
		a.mu.Unlock()
		return false
	}
	x := a.queue[0]
	a.queue[0] = announcement{}
	a.queue = a.queue[1:]
	a.now = x.env
	a.mu.Unlock()
	published := a.publish(ctx, x)
	if published {
		a.open.note(x)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = ""
	if !published {
		a.queue = append([]announcement{x}, a.queue...)
	}
	return true
}

func (a *announcer) drain(ctx context.Context) {
	tick := time.NewTimer(saveEvery)
	defer tick.Stop()
	for {
		more := a.next(ctx)
		a.saveOpen(ctx, !more && a.save.Swap(false))
		if more {
			continue
		}
		if a.open.waiting("") {
			tick.Reset(saveEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-tick.C:
		}
	}
}

const (
	firstPublishRetry = 50 * time.Millisecond
	lastPublishRetry  = 2 * time.Second
)

// publish tries until it is stored or can never be; false says that ctx ended before.
func (a *announcer) publish(ctx context.Context, x announcement) bool {
	parts := strings.Split(x.env, "/")
	subject, err := events.EventSubject(parts[1], parts[3], x.typ)
	if err != nil {
		a.log.Error("an event cannot be published", "type", x.typ, "error", err)
		return true
	}
	m := events.Message{
		Subject: subject, ID: x.id, Type: "dev.towpath." + x.typ, Source: "//towpath.dev/drift",
		Resource: x.resource, Time: x.time, Body: x.body,
	}
	return a.post(ctx, x, m)
}

// announceSynced tells that the cluster is at a desired state.
func (e *environment) announceSynced(want *eventsv1.DesiredState, started, ended time.Time, n counts) {
	e.svc.out.send(announcement{
		env: e.name, typ: "environment.synced", resource: e.name, time: ended,
		id: want.GetDeployment() + "/synced@" + strconv.FormatInt(ended.UnixNano(), 10),
		body: &eventsv1.EnvironmentSynced{
			Environment: e.name, Deployment: want.GetDeployment(), Generation: want.GetGeneration(), Commit: want.GetCommit(),
			Tree: want.GetTree(), StartTime: timestamppb.New(started), EndTime: timestamppb.New(ended),
			Created: n.created, Changed: n.changed, Pruned: n.pruned,
		},
	})
}

func (e *environment) announceRemoved(want *eventsv1.DesiredState, kept ...string) {
	e.svc.out.send(announcement{
		env: e.name, typ: "environment.removed", resource: e.name, time: e.svc.cfg.Now(), id: want.GetDeployment() + "/removed",
		body: &eventsv1.EnvironmentRemoved{
			Environment: e.name, Deployment: want.GetDeployment(), Generation: want.GetGeneration(), Retained: kept,
		},
	})
}

// announceProblem tells why a deployment waits, or that it ended.
func (e *environment) announceProblem(d *eventsv1.DesiredState, err error, reason string, attempts int) {
	now := e.svc.cfg.Now()
	x := announcement{env: e.name, resource: d.GetDeployment(), time: now}
	if k := errs.KindOf(err); k == errs.Unavailable || k == errs.Conflict || k == errs.Timeout {
		x.typ, x.id = "deployment.waiting", d.GetDeployment()+"/waiting@"+strconv.FormatInt(now.UnixNano(), 10)
		x.body = &eventsv1.DeploymentWaiting{Deployment: d.GetDeployment(), Stage: "sync", Reason: reason, Attempts: int32(attempts)}
	} else {
		x.typ, x.id = "deployment.failed", d.GetDeployment()+"/failed/sync@"+strconv.FormatInt(now.UnixNano(), 10)
		x.body = &eventsv1.DeploymentFailed{Deployment: d.GetDeployment(), Stage: "sync", Reason: rpc.ReasonName(errs.ReasonOf(err)), Message: reason}
	}
	e.svc.out.send(x)
}
