package git

import (
	"errors"
	"fmt"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The outcomes that a caller acts on; test with errors.Is. They are the cause inside an *errs.Error, so errs.KindOf works on
// the same error.
var (
	// ErrMoved means that the branch's tip is not what the push expected.
	ErrMoved = errors.New("the branch has moved")
	// ErrUnknown means that the push's answer was lost.
	ErrUnknown = errors.New("the outcome of the push is unknown")
	// ErrMissing means that an object is neither here nor to be had from the remote.
	ErrMissing = errors.New("the object is missing")
	// ErrNotFound means that a path does not exist in a tree.
	ErrNotFound = errors.New("the path does not exist")
)

// errCorrupt marks data of ours on disk that does not check out. A mirror is rebuilt on it; an embedded repository reports it.
var errCorrupt = errors.New("the data is damaged")

// Refused is the host's definite no to a push; test with errors.As.
type Refused struct {
	// Words are the host's own: the reference's status and what it printed. They are for a person; nothing may depend on them.
	Words string
	// Status is the HTTP status when the host refused the request itself (401, 403, 404, 413), else zero. Over SSH it is 403
	// when the host refused the session.
	Status int
}

// Error gives the host's words.
func (r *Refused) Error() string {
	if r.Status != 0 {
		return fmt.Sprintf("refused with status %d: %s", r.Status, r.Words)
	}
	return "refused: " + r.Words
}

func moved(branch string, old, tip Hash) error {
	return errs.New(errs.Conflict, errorsv1.Reason_REASON_PUSH_CONFLICT,
		"branch %s is at %s and not at %s; fetch and build again", branch, short(tip), short(old)).Because(ErrMoved)
}

func unknown(branch string, cause error) error {
	return errs.New(errs.Timeout, errorsv1.Reason_REASON_TIMEOUT,
		"whether the push to branch %s happened is not known; fetch and look", branch).
		Because(fmt.Errorf("%w: %w", ErrUnknown, cause))
}

func refused(branch string, r *Refused) *errs.Error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
		"the Git host refused the push to branch %s: %s", branch, r.Words).Because(r)
}

func unavailable(cause error, format string, args ...any) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, format, args...).Because(cause)
}

func tooLarge(size, limit int64) error {
	return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE,
		"the push is %d bytes and the limit is %d; split it", size, limit)
}

func missing(kind string, h Hash) error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "%s %s does not exist in the repository", kind, h).
		Because(ErrMissing)
}

func notFound(path string) error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "%q does not exist in the tree", path).
		With("path", path).Because(ErrNotFound)
}

// corrupt reports damage of a repository that is not disposable.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errCorrupt, fmt.Sprintf(format, args...))
}

func short(h Hash) string {
	if h.IsZero() {
		return "nothing"
	}
	return h.String()[:12]
}
