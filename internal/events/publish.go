package events

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const scope = "github.com/towpath-dev/towpath/internal/events"

// propagator carries the trace in W3C headers, whatever the process has set up globally: events are read by others.
var propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// Publish stores a message and returns when the server has it on disk. For an event it then sends the JSON copy to plain
// subscribers of towpath.json.>, at most once. A message whose id was stored within the last two minutes is dropped
// without an error.
//
// Errors: Invalid for a message that cannot be sent (REASON_TOO_LARGE with limit_bytes for a body over the limit), Denied
// when this credential may not publish the subject, Unavailable (REASON_EVENTS_UNAVAILABLE) when it is not known to be
// stored: publish it again with the same id.
func (b *Bus) Publish(ctx context.Context, m Message) (err error) {
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	if err := m.check(); err != nil {
		return err
	}
	ctx, span := otel.Tracer(scope).Start(ctx, "publish "+m.Type, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(attribute.String("messaging.destination.name", m.Subject), attribute.String("messaging.message.id", m.ID)))
	defer func() { endSpan(span, err) }()
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Body)
	if err != nil {
		return errs.InvalidField("body", "cannot be encoded").Because(err)
	}
	if err := admit(len(body)); err != nil {
		return err
	}
	msg := &nats.Msg{Subject: m.Subject, Header: m.header()}
	propagator.Inject(ctx, propagation.HeaderCarrier(msg.Header))
	if err := b.attach(ctx, msg, m.ID, body); err != nil {
		return err
	}
	ack, err := b.store(ctx, msg, m.ID)
	if err != nil {
		return err
	}
	if !ack.Duplicate {
		b.mirror(m, msg.Header)
	}
	return nil
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, errs.KindOf(err).String())
	}
	span.End()
}

// attach puts the body into the message, or into the object store with a reference in the message.
func (b *Bus) attach(ctx context.Context, msg *nats.Msg, id string, body []byte) error {
	stored, encoding := b.zstd.pack(body)
	if encoding != "" {
		msg.Header.Set(headerEncoding, encoding)
	}
	if len(stored) <= MaxInline {
		msg.Data = stored
		return nil
	}
	if s := streamOf(msg.Subject); s == StreamDesired || s == StreamPulls || s == StreamPolicies || s == StreamOpen {
		// Objects have an age limit and these have none: the reference would outlive the body.
		return tooLarge(len(stored), MaxInline, "the desired state has %d bytes compressed, the limit is %d; carry a reference to the tree, not its files", len(stored), MaxInline)
	}
	name := objectName(msg.Subject, id, stored)
	msg.Header.Set(headerObject, name)
	put := func(ctx context.Context) error {
		bucket, err := b.js.ObjectStore(ctx, payloadBucket)
		if err != nil {
			return err
		}
		_, err = bucket.Put(ctx, jetstream.ObjectMeta{Name: name}, bytes.NewReader(stored))
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*b.cfg.Timeout)
	defer cancel()
	err := put(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		if err = b.Ensure(ctx); err == nil {
			err = put(ctx)
		}
	}
	return mapErr(ctx, "store a large body", err)
}

// store publishes and waits for the acknowledgement. A missing stream is made once.
func (b *Bus) store(ctx context.Context, msg *nats.Msg, id string) (*jetstream.PubAck, error) {
	ctx, done := b.watchRefusal(ctx, msg.Subject)
	defer done()
	// The expected stream is stored as a header, too: a copy that a server is made to deliver to a subject of another
	// stream is refused there.
	publish := func() (*jetstream.PubAck, error) {
		return b.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(streamOf(msg.Subject)))
	}
	ack, err := publish()
	if errors.Is(err, jetstream.ErrNoStreamResponse) && b.Connected() {
		if err = b.Ensure(ctx); err == nil {
			ack, err = publish()
		}
	}
	if err != nil {
		return nil, mapErr(ctx, "store a message", err)
	}
	return ack, nil
}

// mirror sends the JSON copy. It may be lost; the stored event is the truth.
func (b *Bus) mirror(m Message, stored nats.Header) {
	subject := JSONSubject(m.Subject)
	if subject == "" {
		return
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}}
	for k, v := range stored {
		msg.Header[k] = v
	}
	for _, k := range []string{headerEncoding, headerObject, headerSealed, jetstream.MsgIDHeader} {
		msg.Header.Del(k)
	}
	msg.Header.Set(headerContentType, contentJSON)
	data, err := protojson.Marshal(m.Body)
	if err != nil || int64(len(data)) > b.nc.MaxPayload()-16<<10 {
		data = nil
		msg.Header.Set(headerOmitted, "the body is too large for a plain message; read the stored event")
	}
	msg.Data = data
	if err := b.nc.PublishMsg(msg); err != nil {
		b.log.Warn("the JSON copy of an event was not sent", "subject", subject, "id", m.ID, "error", err)
	}
}

// body gives the uncompressed body of a stored message: Invalid or NotFound when it can never be had, Unavailable when it
// cannot be had now. A dead letter whose body is lost has none, without an error.
func (b *Bus) body(ctx context.Context, e Envelope, r raw) ([]byte, error) {
	body, err := b.readBody(ctx, r)
	if e.DeadLetter != nil && (errs.Is(err, errs.Invalid) || errs.Is(err, errs.NotFound)) {
		return nil, nil
	}
	return body, err
}

func (b *Bus) readBody(ctx context.Context, r raw) ([]byte, error) {
	stored := r.data
	if name := r.header.Get(headerObject); name != "" {
		var err error
		if stored, err = b.fetchObject(ctx, name); err != nil {
			return nil, err
		}
	}
	body, err := b.zstd.unpack(stored, r.header.Get(headerEncoding))
	if err != nil {
		return nil, err
	}
	if err := admit(len(body)); err != nil {
		return nil, err
	}
	return body, nil
}

func (b *Bus) fetchObject(ctx context.Context, name string) ([]byte, error) {
	if !b.cfg.Role.mayReadPayloads() {
		return nil, denied("read", "bodies too large for a message", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, 4*b.cfg.Timeout)
	defer cancel()
	var stored []byte
	bucket, err := b.js.ObjectStore(ctx, payloadBucket)
	if err == nil {
		stored, err = bucket.GetBytes(ctx, name)
	}
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
		return nil, errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "the body %s is no longer stored; have it sent again", name)
	case errors.Is(err, jetstream.ErrDigestMismatch):
		return nil, poison("the stored body %s is damaged", name).Because(err)
	case err != nil:
		return nil, unavailable("read a large body", err) // whatever it is, it is no fault of the message
	}
	return stored, checkObject(name, stored)
}

// dropObject removes the body of a settled command. A failure leaves it to the bucket's age limit.
func (b *Bus) dropObject(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	bucket, err := b.js.ObjectStore(ctx, payloadBucket)
	if err == nil {
		err = bucket.Delete(ctx, name)
	}
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		b.log.Warn("a large body was not removed; it expires by age", "object", name, "error", err)
	}
}
