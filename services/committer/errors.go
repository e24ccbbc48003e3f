package committer

import (
	"context"
	"errors"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

func errRestore(want, found string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED,
		"tree %s is no longer in Git and its input renders to something else today; deploy the old set again instead of restoring it",
		want).With("moved", "result").With("expected_tree", want).With("found_tree", found)
}

// permanent tells whether trying the same again is pointless: the deployment fails and says why.
func permanent(err error) bool {
	switch errs.KindOf(err) {
	case errs.Invalid, errs.Precondition, errs.NotFound, errs.AlreadyExists, errs.Unauthenticated, errs.Denied, errs.OutOfRange:
		return true
	default:
		return false
	}
}

// outage tells whether the error is about the connection and not about what was asked.
func outage(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Timeout, errs.Cancelled:
		return true
	default:
		return false
	}
}

// internal makes an error of ours out of one that no caller can do anything about. An object that cannot be read is one too:
// to a caller, "not found" would mean something else.
func internal(err error) error {
	return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "the repository could not be read").Because(err)
}

// hostError turns the answer of a Git host into what the deployment says. A host that does not know us, does not let us in or
// does not have the repository refuses for good; what ran out of time may work later. Credentials that the host repeats are
// taken out.
func hostError(ctx context.Context, branch string, err error, secrets []string) error {
	if what, words, ok := refusalOf(err); ok {
		return rules.Refused(what, branch, rules.Redact(words, secrets...))
	}
	switch kind := errs.KindOf(err); {
	case kind == errs.Cancelled || ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return context.Canceled
	case kind == errs.Timeout:
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the Git host did not answer in time; it is tried again").Because(scrub(err, secrets))
	case kind == errs.Unavailable:
		return redacted(err, secrets)
	case kind == errs.Unauthenticated || kind == errs.Denied: // by the host: whoever asked us is not meant
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED, "%s", rules.Redact(errs.Message(err), secrets...)).Because(scrub(err, secrets))
	default:
		return scrub(err, secrets)
	}
}

// redacted gives the same error with a message that holds no credentials.
func redacted(err error, secrets []string) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	return errs.New(e.Kind, e.Reason, "%s", rules.Redact(e.Msg, secrets...)).Because(scrub(err, secrets))
}

func errBusy(cause error) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_PUSH_CONFLICT,
		"others push to the branch all the time, so that no push of ours got through yet; it is tried again").Because(cause)
}

// isStateFile tells a state file that somebody damaged.
func isStateFile(err error) bool {
	return errs.ReasonOf(err) == errorsv1.Reason_REASON_WRONG_STATE && !errors.Is(err, rules.ErrNewerState)
}

func errStateFile(path string, cause error) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"%s in the repository is not readable, so nobody knows which deployment is in Git; restore it from the branch's history",
		path).With("path", path).Because(cause)
}
