package forge

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// rights says what to give a token, per service.
var rights = map[Kind]string{
	GitHub: `give it "Pull requests" and "Contents" with write access (fine-grained token or GitHub App), or the scope repo (classic token)`,
	GitLab: "give it the scope api and the role Developer in the project, or Maintainer where the branch demands it",
	Gitea:  "give it the scopes write:repository and write:issue, and its user the right to write to the project",
}

// errWaits is what a service's part returns for a pull request that must not be merged, without asking the service to.
type errWaits struct{ why string }

// Error is the error's text, for the log.
func (e errWaits) Error() string { return "it waits for " + e.why }

// failure makes an error of ours. The service's words go into metadata "host_says"; the token is taken out of everything.
func (c *Client) failure(ctx context.Context, err error, x *exchange, doing string) error {
	var ours *errs.Error
	var waiting errWaits
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return err
	case errors.As(err, &waiting):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "the pull request cannot be merged yet: it waits for %s",
			waiting.why).With("waits_for", waiting.why)
	case x.refusal != nil:
		return c.refused(x, doing)
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	}
	cause := errors.New(scrub(err.Error(), x.token))
	var network net.Error
	var request *url.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		return unavailable("%s did not answer in time", c.base.Host).Because(cause)
	}
	if errors.As(err, &request) {
		return unavailable("%s cannot be reached: %s", c.base.Host, scrub(request.Err.Error(), x.token)).Because(cause)
	}
	return unavailable("%s answered what cannot be read; check that forge.url is the base URL of a %s", c.base.Host, c.cfg.Kind).Because(cause)
}

func unavailable(format string, args ...any) *errs.Error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, format, args...)
}

// refused says what a refusal means.
func (c *Client) refused(x *exchange, doing string) error {
	r := x.refusal
	words := scrub(r.words, x.token)
	var e *errs.Error
	switch {
	case r.retryAfter(time.Now()) > 0:
		e = unavailable("%s takes no more requests for now: %s", c.base.Host, words).With("retry_after", strconv.Itoa(r.retryAfter(time.Now())))
		e.Reason = errorsv1.Reason_REASON_RATE_LIMITED
	case r.status == http.StatusUnauthorized:
		e = errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED,
			"%s does not take the token (%s); renew the credentials that forge.credentials names", c.base.Host, words)
	case r.status == http.StatusForbidden:
		e = errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED, "the token may not %s (%s); %s", doing, words, rights[c.cfg.Kind])
	case r.status == http.StatusNotFound, r.status == http.StatusGone:
		e = errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND,
			"%s has no such thing in %s, or the token may not see it (%s); check forge.project, and for the token: %s",
			c.base.Host, c.cfg.Project, words, rights[c.cfg.Kind])
	case r.status >= 500, r.status == http.StatusRequestTimeout:
		e = unavailable("%s answered %d: %s", c.base.Host, r.status, words)
	default: // 400, 405, 406, 409, 412, 422, 423: what was asked does not go.
		e = errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s refuses to %s: %s", c.base.Host, doing, words)
	}
	return e.With("host_says", words).With("status", strconv.Itoa(r.status))
}

func errHeadMoved(pr *PullRequest, m Merge) *errs.Error {
	return errs.New(errs.Conflict, errorsv1.Reason_REASON_PUSH_CONFLICT,
		"the head of pull request %d is commit %s and not %s any more; look again before it is merged", pr.Number, short(pr.HeadCommit), short(m.HeadCommit)).
		With("head", pr.HeadCommit)
}

// errNotMergeable keeps the service's words, and says what it waits for as far as that is known.
func errNotMergeable(pr *PullRequest, cause error) error {
	var e *errs.Error
	says := ""
	if errors.As(cause, &e) {
		says = e.Meta["host_says"]
	}
	why := cmp.Or(pr.WaitsFor, says, "what the service does not say")
	out := errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"pull request %d cannot be merged yet: it waits for %s", pr.Number, why).Because(cause).With("waits_for", why)
	if says != "" {
		out = out.With("host_says", says)
	}
	return out
}

// annotate adds metadata to an error of ours.
func annotate(err error, key, text string) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	c := *e
	return c.With(key, text)
}

// outOfReach tells that asking the service for more makes no sense: it did not answer, or does not know us.
func outOfReach(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Unauthenticated, errs.Cancelled, errs.Timeout, errs.Invalid:
		return true
	default:
		return false
	}
}

func short(commit string) string { return commit[:min(len(commit), 12)] }

var userInfo = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]*@`)

// scrub takes the token and the user part of addresses out of what a service says.
func scrub(text, token string) string {
	text = userInfo.ReplaceAllString(text, "$1")
	if len(token) >= 4 {
		text = strings.ReplaceAll(text, token, "***")
	}
	return text
}
