package committer_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestAKillBetweenAnyTwoPlacesLeavesOneCommitInEach(t *testing.T) {
	for _, c := range []struct {
		point string
		nth   int32
	}{
		{"rendered", 1}, {"pack_sent", 1}, {"pack_sent", 2}, {"pack_sent", 3}, {"ref_moved", 1}, {"ref_moved", 2}, {"ref_moved", 3},
		{"parts_written", 1}, {"event_sent", 1},
	} {
		t.Run(fmt.Sprintf("%s %d", c.point, c.nth), func(t *testing.T) {
			t.Parallel()
			die, died := dieAt(c.point, c.nth)
			p := newPlaces(t, die)
			p.send(p.one(1, shop))
			p.restartAfter(died)
			got := p.committed(name("dev", 1))
			p.settled()
			if p.commits() != 1 || log(p.config) != 1 || log(p.third) != 1 || len(p.all("deployment.committed")) != 1 {
				t.Errorf("%d, %d and %d commits, events: %s", p.commits(), log(p.config), log(p.third), p.summary())
			}
			if got.GetTree() != bundleOf(t, shop) || got.GetParts()[0].GetCommit() != p.config.Tip("main") || got.GetParts()[1].GetCommit() != p.third.Tip("main") {
				t.Errorf("told was %v", got)
			}
		})
	}
}

func TestAPlaceThatIsAwayHoldsOnlyItsDeployment(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Path: "/config.git", Times: 12})
	p.send(p.one(1, shop))
	waits := find(p.world, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{})
	if !strings.Contains(waits.GetReason(), "repositories/config") || waits.GetStage() != "commit" {
		t.Errorf("it waits as %v", waits)
	}
	p.send(p.change("qa", 1, shop))
	p.committed(name("qa", 1))
	if d := p.desired("applications/shop/environments/dev"); d.GetDeployment() != "" && !p.has("deployment.committed", name("dev", 1)) && log(p.config) == 0 {
		t.Errorf("half a deployment was told to drift: %v", d)
	}
	p.committed(name("dev", 1))
	if p.commits() != 2 || log(p.config) != 1 || log(p.third) != 1 {
		t.Errorf("%d, %d and %d commits", p.commits(), log(p.config), log(p.third))
	}
}

func TestAPlaceThatRefusesFailsTheDeploymentAndTheNextBringsAllTogether(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, shop))
	p.committed(name("dev", 1))
	hook(t, p.bare, "echo 'main is frozen' >&2; exit 1\n")
	changed := map[string]string{"deployment-api.yaml": "api 2", "configmap-api.yaml": "config 2", "route-api.yaml": "route"}
	p.send(p.one(2, changed))
	got := p.failed(name("dev", 2))
	for _, word := range []string{"main is frozen", "repositories/deploy", "part config in repositories/config", "deploy again"} {
		if !strings.Contains(got.GetMessage(), word) {
			t.Errorf("%q is not told: %s", word, got.GetMessage())
		}
	}
	if got.GetReason() != "PUSH_REFUSED" || filesIn(p.config, configFolder)["configmap-api.yaml"] != "config 2" {
		t.Errorf("it ended as %v", got)
	}
	if d := p.desired("applications/shop/environments/dev"); d.GetGeneration() != 1 {
		t.Errorf("half a deployment was told to drift: %v", d)
	}
	// A move that fails half way says that the leftover is for a person, because the next deployment may be elsewhere.
	p.send(p.one(3, changed, leaving(p.old("routes", "third", "routes/old"))))
	if got := p.failed(name("dev", 3)); !strings.Contains(got.GetMessage(), "move again") {
		t.Errorf("it ended as %v", got)
	}
	hook(t, p.bare, "exit 0\n")
	p.send(p.one(4, changed))
	if got := p.committed(name("dev", 4)); got.GetTree() != bundleOf(t, changed) || got.GetUnchanged() {
		t.Errorf("the next one ended as %v", got)
	}
	if filesIn(p.bare, "environments/dev/shop")["deployment-api.yaml"] != "api 2" {
		t.Error("the main place did not follow")
	}
}

// newer is a renderer whose next version makes something else of the same input.
type newer struct{ described }

func (r newer) Render(ctx context.Context, req *rendererv1.RenderRequest, opts ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	req = proto.CloneOf(req)
	for k, v := range req.GetInput().GetVariables() {
		req.Input.Variables[k] = v + " by the next version"
	}
	return r.described.Render(ctx, req, opts...)
}

func TestPlacesOfTwoRenderingsAreBroughtTogether(t *testing.T) {
	t.Parallel()
	die, died := dieAt("parts_written", 1)
	p := newPlaces(t, die)
	p.send(p.one(1, shop))
	<-died
	p.stop()
	p.cfg.Renderer = newer{}
	p.start()
	got := p.committed(name("dev", 1))
	want := map[string]string{}
	for f, content := range shop {
		want[f] = content + " by the next version"
	}
	if got.GetTree() != bundleOf(t, want) || filesIn(p.config, configFolder)["configmap-api.yaml"] != want["configmap-api.yaml"] {
		t.Errorf("told was %v, and %v stands there", got, filesIn(p.config, configFolder))
	}
	if got.GetParts()[0].GetCommit() != p.config.Tip("main") || p.commits() != 1 {
		t.Errorf("told was %v", got)
	}
}

func TestAnUpgradeThatRefusesTheInputSaysWhatIsWrittenAlready(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point string
		ends  string
	}{{"parts_written", "deployment.failed"}, {"event_sent", "deployment.committed"}} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			die, died := dieAt(c.point, 1)
			p := newPlaces(t, die)
			p.send(p.one(1, shop))
			<-died
			p.stop()
			p.cfg.Renderer = refusing{}
			p.start()
			p.settled()
			if !p.has(c.ends, name("dev", 1)) {
				t.Fatalf("it ended as %s", p.summary())
			}
			if c.ends == "deployment.failed" {
				if got := p.failed(name("dev", 1)); got.GetStage() != "render" || !strings.Contains(got.GetMessage(), "part config in repositories/config") {
					t.Errorf("it ended as %v", got)
				}
			} else if p.has("deployment.failed", name("dev", 1)) || len(p.committed(name("dev", 1)).GetParts()) != 2 {
				t.Errorf("it ended as %s", p.summary())
			}
		})
	}
}

func TestACancelledDeploymentStopsOnlyWhileNoPlaceHasIt(t *testing.T) {
	t.Parallel()
	die, died := dieAt("parts_written", 1)
	b := new(lookingBus)
	p := newPlaces(t, die, looking(b))
	cmd := p.one(1, shop)
	p.send(cmd)
	<-died
	p.stop()
	p.srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Path: "/shop.git", Times: 1 << 30})
	p.start()
	find(p.world, "deployment.waiting", name("dev", 1), &eventsv1.DeploymentWaiting{})
	p.cancel(cmd)
	p.known(b)
	p.srv.Heal()
	p.committed(name("dev", 1))

	p.settled()
	p.srv.Fail(gittest.Fault{Kind: gittest.Status, Status: 503, Path: "/config.git", Times: 1 << 30})
	p.stop()
	p.start()
	cmd = p.one(2, map[string]string{"configmap-api.yaml": "2"})
	p.send(cmd)
	find(p.world, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{})
	p.cancel(cmd)
	p.known(b)
	p.srv.Heal()
	find(p.world, "deployment.cancelled", name("dev", 2), &eventsv1.DeploymentCancelled{})
	if log(p.config) != 1 || p.commits() != 1 {
		t.Error("a cancelled deployment was written")
	}
}

func TestAHeldForeignChangeStopsAllPlacesBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	hold := func(cmd *eventsv1.DeploymentRequested) {
		cmd.ForeignPolicy = committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD
	}
	p := newPlaces(t)
	p.send(p.one(1, shop, hold))
	p.committed(name("dev", 1))
	p.bare.Commit("main", "by hand", map[string][]byte{oldFolder + "/deployment-api.yaml": []byte("edited")})
	changed := map[string]string{"deployment-api.yaml": "2", "configmap-api.yaml": "2", "route-api.yaml": "2"}
	p.send(p.one(2, changed, hold))
	if got := find(p.world, "deployment.waiting", name("dev", 2), &eventsv1.DeploymentWaiting{}); !strings.Contains(got.GetReason(), oldFolder) {
		t.Errorf("it waits as %v", got)
	}
	if log(p.config) != 1 || log(p.third) != 1 || p.commits() != 2 {
		t.Error("half of it was written")
	}
	p.bare.Commit("main", "taken back", map[string][]byte{oldFolder + "/deployment-api.yaml": []byte("api")})
	p.committed(name("dev", 2))
	// An old place with a change to decide about is waited for at the new one.
	p.bare.Commit("main", "by hand", map[string][]byte{oldFolder + "/extra.yaml": []byte("x")})
	p.send(p.change("dev", 3, shop, hold, p.to("third", "apps/shop"), leaving(
		p.old("", "shop", oldFolder), p.old("config", "config", configFolder), p.old("routes", "third", "routes/dev"))))
	got := find(p.world, "deployment.waiting", name("dev", 3), &eventsv1.DeploymentWaiting{})
	if !strings.Contains(got.GetReason(), "stands at its new place") || filesIn(p.bare, oldFolder)["extra.yaml"] != "x" {
		t.Errorf("it waits as %v", got)
	}
	p.bare.Commit("main", "taken back", map[string][]byte{oldFolder + "/extra.yaml": nil})
	p.committed(name("dev", 3))
	if len(filesIn(p.bare, oldFolder)) != 0 || len(filesIn(p.third, "apps/shop")) != len(shop) {
		t.Error("it has not moved")
	}
}

func TestAllCommitsOfSplitAndMovedEnvironmentsAreSigned(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	signing := &committerv1.Signing{Format: committerv1.Signing_FORMAT_SSH, Credentials: "signer"}
	p := newPlaces(t, func(w *world) {
		w.cfg.CredentialsDir = t.TempDir()
		w.repo.Signing = signing
		dir := filepath.Join(w.cfg.CredentialsDir, "signer")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "identity"), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	sign := func(cmd *eventsv1.DeploymentRequested) {
		cmd.Repository.Signing = signing
		for _, part := range append(cmd.GetParts(), cmd.GetLeaves()...) {
			part.Repository.Signing = signing
		}
	}
	p.send(p.one(1, shop, sign))
	p.committed(name("dev", 1))
	p.send(p.change("dev", 2, shop, p.to("third", "apps/shop"), leaving(
		p.old("", "shop", oldFolder), p.old("config", "config", configFolder), p.old("routes", "third", "routes/dev")), sign))
	p.committed(name("dev", 2))
	for _, b := range []*gittest.Bare{p.bare, p.config, p.third} {
		for _, c := range strings.Fields(b.Git("rev-list", "main")) {
			if !strings.Contains(b.Git("cat-file", "commit", c), "BEGIN SSH SIGNATURE") {
				t.Errorf("a commit is not signed: %s", b.Git("log", "-1", c))
			}
		}
	}
}
