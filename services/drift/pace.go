package drift

import "context"

// paced is the rate limit of a cluster, shared by all of its clients; it can change while they wait.
type paced struct{ l *link }

// TryAccept implements flowcontrol.RateLimiter.
func (p paced) TryAccept() bool { return p.l.limit.Load().TryAccept() }

// Accept implements flowcontrol.RateLimiter.
func (p paced) Accept() { p.l.limit.Load().Accept() }

// Stop implements flowcontrol.RateLimiter; there is nothing to stop.
func (paced) Stop() {}

// QPS implements flowcontrol.RateLimiter.
func (p paced) QPS() float32 { return p.l.limit.Load().QPS() }

// Wait implements flowcontrol.RateLimiter.
func (p paced) Wait(ctx context.Context) error { return p.l.limit.Load().Wait(ctx) }
