package events

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/towpath-dev/towpath/internal/errs"
)

// The headers: CloudEvents 1.0, NATS binding, binary mode, and our own.
const (
	headerSpecVersion = "ce-specversion"
	headerID          = "ce-id"
	headerType        = "ce-type"
	headerSource      = "ce-source"
	headerSubject     = "ce-subject"
	headerTime        = "ce-time"
	headerContentType = "content-type"
	headerEncoding    = "content-encoding"

	// headerSealed repeats the NATS subject. Whoever may read a stream can have the server send stored messages to any
	// subject, as replies; such a copy arrives with the wrong seal and is never taken for a command.
	headerSealed = "towpath-sealed-subject"
	// headerObject names the body in the object store.
	headerObject = "towpath-object"
	// headerOmitted, on a JSON copy only, says why it has no body.
	headerOmitted = "towpath-omitted"

	headerDeadStream   = "towpath-dead-stream"
	headerDeadSubject  = "towpath-dead-subject"
	headerDeadSequence = "towpath-dead-sequence"
	headerDeadConsumer = "towpath-dead-consumer"
	headerDeadReason   = "towpath-dead-reason"
	headerDeadKind     = "towpath-dead-kind"
	headerDeadAttempts = "towpath-dead-attempts"
	headerDeadTime     = "towpath-dead-time"

	contentProtobuf = "application/protobuf"
	contentJSON     = "application/json"
)

// check reports all fields of a message that cannot be sent.
func (m Message) check() error {
	var fields []errs.Field
	add := func(path, problem string) {
		if problem != "" {
			fields = append(fields, errs.Field{Path: path, Problem: problem})
		}
	}
	add("subject", subjectProblem(m.Subject))
	switch streamOf(m.Subject) {
	case StreamCommands, StreamEvents, StreamDesired, StreamPulls, StreamPolicies, StreamOpen:
	default:
		add("subject", fmt.Sprintf("%q belongs to no stream; use the subject helpers of this package", m.Subject))
	}
	add("id", headerProblem(m.ID, true))
	add("type", headerProblem(m.Type, true))
	add("source", headerProblem(m.Source, true))
	add("resource", headerProblem(m.Resource, false))
	if m.Body == nil {
		add("body", "is missing")
	}
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	return nil
}

// headerProblem: a header value is printable ASCII here, so that every client reads the same.
func headerProblem(v string, required bool) string {
	if v == "" && required {
		return "is empty"
	}
	if len(v) > 512 {
		return fmt.Sprintf("has %d characters; use at most 512", len(v))
	}
	for _, r := range v {
		if r < ' ' || r > '~' {
			return fmt.Sprintf("has %q; use printable ASCII", r)
		}
	}
	return ""
}

func (m Message) header() nats.Header {
	h := nats.Header{}
	h.Set(headerSpecVersion, "1.0")
	h.Set(headerID, m.ID)
	h.Set(headerType, m.Type)
	h.Set(headerSource, m.Source)
	h.Set(headerTime, m.Time.UTC().Format(time.RFC3339Nano))
	if m.Resource != "" {
		h.Set(headerSubject, m.Resource)
	}
	h.Set(headerContentType, contentProtobuf)
	h.Set(headerSealed, m.Subject)
	return h
}

// raw is a message as stored, from a consumer or read by its sequence.
type raw struct {
	subject string
	header  nats.Header
	data    []byte
}

// open reads the envelope. Place (stream, sequence, times) is filled in even when the rest is poison.
func (r raw) open(meta *jetstream.MsgMetadata) (Envelope, error) {
	e := Envelope{
		Subject: r.subject, ID: r.header.Get(headerID), Type: r.header.Get(headerType),
		Source: r.header.Get(headerSource), Resource: r.header.Get(headerSubject),
		Stream: meta.Stream, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp,
		Delivered: int(min(meta.NumDelivered, 1<<30)), Pending: meta.NumPending,
	}
	if meta.Stream == StreamDeadLetters {
		// Whatever a dead letter is made of, it must reach whoever looks for it: nothing of it is checked.
		e.DeadLetter = openDeadLetter(r.header)
		e.Time, _ = time.Parse(time.RFC3339Nano, r.header.Get(headerTime))
		return e, nil
	}
	if v := r.header.Get(headerSpecVersion); v != "1.0" {
		return e, poison("the message is not a CloudEvents 1.0 event (ce-specversion %q)", v)
	}
	if e.ID == "" || e.Type == "" {
		return e, poison("the message has no ce-id or no ce-type")
	}
	if got := r.header.Get(headerSealed); got != r.subject {
		return e, poison("the message was published on %q and copied here by somebody else", got)
	}
	var err error
	if e.Time, err = time.Parse(time.RFC3339Nano, r.header.Get(headerTime)); err != nil {
		return e, poison("the message has no readable ce-time").Because(err)
	}
	return e, nil
}

func openDeadLetter(h nats.Header) *DeadLetter {
	// Unreadable numbers and times stay zero: a dead letter must be shown whatever happened to it.
	seq, _ := strconv.ParseUint(h.Get(headerDeadSequence), 10, 64)
	attempts, _ := strconv.Atoi(h.Get(headerDeadAttempts))
	at, _ := time.Parse(time.RFC3339Nano, h.Get(headerDeadTime))
	return &DeadLetter{
		Stream: h.Get(headerDeadStream), Subject: h.Get(headerDeadSubject), Sequence: seq,
		Consumer: h.Get(headerDeadConsumer), Reason: h.Get(headerDeadReason), Kind: h.Get(headerDeadKind),
		Attempts: attempts, Time: at,
	}
}

func (d DeadLetter) addTo(h nats.Header) {
	h.Set(headerDeadStream, d.Stream)
	h.Set(headerDeadSubject, d.Subject)
	h.Set(headerDeadSequence, strconv.FormatUint(d.Sequence, 10))
	h.Set(headerDeadConsumer, d.Consumer)
	h.Set(headerDeadReason, oneLine(d.Reason))
	h.Set(headerDeadKind, d.Kind)
	h.Set(headerDeadAttempts, strconv.Itoa(d.Attempts))
	h.Set(headerDeadTime, d.Time.UTC().Format(time.RFC3339Nano))
}

// deadHeaders are taken off again when a dead letter is sent once more.
var deadHeaders = []string{
	headerDeadStream, headerDeadSubject, headerDeadSequence, headerDeadConsumer,
	headerDeadReason, headerDeadKind, headerDeadAttempts, headerDeadTime,
}
