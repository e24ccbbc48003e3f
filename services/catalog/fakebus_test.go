package catalog_test

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// lightBus stands for an event server where a test is about rows only: commands are accepted and go nowhere, events come from the
// test, one at a time and in its order.
type lightBus struct {
	mu      sync.Mutex
	sent    []events.Message
	handler chan events.Handler
	empty   bool // it has lost what it had
	watched bool // it has the records of pull requests
	looks   int  // how often somebody looked for one
}

func newLightBus() *lightBus { return &lightBus{handler: make(chan events.Handler, 1)} }

func (b *lightBus) LastPull(context.Context, string) (events.Delivery, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	return events.Delivery{}, b.watched, nil
}

func (b *lightBus) DropPolicy(context.Context, string, uint64) error { return nil }

func (b *lightBus) Ensure(context.Context) error { return nil }

func (b *lightBus) Publish(_ context.Context, m events.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, m)
	return nil
}

func (b *lightBus) PendingCommand(context.Context, string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.empty, nil
}

func (b *lightBus) Consume(ctx context.Context, cfg events.ConsumerConfig, h events.Handler) error {
	if cfg.Durable == "catalog" {
		select {
		case b.handler <- h:
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
	return nil
}

func (b *lightBus) Tail(context.Context, events.TailConfig) iter.Seq2[events.Delivery, error] {
	return func(func(events.Delivery, error) bool) {}
}

// commands gives the deployments whose commands were published, in order.
func (b *lightBus) commands() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, m := range b.sent {
		if m.Type == "dev.towpath.deployment.requested" {
			out = append(out, m.Resource)
		}
	}
	return out
}

// lightWorld is a catalog on a lightBus.
func lightWorld(t testing.TB, kv store.KV, opts ...option) (*world, *lightBus) {
	t.Helper()
	b := newLightBus()
	w := &world{t: t, kv: kv, renderer: &fakeRenderer{}, committer: &fakeCommitter{}}
	w.start(append([]option{func(c *catalog.Config) { c.Bus = b }}, opts...)...)
	t.Cleanup(func() { w.stop() })
	return w, b
}

// delivery makes what a consumer would get.
func delivery(kind string, at time.Time, body proto.Message) events.Delivery {
	data, err := proto.Marshal(body)
	if err != nil {
		panic(err)
	}
	return events.Delivery{Envelope: events.Envelope{Type: "dev.towpath." + kind, Time: at}, Data: data}
}

// copyOf gives another store with the same rows.
func copyOf(t testing.TB, from store.KV) *memkv.DB {
	t.Helper()
	to := memkv.New()
	for e, err := range store.All(t.Context(), from, "") {
		must(t, err)
		var tx store.Tx
		_, err = to.Commit(t.Context(), *tx.Put(e.Key, e.Value))
		must(t, err)
	}
	return to
}

func putRow(t testing.TB, kv store.KV, key, value string) {
	t.Helper()
	var tx store.Tx
	_, err := kv.Commit(t.Context(), *tx.Put(key, []byte(value)))
	must(t, err)
}
