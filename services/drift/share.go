package drift

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
)

// shardCount is into how many parts environments are divided among the drift processes. It may change only while none runs.
const shardCount = 32

func shardName(n uint32) string { return fmt.Sprintf("%02x", n) }

func allShards() []string {
	all := make([]string, shardCount)
	for i := range all {
		all[i] = shardName(uint32(i))
	}
	return all
}

// shardOf gives the shard of a namespace of a target: an environment, and so its namespace, has one holder.
func shardOf(target, namespace string) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(target + "\x00" + namespace)) // a hash takes everything
	return shardName(sum.Sum32() % shardCount)
}

// sharing is what a process knows of its part and of the others'.
type sharing struct {
	name  atomic.Pointer[string]
	known map[string]*eventsv1.DesiredState // the last one of each environment, by resource name
	shard map[string]string                 // of each of them
	held  map[string]context.Context        // the life of each shard that this process has
	// holder is who has each shard, by name; changed is closed when the set of names is another one.
	holder  map[string]string
	changed chan struct{}

	dialing sync.Mutex
	conns   map[string]*grpc.ClientConn // to other processes, by address
}

func newSharing() sharing {
	return sharing{
		known: map[string]*eventsv1.DesiredState{}, shard: map[string]string{}, held: map[string]context.Context{},
		holder: map[string]string{}, changed: make(chan struct{}), conns: map[string]*grpc.ClientConn{},
	}
}

// place is the part of an environment that has to do with where it is looked after.
type place struct {
	fence
	shard  string
	cancel context.CancelFunc
	// prior are findings that were told before this process had the environment and that it has not come to yet.
	prior map[objectKey]map[string]*driftv1.Finding
	// afterwards waits for a free moment of the environment's goroutine.
	afterwards []func(context.Context) error
}

// share takes this process's part of all environments, until ctx ends. Alone, it has all of them at once.
func (s *Service) share(ctx context.Context) error {
	place := ""
	if s.cfg.Address != nil { // nobody else can listen there
		if host, err := os.Hostname(); err == nil {
			place = host + " " + s.replica()
		}
	}
	return s.cfg.Bus.Share(ctx, events.ShareConfig{
		Group: "drift", Shards: allShards(), TTL: s.leaseTTL(), Name: s.replica(), Place: place, Seen: s.seen, Hold: s.hold,
	})
}

func (s *Service) leaseTTL() time.Duration {
	if s.cfg.LeaseTTL > 0 {
		return s.cfg.LeaseTTL
	}
	return 10 * time.Second
}

// seen hears who has a shard.
func (s *Service) seen(shard, holder string, _ bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.others()
	s.holder[shard] = holder
	after := s.others()
	if strings.Join(before, " ") != strings.Join(after, " ") {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// hold looks after the environments of a shard until its lease ends. Then everything of them is stopped before anybody else can
// have it.
func (s *Service) hold(ctx context.Context, lease events.Lease) error {
	s.mu.Lock()
	s.held[lease.Shard] = ctx
	for name, shard := range s.shard {
		if shard == lease.Shard {
			s.begin(ctx, s.known[name])
		}
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	delete(s.held, lease.Shard)
	var ending []*environment
	for name, e := range s.envs {
		if e.shard == lease.Shard {
			ending = append(ending, e)
			delete(s.envs, name)
		}
	}
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, e := range ending {
		all.Go(func() { s.stop(e) })
	}
	all.Wait()
	return nil
}

// take notes a desired state and hands it to its environment, which begins at its first one. It needs the mutex.
func (s *Service) take(d *eventsv1.DesiredState) {
	name := d.GetEnvironment()
	shard := shardOf(d.GetTarget().GetName(), d.GetNamespace())
	if old := s.shard[name]; old != "" && d.GetNamespace() == "" {
		shard = old // a removal that does not say from where
	}
	s.known[name], s.shard[name] = d, shard
	if e := s.envs[name]; e != nil && e.shard != shard {
		// It moves to another namespace or target, and so perhaps to another process.
		delete(s.envs, name)
		s.wg.Go(func() {
			s.stop(e)
			s.mu.Lock()
			defer s.mu.Unlock()
			if ctx := s.held[s.shard[name]]; ctx != nil {
				s.begin(ctx, s.known[name])
			}
		})
		return
	}
	if ctx := s.held[shard]; ctx != nil {
		s.begin(ctx, d)
	}
}

// begin gives an environment of a shard that this process has its desired state. It needs the mutex.
func (s *Service) begin(life context.Context, d *eventsv1.DesiredState) {
	name := d.GetEnvironment()
	e := s.envs[name]
	if e == nil {
		e = newEnvironment(s, name)
		e.treatAs(s.policies[name])
		e.shard = s.shard[name]
		ctx, cancel := context.WithCancel(life)
		e.cancel = cancel
		s.envs[name] = e
		s.wg.Go(func() {
			defer cancel()
			e.run(ctx)
		})
	}
	e.want(d)
}

// stop ends all work on an environment and waits for it. Nothing is told of it afterwards.
func (s *Service) stop(e *environment) {
	e.cancel()
	<-e.done
	e.mu.Lock()
	used := []*cluster{e.cluster, e.claims.cluster}
	e.busy, e.gone = "moved", true // events that are under way are not looked at
	e.mu.Unlock()
	s.mu.Lock()
	for _, c := range s.clusters {
		used = append(used, c)
	}
	ending := s.ctx.Err() != nil
	s.mu.Unlock()
	for _, c := range used {
		if c != nil {
			c.release(e)
		}
	}
	// Whoever has it next goes on with what was told. After the moment that is left it would be old news.
	s.out.flush(e.name, min(time.Second, s.leaseTTL()/6))
	if !ending {
		s.out.open.leave(e.name)
	}
}
