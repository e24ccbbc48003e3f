package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// unavailable is the error for a server that cannot be reached or does not answer: retry.
func unavailable(op string, err error) *errs.Error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_EVENTS_UNAVAILABLE,
		"the event server cannot %s now; it is tried again", op).Because(err)
}

// denied is the error for a role that may not publish or read a subject.
func denied(op, subject string, err error) *errs.Error {
	return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
		"this credential may not %s %s; use the credential of the service that owns it", op, subject).
		With("subject", subject).Because(err)
}

// tooLarge is the error of both limits. The limit is in the metadata so that a client can say it in its own words.
func tooLarge(size, limit int, format string, args ...any) *errs.Error {
	return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, format, args...).
		With("size_bytes", strconv.Itoa(size)).With("limit_bytes", strconv.Itoa(limit))
}

// poison is the error for a stored message that can never be understood.
func poison(format string, args ...any) *errs.Error {
	return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, format, args...)
}

// mapErr turns an error of the NATS client into one of ours. ctx is the caller's: its cancellation stays a cancellation,
// every other time-out is Unavailable, because publishing and reading again is safe.
func mapErr(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	var ours *errs.Error
	if errors.As(err, &ours) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.As(cause, &ours) {
		return cause
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code >= 400 && api.Code < 500 && api.Code != 404 {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"the event server refuses to %s: %s", op, api.Description).Because(err)
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		return denied(op, "this", err)
	}
	return unavailable(op, err)
}
