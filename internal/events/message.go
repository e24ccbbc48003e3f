package events

import (
	"time"

	"google.golang.org/protobuf/proto"
)

const (
	// MaxBody is the admission limit: the largest protobuf body, uncompressed, that Publish takes. It holds for commands,
	// events and desired states alike, whatever the servers allow. It is above the renderer's limits of 16 MiB for an input and 12 MiB
	// for its archives, which a command carries whole, so that nothing is accepted that could not be published.
	MaxBody = 32 << 20
	// MaxInline is the largest body, compressed, that travels inside a message. A larger one goes to the object store.
	MaxInline = 512 << 10
	// compressFrom is the body size from which zstd is tried; below it the header costs more than it saves.
	compressFrom = 1 << 10
)

// Message is what Publish sends.
type Message struct {
	// Subject comes from CommandSubject, EventSubject or DesiredSubject.
	Subject string
	// ID is the CloudEvents id and the JetStream message id: a second message of the same id within two minutes is
	// dropped by the server, also when the first was consumed already. Use key@revision, and a new id to send again.
	ID string
	// Type is the CloudEvents type, "dev.towpath.deployment.committed".
	Type string
	// Source is the CloudEvents source, the service that publishes: "//towpath.dev/committer".
	Source string
	// Resource is the CloudEvents subject: the resource name the message is about. May be empty.
	Resource string
	// Time is when it happened; the zero value is now.
	Time time.Time
	// Body is the payload. It must hold no manifests in clear beyond a command's input, and never a secret.
	Body proto.Message
}

// Envelope is everything of a received message but its body.
type Envelope struct {
	// Subject is where the message was published; for a dead letter, where the dead letter is.
	Subject string
	// ID, Type, Source, Resource and Time are as the publisher gave them.
	ID, Type, Source, Resource string
	Time                       time.Time
	// Stream and Sequence say where the message is stored.
	Stream   string
	Sequence uint64
	// Stored is when the server stored it.
	Stored time.Time
	// Delivered counts deliveries by the server, 1 for the first. It grows with outages too: never a reason to give up.
	Delivered int
	// Pending is how many messages wait behind this one for the same consumer or Tail.
	Pending uint64
	// DeadLetter is set on messages of StreamDeadLetters.
	DeadLetter *DeadLetter
}

// Delivery is a received message.
type Delivery struct {
	Envelope
	// Attempt counts calls of the handler for this delivery in this process, 1 for the first. Always 1 from Tail.
	Attempt int
	// Data is the uncompressed protobuf body, already fetched from the object store where it was large.
	Data []byte
}

// Decode reads the body into m. An error is Invalid: returned from a handler it makes a dead letter at once, which is
// right, because the same bytes will never decode.
func (d Delivery) Decode(m proto.Message) error {
	if err := proto.Unmarshal(d.Data, m); err != nil {
		return poison("the body of %s is not a %s", d.Type, m.ProtoReflect().Descriptor().FullName()).Because(err)
	}
	return nil
}

// DeadLetter says why a message was given up.
type DeadLetter struct {
	// Stream, Subject and Sequence say where the message was.
	Stream, Subject string
	Sequence        uint64
	// Consumer is the durable that gave up.
	Consumer string
	// Reason is the message of the last error, for people. It holds no internal detail.
	Reason string
	// Kind is the kind of the last error, in words.
	Kind string
	// Attempts is how often the handler was called.
	Attempts int
	// Time is when it was given up.
	Time time.Time
}

// admit is the admission limit.
func admit(size int) error {
	if size <= MaxBody {
		return nil
	}
	return tooLarge(size, MaxBody, "the input has %d bytes, the limit is %d; split the change or make its files smaller", size, MaxBody)
}
