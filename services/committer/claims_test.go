package committer_test

import (
	"slices"
	"strings"
	"testing"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

func claims(cmd *eventsv1.DeploymentRequested) {
	cmd.Mode, cmd.RequestId = eventsv1.DeploymentRequested_MODE_CLAIMS, cmd.GetRequestId()+"#claims"
}

func (w *world) claimed(name string) *eventsv1.ClaimsCommitted {
	w.t.Helper()
	w.await("the claims of "+name, func() bool { return w.has("deployment.claims", name) })
	return find(w, "deployment.claims", name, &eventsv1.ClaimsCommitted{})
}

func TestClaimsStandBesideWhatIsThereUntilTheDeploymentItselfComes(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		const env = "applications/shop/environments/dev"
		w.send(w.change("dev", 1, map[string]string{"web.yaml": "kind: A\n"}))
		w.committed(name("dev", 1))
		first := w.change("dev", 2, map[string]string{"claim.yaml": "kind: C\n"}, claims)
		w.send(first)
		got := w.claimed(name("dev", 2))
		if got.GetTree() != w.bare.Git("rev-parse", "main:environments/dev/shop") || got.GetCommit() != w.bare.Tip("main") {
			t.Errorf("event = %v", got)
		}
		folder := func() []string {
			return slices.DeleteFunc(w.bare.Files("main"), func(f string) bool { return !strings.HasPrefix(f, "environments/dev/shop/") })
		}
		if files := folder(); len(files) != 2 {
			t.Errorf("files = %v", files)
		}
		if d := w.desired(env); !d.GetClaimsOnly() || d.GetGeneration() != 2 || d.GetTree() != got.GetTree() {
			t.Errorf("desired = %v", d)
		}
		w.send(first) // again: nothing happens
		w.settled()
		if n := w.commits(); n != 2 {
			t.Errorf("%d commits after a repeated command", n)
		}
		w.send(w.change("dev", 2, map[string]string{"claim.yaml": "kind: C\n", "api.yaml": "kind: D\n"}))
		own := w.committed(name("dev", 2))
		if files := folder(); !slices.Equal(files, []string{"environments/dev/shop/api.yaml", "environments/dev/shop/claim.yaml"}) || own.GetCommit() == got.GetCommit() {
			t.Errorf("files = %v, commit %s", files, own.GetCommit())
		}
		w.await("the desired state", func() bool { return !w.desired(env).GetClaimsOnly() })
		w.send(first) // late: neither Git nor the desired state goes back, and the deployment has not failed
		w.settled()
		if d := w.desired(env); d.GetClaimsOnly() || d.GetTree() != own.GetTree() || w.commits() != 3 || w.has("deployment.failed", name("dev", 2)) {
			t.Errorf("after a late repetition: %d commits, desired %v, %s", w.commits(), d, w.summary())
		}
	})
}

// Claims in Git are not the deployment: who cancels while their outputs are awaited is told that it is cancelled.
func TestADeploymentOfWhichOnlyTheClaimsAreInGitIsWithdrawn(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	cmd := w.change("dev", 1, map[string]string{"claim.yaml": "kind: C\n"}, claims)
	w.send(cmd)
	w.claimed(cmd.GetDeployment())
	w.settled()
	w.cancel(cmd)
	w.withdrawn(cmd.GetDeployment())
	w.settled()
	if w.has("deployment.committed", cmd.GetDeployment()) || w.commits() != 1 {
		t.Errorf("seen: %s", w.summary())
	}
}

func TestClaimsOfAnOvertakenDeploymentAreSuperseded(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.send(w.change("dev", 3, map[string]string{"web.yaml": "kind: A\n"}))
		w.committed(name("dev", 3))
		w.send(w.change("dev", 2, map[string]string{"claim.yaml": "kind: C\n"}, claims))
		if f := w.failed(name("dev", 2)); !f.GetSuperseded() {
			t.Errorf("failed = %v", f)
		}
	})
}
