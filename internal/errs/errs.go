// Package errs is the one error type of Towpath's services. It knows nothing of gRPC: internal/rpc maps it at the edge,
// and workers use the same kinds to decide between retrying and stopping.
package errs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// Kind says what a caller can do about an error.
type Kind int

const (
	// Internal is a fault of our own. It is logged in full and leaves as a neutral message.
	Internal Kind = iota
	// Invalid means that the input is wrong; the same input will never work.
	Invalid
	// NotFound means that the named thing does not exist.
	NotFound
	// AlreadyExists means that a thing of that name exists.
	AlreadyExists
	// Conflict means that somebody else was faster: reload and retry.
	Conflict
	// Precondition means that the state does not allow it; retrying without a change does not help.
	Precondition
	// Unavailable means that something needed cannot be reached: retry with backoff.
	Unavailable
	// Unauthenticated means that the caller is unknown.
	Unauthenticated
	// Denied means that the caller is known and may not.
	Denied
	// OutOfRange means that the asked position no longer exists.
	OutOfRange
	// Timeout means that a deadline passed; the outcome is not known.
	Timeout
	// Cancelled means that the caller went away.
	Cancelled
	// Exhausted means that the caller asks too much: retry later, metadata "retry_after" says in how many seconds.
	Exhausted
)

var kindNames = [...]string{
	"internal", "invalid", "not found", "already exists", "conflict", "precondition", "unavailable",
	"unauthenticated", "denied", "out of range", "timeout", "cancelled", "exhausted",
}

// String gives the kind in words, for logs.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Reason is the machine-readable cause, the enum of towpath.errors.v1.
type Reason = errorsv1.Reason

// Field is one wrong place in a request or document.
type Field struct {
	// Path names the field as the caller wrote it: "workloads[0].score:12:5 containers.main.image".
	Path string
	// Problem says what is wrong and what to do.
	Problem string
}

// Error is what every package of Towpath returns for an expected failure. Msg is for a person and says what to do next; it
// must never hold a secret. Err, the cause, is for the log only and never leaves the process.
type Error struct {
	Kind   Kind
	Reason Reason
	Msg    string
	Meta   map[string]string
	Fields []Field
	Err    error
}

// Error gives message, fields and cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Msg)
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Path + ": " + f.Problem)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// With adds one key of metadata and returns the error, for use where it is made.
func (e *Error) With(key, value string) *Error {
	m := maps.Clone(e.Meta)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	e.Meta = m
	return e
}

// Because sets the cause and returns the error.
func (e *Error) Because(err error) *Error { e.Err = err; return e }

// New makes an error of any kind. The named constructors below read better where they fit.
func New(kind Kind, reason Reason, format string, args ...any) *Error {
	return &Error{Kind: kind, Reason: reason, Msg: fmt.Sprintf(format, args...)}
}

// InvalidField reports one wrong field.
func InvalidField(path, format string, args ...any) *Error {
	return InvalidFields(Field{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// InvalidFields reports several wrong fields at once.
func InvalidFields(fields ...Field) *Error {
	return &Error{Kind: Invalid, Reason: errorsv1.Reason_REASON_INVALID_FIELD, Msg: "the request is not valid", Fields: fields}
}

// NotFoundf reports that the named resource does not exist; hint says what to do ("tow env list shop").
func NotFoundf(resource, hint string, args ...any) *Error {
	e := New(NotFound, errorsv1.Reason_REASON_NOT_FOUND, "%s does not exist", resource)
	if hint != "" {
		e.Msg += "; " + fmt.Sprintf(hint, args...)
	}
	return e.With("resource", resource)
}

// KindOf gives the kind of err. A context's end is Cancelled or Timeout; an error that is none of ours is Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	default:
		return Internal
	}
}

// Is reports whether err is of that kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// ReasonOf gives the reason of err, REASON_INTERNAL for an error that is none of ours.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	switch KindOf(err) {
	case Cancelled:
		return errorsv1.Reason_REASON_CANCELLED
	case Timeout:
		return errorsv1.Reason_REASON_TIMEOUT
	default:
		return errorsv1.Reason_REASON_INTERNAL
	}
}

// Message gives what a person may read: the message and fields of one of our errors without its cause, else a neutral text.
func Message(err error) string {
	var e *Error
	if !errors.As(err, &e) || e.Kind == Internal {
		return "an internal error; the log has it under the request id"
	}
	c := *e
	c.Err = nil
	return c.Error()
}
