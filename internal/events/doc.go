// Package events carries Towpath's commands and events over NATS JetStream, and starts the embedded server of the
// one-process mode.
//
// What belongs here: everything that knows NATS. Connecting, streams, subjects, the envelope (CloudEvents headers and a
// protobuf body), publishing, consuming in lanes, following a stream, dead letters, the embedded server and who may
// publish what. What does not: the meaning of any event. The package is generic over proto.Message and an event type.
//
// The promise is an effect at least once, and once to the outside when the effect is idempotent: Publish returns after the
// message is stored, Consume acknowledges after the effect. An outage never kills a message: while something is
// unavailable its lane waits and tries again, for as long as it takes. Only a message that can never work, or one that
// fails for an internal reason several times, becomes a dead letter.
package events
