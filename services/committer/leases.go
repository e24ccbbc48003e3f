package committer

import (
	"context"
	"sync"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
)

// residentPerShard bounds the bodies of commands that wait in memory, for each shard.
const residentPerShard = 8 << 20

// errLaneMoved ends what waits in a lane whose lease ends: the command comes again, here or to whoever has the lane then.
var errLaneMoved = errs.New(errs.Conflict, errorsv1.Reason_REASON_PUSH_CONFLICT, "the branch is written by another replica now; it is tried again there")

// share works on the commands of all shards that this replica has, until ctx ends.
func (s *Service) share(ctx context.Context) error {
	slots := make(chan struct{}, s.cfg.Workers)
	return s.cfg.Bus.Share(ctx, events.ShareConfig{
		Shards: events.Shards(), TTL: s.cfg.LeaseTTL, Name: s.cfg.Replica, Seen: s.holders.seen,
		Hold: func(ctx context.Context, lease events.Lease) error { return s.hold(ctx, lease, slots) },
	})
}

// hold works on one shard for as long as this replica has its lease. When that ends, a push under way is given up at once: what
// became of it is decided by the state file, by whoever has the lane next.
func (s *Service) hold(ctx context.Context, lease events.Lease, slots chan struct{}) error {
	defer s.health.leave(lease.Shard)
	defer s.lanes.leave(lease.Shard)
	defer context.AfterFunc(ctx, func() { s.lanes.leave(lease.Shard) })()
	return s.cfg.Bus.Consume(ctx, events.ConsumerConfig{
		Stream: events.StreamCommands, Durable: durable + "-" + lease.Shard, Epoch: lease.Epoch, Replaces: []string{durable},
		Filter: []string{events.ShardFilter(lease.Shard)}, Slots: slots, MaxResident: residentPerShard,
		Delays: s.cfg.Delays, OnDeadLetter: s.deadLetter,
	}, s.dispatch)
}

// leave ends the lanes of a shard and waits for them.
func (ls *lanes) leave(shard string) {
	ls.mu.Lock()
	var ending []*lane
	for _, l := range ls.byKey {
		if l.shard == shard {
			l.cancel()
			ending = append(ending, l)
		}
	}
	ls.mu.Unlock()
	for _, l := range ending {
		<-l.ended
	}
}

// holders is who has which shard.
type holders struct {
	mu   sync.Mutex
	name map[string]string
	mine map[string]bool
}

func (h *holders) seen(shard, holder string, mine bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.name == nil {
		h.name, h.mine = map[string]string{}, map[string]bool{}
	}
	h.name[shard], h.mine[shard] = holder, mine
}

// holder tells which replica writes a branch, "" when none does at the moment or this one does not run, and whether it is this one.
func (s *Service) holder(ref *committerv1.RepositoryRef) (name string, mine bool) {
	shard := events.Shard(ref.GetUrl(), ref.GetBranch())
	s.holders.mu.Lock()
	defer s.holders.mu.Unlock()
	return s.holders.name[shard], s.holders.mine[shard]
}
