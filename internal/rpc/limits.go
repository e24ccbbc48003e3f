package rpc

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Limiter bounds how much a caller may ask. Its memory must be bounded too, whatever callers there are. Package ratelimit has one.
type Limiter interface {
	// Take counts a call of the subject. It gives how long to wait where there were too many, 0 where the call may go on.
	Take(subject string, reads bool) time.Duration
	// Blocked gives how long an address has to wait from which too many calls without a valid token came, 0 where it need not.
	Blocked(address string) time.Duration
	// Failed counts a call without a valid token.
	Failed(address string)
}

// limit counts the call. The processes of one installation work for others and are not counted.
func (c *chain) limit(caller auth.Caller, method string) error {
	if c.limiter == nil || caller.Subject == auth.ServiceSubject || auth.Public(method) {
		return nil
	}
	rule, _ := auth.MethodRule(method)
	if wait := c.limiter.Take(caller.Subject, rule.Action.Reads()); wait > 0 {
		return tooMany(wait, "%s makes too many calls", caller.Subject)
	}
	return nil
}

// tooMany says how long to wait, in whole seconds and at least one.
func tooMany(wait time.Duration, format string, args ...any) error {
	seconds := strconv.Itoa(int((wait + time.Second - 1) / time.Second))
	return errs.New(errs.Exhausted, errorsv1.Reason_REASON_RATE_LIMITED, format+"; try again in "+seconds+" s", args...).
		With(retryAfter, seconds)
}

// clientAddress gives where a call comes from, without port. Only of a call from within this process, which is the gateway's,
// the header counts that says whom it is for: everybody else could write there what he likes.
func clientAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return "unknown"
	}
	if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
		return host
	}
	if v := metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"); len(v) > 0 {
		last := v[len(v)-1]
		return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]) // the gateway appends what it saw
	}
	return "local"
}
