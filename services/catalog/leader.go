package catalog

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/towpath-dev/towpath/internal/store"
)

// leaseName is the lease of the one catalog process that publishes and cleans up.
const leaseName = "catalog"

// compactor is what an engine offers that needs one of its users to keep its change log short.
type compactor interface {
	// RunCompactor does so until ctx ends.
	RunCompactor(ctx context.Context) error
}

// runLeader does what only one of several catalog processes on a store may do at a time, while this is the one. All of them
// serve every call and take in events; what those write is guarded by conditions.
func (s *Service) runLeader(ctx context.Context) error {
	return store.Lead(ctx, s.cfg.Elector, leaseName, s.log, func(ctx context.Context, l *store.Lease) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.runOutbox(ctx, l) })
		g.Go(func() error { return s.runPolicies(ctx) })
		g.Go(func() error { return s.runJanitor(ctx) })
		g.Go(func() error { return s.runSweeper(ctx) })
		g.Go(func() error { return s.runTimes(ctx) })
		g.Go(func() error { return s.runArchive(ctx) })
		g.Go(func() error { return s.runTargets(ctx) })
		if c, ok := s.raw.(compactor); ok {
			g.Go(func() error { return c.RunCompactor(ctx) })
		}
		return g.Wait()
	})
}

// underLease gives the service's configuration with a store in which only the holder of the lease can write.
func (s *Service) underLease(l *store.Lease) Config {
	cfg := s.cfg
	cfg.KV = l.KV(cfg.KV)
	return cfg
}
