package store

import (
	"errors"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// What the errors of a store are, for errors.Is. The errors themselves are of type errs.Error with a kind and reason.
var (
	// ErrNotFound: the key does not exist. errs.NotFound.
	ErrNotFound = errors.New("store: no such key")
	// ErrConflict: a condition of the transaction does not hold. errs.Conflict; ConflictKey tells the key.
	ErrConflict = errors.New("store: a condition does not hold")
	// ErrCompacted: the change log does not reach the asked revision. errs.OutOfRange.
	ErrCompacted = errors.New("store: the log does not reach that revision")
	// ErrClosed: the store was closed. errs.Unavailable.
	ErrClosed = errors.New("store: closed")
)

// conflict is the cause of an errs.Conflict error. It carries the key apart from the metadata, which leaves the process.
type conflict struct{ key string }

func (c *conflict) Error() string        { return ErrConflict.Error() + ": " + c.key }
func (c *conflict) Is(target error) bool { return target == ErrConflict }

// NotFound is the error of an engine for a key that does not exist.
func NotFound(key string) error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "key %q does not exist", key).Because(ErrNotFound)
}

// Conflict is the error of an engine for a condition that does not hold.
func Conflict(c Cond) error {
	var e *errs.Error
	switch c.Rev {
	case 0:
		e = errs.New(errs.Conflict, errorsv1.Reason_REASON_ETAG_MISMATCH, "key %q exists already; read it and decide again", c.Key)
	case AnyRev:
		e = errs.New(errs.Conflict, errorsv1.Reason_REASON_ETAG_MISMATCH, "key %q does not exist any more; read it and decide again", c.Key)
	default:
		e = errs.New(errs.Conflict, errorsv1.Reason_REASON_ETAG_MISMATCH, "key %q was changed since it was read at revision %d; read it and retry", c.Key, c.Rev)
	}
	return e.Because(&conflict{key: c.Key})
}

// ConflictKey gives the key whose condition failed; false when err is no conflict of a store.
func ConflictKey(err error) (string, bool) {
	var c *conflict
	if !errors.As(err, &c) {
		return "", false
	}
	return c.key, true
}

// Compacted is the error of an engine for a watch from revision `after` when the log holds what came after revision `from`
// up to revision `to`.
func Compacted(after, from, to int64) error {
	return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED,
		"changes after revision %d were asked for, the log has those after %d up to %d; read all, then watch from %d", after, from, to, to).Because(ErrCompacted)
}

// Closed is the error of an engine after Close.
func Closed() error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "the store is closed; the server is stopping").Because(ErrClosed)
}

// FutureRev is the error of Compact for a revision that the store has not reached.
func FutureRev(rev, current int64) error {
	return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "revision %d is in the future, the store is at %d", rev, current)
}

func tooLarge(limit, format string, args ...any) error {
	return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, format, args...).With("limit", limit)
}
