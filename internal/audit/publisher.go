package audit

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// EventType is the type of the events by which services without the trail send it what they did.
const EventType = "audit"

// Subjects are those of all audit events, for the consumer's filter.
const Subjects = "towpath.evt.*.*." + EventType

// bus is what a Publisher needs of the connection to the event server.
type bus interface {
	Publish(ctx context.Context, m events.Message) error
}

// Publisher records the calls of a service that does not keep the trail: it sends each as an event, which the catalog takes in.
// An answer leaves when the event server has the event on disk. During an outage of that server the answers leave all the same,
// and their events wait here, in memory, for its end.
type Publisher struct {
	bus      bus
	source   string
	log      *slog.Logger
	refusals Refusals
	waiting  chan *catalogv1.AuditEvent
}

const (
	// publishWait bounds how long an answer waits for its record.
	publishWait = 3 * time.Second
	// maxWaiting bounds what an outage can make us keep. What is more is in the log only.
	maxWaiting = 10_000
)

// NewPublisher makes the auditor of a service, such as "drift". Run must run for what could not be sent at once.
func NewPublisher(b bus, service string, log *slog.Logger) *Publisher {
	return &Publisher{bus: b, source: "//towpath.dev/" + service, log: log, waiting: make(chan *catalogv1.AuditEvent, maxWaiting)}
}

// Audits implements rpc.Auditor.
func (p *Publisher) Audits(fullMethod string) bool { return Mutates(fullMethod) }

// Begin implements rpc.Auditor.
func (p *Publisher) Begin(ctx context.Context, _ *rpc.Call) context.Context { return ctx }

// End implements rpc.Auditor.
func (p *Publisher) End(ctx context.Context, c *rpc.Call, err error) {
	var left int64
	if err != nil {
		var ok bool
		if left, ok = p.refusals.Admit(status.Code(err)); !ok {
			return
		}
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	e := NewEvent(NewID(now), now, c)
	if err != nil {
		Failed(e, err)
	}
	LeftOutBefore(e, left)
	if c.Request != nil {
		if e.Request, err = JSON(Redact(c.Request)); err != nil {
			p.log.Warn("a request is not in the audit trail", "method", c.Method, "error", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishWait)
	defer cancel()
	if err := p.send(ctx, e); err != nil {
		p.keep(e, err)
	}
}

// keep lets an event wait for better times.
func (p *Publisher) keep(e *catalogv1.AuditEvent, err error) {
	select {
	case p.waiting <- e:
		p.log.Warn("an audit event could not be sent; it is tried again", "event", e.GetName(), "error", err)
	default:
		p.lose(e, err)
	}
}

// lose writes down what cannot be sent any more, so that it is somewhere.
func (p *Publisher) lose(e *catalogv1.AuditEvent, err error) {
	p.log.Error("an audit event is lost to the trail", "event", e.GetName(), "actor", e.GetActor(), "method", e.GetMethod(),
		"resource", e.GetResource(), "code", e.GetCode(), "request_id", e.GetRequestId(), "error", err)
}

// Run sends what waits, until ctx ends. What still waits then is written to the log.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			for {
				select {
				case e := <-p.waiting:
					p.lose(e, ctx.Err())
				default:
					return nil
				}
			}
		case e := <-p.waiting:
			for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
				err := p.send(ctx, e)
				if err == nil {
					break
				}
				select {
				case <-ctx.Done():
					p.lose(e, err)
				case <-time.After(wait):
					continue
				}
				break
			}
		}
	}
}

// send publishes an event. Its name is the message's id: the server drops a copy, and the catalog a second delivery.
func (p *Publisher) send(ctx context.Context, e *catalogv1.AuditEvent) error {
	app, env := place(e.GetResource())
	subject, err := events.EventSubject(app, env, EventType)
	if err != nil {
		if subject, err = events.EventSubject(events.NoToken, events.NoToken, EventType); err != nil {
			return err
		}
	}
	return p.bus.Publish(ctx, events.Message{
		Subject: subject, ID: e.GetName(), Type: "dev.towpath." + EventType, Source: p.source, Resource: e.GetName(),
		Time: e.GetTime().AsTime(), Body: e,
	})
}

// place gives application and environment of a resource.
func place(resource string) (app, env string) {
	app, env = events.NoToken, events.NoToken
	p := strings.Split(resource, "/")
	if len(p) >= 2 && p[0] == "applications" {
		app = p[1]
	}
	if len(p) >= 4 && p[2] == "environments" {
		env = p[3]
	}
	return app, env
}
