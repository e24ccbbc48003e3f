package committer_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// cancel asks to withdraw a command's deployment, as the catalog does.
func (w *world) cancel(cmd *eventsv1.DeploymentRequested) {
	w.t.Helper()
	parts := strings.Split(cmd.GetDeployment(), "/")
	subject, err := events.CommandSubject(events.Shard(cmd.GetRepository().GetUrl(), cmd.GetRepository().GetBranch()), parts[1], parts[3])
	if err == nil {
		err = w.catalog.Publish(context.Background(), events.Message{
			Subject: subject + ".cancel", ID: fmt.Sprintf("%s/cancel@%d", cmd.GetDeployment(), time.Now().UnixNano()),
			Type: "dev.towpath.deployment.cancel", Source: "//towpath.dev/catalog", Resource: cmd.GetDeployment(),
			Body: &eventsv1.CancelRequested{
				Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), Repository: cmd.GetRepository(), Path: cmd.GetPath(),
				RequestId: cmd.GetRequestId(),
			},
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// lookingBus counts how often the committer looks whether a command is still there: a request to withdraw does after it has
// made itself known.
type lookingBus struct {
	*events.Bus
	looks atomic.Int32
}

func (b *lookingBus) PendingCommand(ctx context.Context, subject string) (bool, error) {
	b.looks.Add(1)
	return b.Bus.PendingCommand(ctx, subject)
}

// looking gives a world with such a bus.
func looking(b *lookingBus) option {
	return func(w *world) {
		b.Bus = w.cfg.Bus.(*events.Bus)
		w.cfg.Bus = b
	}
}

// known waits until a request to withdraw has made itself known once more.
func (w *world) known(b *lookingBus) {
	w.t.Helper()
	before := b.looks.Load()
	w.poll("a look at the request", func() bool { return b.looks.Load() > before })
}

// withdrawn waits for the end of a deployment, which must be that it was cancelled.
func (w *world) withdrawn(name string) {
	w.t.Helper()
	w.await("an end of "+name, func() bool {
		return w.has("deployment.cancelled", name) || w.has("deployment.committed", name) || w.has("deployment.failed", name)
	})
	if !w.has("deployment.cancelled", name) {
		w.t.Fatalf("%s was not cancelled; seen: %s", name, w.summary())
	}
}

func TestADeploymentThatWaitsForItsLaneIsWithdrawn(t *testing.T) {
	for what, remotely := range map[string]bool{"embedded": false, "http": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			g, bus := newGate(), &lookingBus{}
			var w *world
			if remotely {
				w, _ = remote(t, looking(bus))
			} else {
				w = embedded(t, looking(bus))
			}
			w.stop()
			g.option(w)
			w.start()
			withdrawWaiting(t, w, g, bus)
		})
	}
}

func withdrawWaiting(t *testing.T, w *world, g *gate, bus *lookingBus) {
	w.send(w.change("first", 1, map[string]string{"a.yaml": "a"}))
	<-g.held
	gone, kept := w.change("gone", 1, map[string]string{"a.yaml": "a"}), w.change("kept", 1, map[string]string{"a.yaml": "a"})
	w.send(gone)
	w.send(kept)
	w.poll("a full queue", func() bool { return g.value(t, "queued_deployments") == 2 })
	w.cancel(gone)
	w.known(bus)
	close(g.open)
	w.committed(kept.GetDeployment())
	w.withdrawn(gone.GetDeployment())
	w.settled()
	if n := w.commits(); n != 2 {
		t.Errorf("%d commits, want those of first and kept", n)
	}
	if n := len(w.all("deployment.cancelled")); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestCancellingWhatIsInGitIsAnsweredWithTheCommit(t *testing.T) {
	t.Parallel()
	w, _ := remote(t)
	cmd := w.change("dev", 1, map[string]string{"a.yaml": "a"})
	w.send(cmd)
	w.committed(cmd.GetDeployment())
	w.settled()
	w.cancel(cmd)
	w.settled()
	if w.has("deployment.cancelled", cmd.GetDeployment()) || w.commits() != 1 {
		t.Errorf("seen: %s", w.summary())
	}
}

func TestCancellingWhatNeverCameIsCancelled(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	w.cancel(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.withdrawn(name("dev", 1))
	w.settled()
	if w.bare.Tip("main") != "" {
		t.Error("the repository has a commit")
	}
}

// The one that matters most: the host is down, the deployment waits, and somebody does not want it any more. When the host is
// back, also after the committer was started anew meanwhile, nothing of it may reach Git.
func TestADeploymentThatIsCancelledInAnOutageNeverReachesGit(t *testing.T) {
	for what, restart := range map[string]bool{"one process": false, "started anew": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bus := &lookingBus{}
			w, srv := remote(t, looking(bus))
			srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Times: 1 << 30})
			cmd := w.change("dev", 1, map[string]string{"a.yaml": "a"})
			w.send(cmd)
			find(w, "deployment.waiting", cmd.GetDeployment(), &eventsv1.DeploymentWaiting{})
			w.cancel(cmd)
			w.known(bus)
			if restart {
				w.stop()
				w.start()
				w.known(bus)
			}
			srv.Heal()
			w.withdrawn(cmd.GetDeployment())
			w.settled()
			if w.bare.Tip("main") != "" {
				t.Error("the repository has a commit")
			}
			next := w.change("dev", 2, map[string]string{"a.yaml": "b"})
			w.send(next)
			w.committed(next.GetDeployment())
		})
	}
}
