package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// commandLog notes what the committer got.
type commandLog struct {
	mu  sync.Mutex
	got []string
}

func (l *commandLog) add(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, name)
}

func (l *commandLog) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func (l *commandLog) wait(t testing.TB, n int) []string {
	t.Helper()
	eventually(t, func() error {
		if got := l.list(); len(got) < n {
			return fmt.Errorf("commands %v, want %d", got, n)
		}
		return nil
	})
	return l.list()
}

// dyingBus is a connection whose commands fail at a chosen moment, as those of a process that is killed.
type dyingBus struct {
	*events.Bus
	stored bool          // whether the server has the command before the process dies
	died   chan struct{} // closed then
	once   sync.Once
}

func (b *dyingBus) Publish(ctx context.Context, m events.Message) error {
	if m.Type != "dev.towpath.deployment.requested" {
		return b.Bus.Publish(ctx, m)
	}
	if b.stored {
		if err := b.Bus.Publish(ctx, m); err != nil {
			return err
		}
	}
	b.once.Do(func() { close(b.died) })
	<-ctx.Done() // the acknowledgement never comes
	return ctx.Err()
}

func TestCommandIsPublishedOnceWhereverTheCatalogDies(t *testing.T) {
	for name, stored := range map[string]bool{"before the event server has it": false, "before the acknowledgement": true} {
		t.Run(name, func(t *testing.T) {
			w := quietWorld(t)
			dying := &dyingBus{Bus: w.bus, stored: stored, died: make(chan struct{})}
			w.start(func(c *catalog.Config) { c.Bus = dying })
			w.app("shop")
			env := w.env("shop", "dev")
			d := w.deploy(env.GetName(), score("api", "api:1"))
			<-dying.died
			w.stop()

			var got commandLog
			w.commands(func(cmd *eventsv1.DeploymentRequested) {
				got.add(cmd.GetDeployment())
				w.succeed(cmd)
			})
			w.start()
			w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
			if all := got.list(); !slices.Equal(all, []string{d.GetName()}) {
				t.Errorf("the committer got %v, want it once", all)
			}
		})
	}
}

func TestNextDeploymentIsSentAfterTheOutcomeOfTheOneBefore(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	env := w.env("shop", "dev").GetName()
	var got commandLog
	first := make(chan struct{})
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		got.add(cmd.GetDeployment())
		if cmd.GetGeneration() == 1 {
			<-first
		}
		w.succeed(cmd)
	})
	d1 := w.deploy(env, score("api", "api:1"))
	got.wait(t, 1)
	d2 := w.deploy(env, &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "debug"}})
	d3 := w.deploy(env, score("web", "web:1"))
	if s := w.get(d2.GetName()).GetState(); s != catalogv1.Deployment_STATE_PENDING {
		t.Fatalf("the second is %s while the first is under way", s)
	}
	close(first)
	last := w.inState(d3.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	w.inState(d2.GetName(), catalogv1.Deployment_STATE_SUPERSEDED)
	w.inState(d1.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if all := got.list(); !slices.Equal(all, []string{d1.GetName(), d3.GetName()}) {
		t.Errorf("the committer got %v", all)
	}
	// What the superseded one wanted is in the one that replaced it.
	if last.GetIntent().GetVariables()["LOG_LEVEL"] != "debug" {
		t.Errorf("intent = %v", last.GetIntent())
	}
}

func TestLostCommandIsSentAgain(t *testing.T) {
	w := quietWorld(t)
	var got commandLog
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		got.add(cmd.GetDeployment())
		if len(got.list()) > 1 { // the first is taken out of the stream and forgotten
			w.succeed(cmd)
		}
	})
	w.start(func(c *catalog.Config) { c.RepublishAfter = 50 * time.Millisecond })
	w.app("shop")
	d := w.deploy(w.env("shop", "dev").GetName(), score("api", "api:1"))
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if all := got.list(); len(all) < 2 {
		t.Errorf("commands %v", all)
	}
}

// lookingBus counts how often the catalog looks whether a command is still there.
type lookingBus struct {
	*events.Bus
	looks, commands atomic.Int32
}

func (b *lookingBus) Publish(ctx context.Context, m events.Message) error {
	if m.Type == "dev.towpath.deployment.requested" {
		b.commands.Add(1)
	}
	return b.Bus.Publish(ctx, m)
}

func (b *lookingBus) PendingCommand(ctx context.Context, subject string) (bool, error) {
	b.looks.Add(1)
	return b.Bus.PendingCommand(ctx, subject)
}

func TestCommandInTheStreamIsNotSentAgain(t *testing.T) {
	w := quietWorld(t)
	looking := &lookingBus{Bus: w.bus}
	w.start(func(c *catalog.Config) { c.Bus, c.RepublishAfter = looking, 20*time.Millisecond })
	w.app("shop")
	d := w.deploy(w.env("shop", "dev").GetName(), score("api", "api:1"))
	// Nobody takes it while the catalog looks for it again and again.
	eventually(t, func() error {
		if n := looking.looks.Load(); n < 4 {
			return fmt.Errorf("looked %d times", n)
		}
		return nil
	})
	if n := looking.commands.Load(); n != 1 {
		t.Errorf("published %d times", n)
	}
	w.plays()
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestUnfinishedDeploymentsGoOnWhenTheLogWasCut(t *testing.T) {
	w := quietWorld(t)
	dying := &dyingBus{Bus: w.bus, died: make(chan struct{})}
	w.start(func(c *catalog.Config) { c.Bus = dying })
	w.app("shop")
	d := w.deploy(w.env("shop", "dev").GetName(), score("api", "api:1"))
	<-dying.died
	w.stop()
	rev, err := store.Revision(t.Context(), w.kv)
	must(t, err)
	must(t, w.kv.(*memkv.DB).Compact(t.Context(), rev))
	w.plays()
	w.start()
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	d = w.deploy(devEnv, score("api", "api:2"))
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
}

func TestDesiredStateIsToldAgainAfterTheEventServerLostIt(t *testing.T) {
	w := newWorld(t)
	var got commandLog
	w.commands(func(cmd *eventsv1.DeploymentRequested) {
		got.add(cmd.GetDeployment())
		w.succeed(cmd)
	})
	w.app("shop")
	d := w.deploy(w.env("shop", "dev").GetName(), score("api", "api:1"))
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)

	w.stop()
	w.start() // the desired state is there: nothing to do
	d = w.deploy(devEnv, score("api", "api:2"))
	before := w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	if all := got.list(); len(all) != 2 {
		t.Fatalf("commands %v", all)
	}

	w.stop()
	kv := w.kv
	lost := quietWorld(t) // another event server, with nothing in it
	lost.kv, lost.committer = kv, w.committer
	var again commandLog
	lost.commands(func(cmd *eventsv1.DeploymentRequested) {
		again.add(cmd.GetDeployment())
		lost.succeed(cmd)
	})
	lost.start()
	if all := again.wait(t, 1); !slices.Equal(all, []string{dep(2)}) {
		t.Errorf("commands %v, want that of the last deployment", all)
	}
	eventually(t, func() error {
		if e := lost.getEnv(devEnv); e.GetActiveDeployment() != dep(2) {
			return fmt.Errorf("active = %s", e.GetActiveDeployment())
		}
		return nil
	})
	after := lost.get(d.GetName())
	if after.GetCommit() != before.GetCommit() || after.GetEndTime().AsTime() != before.GetEndTime().AsTime() {
		t.Errorf("history changed: %v, was %v", after, before)
	}
}

func TestSubscribersHearOfEachStateOnce(t *testing.T) {
	w := newWorld(t)
	w.plays()
	w.app("shop")
	d := w.deploy(w.env("shop", "dev").GetName(), score("api", "api:1"))
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	d = w.deploy(devEnv, score("api", "api:2")) // ends the first one's time as the active one: no new state of it
	w.inState(d.GetName(), catalogv1.Deployment_STATE_HEALTHY)
	want := []string{"1 PENDING", "1 SYNCING", "1 HEALTHY", "2 PENDING", "2 SYNCING", "2 HEALTHY"}
	var got []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for dl, err := range w.bus.Tail(ctx, events.TailConfig{Stream: events.StreamEvents, Filter: []string{"towpath.evt.shop.dev.deployment.state"}}) {
		must(t, err)
		e := &eventsv1.DeploymentStateChanged{}
		must(t, dl.Decode(e))
		if got = append(got, e.GetDeployment()[len(devEnv+"/deployments/"):]+" "+e.GetState()); len(got) == len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
}
