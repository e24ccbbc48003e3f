// Package history is the port to where old rows go: named, immutable segments. The database keeps what is alive, and for each
// segment where in it which rows are. The engines are filehist (a folder) and s3hist (an object store); both pass historytest.
//
// What belongs here: storing bytes under names. What does not: what is in them, which is their owner's business.
package history

import (
	"context"
	"regexp"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Store keeps segments. All methods may be called concurrently, by several processes.
type Store interface {
	// Put stores a segment and returns when it is durable: after a crash it is there whole or not at all. Nobody puts
	// different content under one name; the same again is fine.
	Put(ctx context.Context, name string, data []byte) error
	// Read gives length bytes of a segment from offset on. A segment that does not exist, or is shorter, is errs.NotFound.
	Read(ctx context.Context, name string, offset, length int64) ([]byte, error)
	// List gives the names of all segments, in their order.
	List(ctx context.Context) ([]string, error)
	// Delete removes a segment; one that does not exist is fine.
	Delete(ctx context.Context, name string) error
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// CheckName refuses what can be no segment's name on some engine.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return errs.InvalidField("segment", "%.150q is no name of a segment; use 1 to 128 letters, digits, dots, hyphens and underscores", name)
	}
	return nil
}

// NotFound is the error of an engine for what is not there.
func NotFound(name string, err error) error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND,
		"segment %s of the history is missing or too short; put the history's folder or bucket back, or restore a backup", name).
		With("segment", name).Because(err)
}

// Unavailable is the error of an engine that cannot be reached.
func Unavailable(what string, err error) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "the store of old history cannot %s", what).Because(err)
}
