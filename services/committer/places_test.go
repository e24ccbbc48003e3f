package committer_test

import (
	"context"
	"encoding/json"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// groupOf are the API groups of the kinds that these tests use.
var groupOf = map[string]string{"deployment": "apps/v1", "configmap": "v1", "secret": "v1", "route": "gateway.networking.k8s.io/v1"}

// described is a renderer that says of its files what is in them: deployment-api.yaml is the Deployment api of the workload api.
type described struct{ files }

func (r described) Render(ctx context.Context, req *rendererv1.RenderRequest, opts ...grpc.CallOption) (*rendererv1.RenderResponse, error) {
	answer, err := r.files.Render(ctx, req, opts...)
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{"deployment": "Deployment", "configmap": "ConfigMap", "secret": "Secret", "route": "HTTPRoute"}
	for f := range answer.GetBundle().GetFiles() {
		kind, name, _ := strings.Cut(strings.TrimSuffix(path.Base(f), ".yaml"), "-")
		answer.Bundle.Objects = append(answer.Bundle.Objects, &rendererv1.ObjectRef{
			ApiVersion: groupOf[kind], Kind: kinds[kind], Name: name, File: f, Workload: name,
		})
	}
	return answer, nil
}

// places is a world with a second and a third repository.
type places struct {
	*world
	srv    *gittest.Server
	config *gittest.Bare
	third  *gittest.Bare
}

func newPlaces(t *testing.T, opts ...option) *places {
	t.Helper()
	w, srv := remote(t, append([]option{func(w *world) { w.cfg.Renderer = described{} }}, opts...)...)
	p := &places{world: w, srv: srv, config: srv.Create("config"), third: srv.Create("third")}
	t.Cleanup(func() {
		if !t.Failed() {
			p.config.Fsck()
			p.third.Fsck()
		}
	})
	return p
}

func (p *places) ref(repo string) *committerv1.RepositoryRef {
	return &committerv1.RepositoryRef{Name: "repositories/" + repo, Url: p.srv.URL(repo), Branch: "main"}
}

// part is a part of dev in a repository.
func (p *places) part(id, repo, folder string, kinds ...string) *committerv1.Part {
	return &committerv1.Part{Id: id, Repository: p.ref(repo), Path: folder, Select: &committerv1.FileSelector{Kinds: kinds}}
}

func withParts(parts ...*committerv1.Part) func(*eventsv1.DeploymentRequested) {
	return func(cmd *eventsv1.DeploymentRequested) { cmd.Parts = parts }
}

func leaving(leaves ...*committerv1.Part) func(*eventsv1.DeploymentRequested) {
	return func(cmd *eventsv1.DeploymentRequested) { cmd.Leaves = leaves }
}

// bundleOf is the tree id of all files together.
func bundleOf(t testing.TB, vars map[string]string) string {
	t.Helper()
	files := map[string][]byte{}
	for f, content := range vars {
		files[f] = []byte(content)
	}
	id, err := git.TreeID(files)
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

var shop = map[string]string{"deployment-api.yaml": "api", "configmap-api.yaml": "config", "route-api.yaml": "route"}

const configFolder = "environments/dev/config"

func TestAnEnvironmentIsSplitOverRepositories(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	cmd := p.change("dev", 1, shop, withParts(
		p.part("config", "config", configFolder, "/ConfigMap"),
		p.part("routes", "shop", "environments/dev/routes", "gateway.networking.k8s.io/*"),
		p.part("secrets", "third", "environments/dev/secrets", "/Secret"),
	))
	cmd.ExpectTree = bundleOf(t, shop)
	p.send(cmd)
	got := p.committed(name("dev", 1))
	want := p.desired("applications/shop/environments/dev")
	main := p.bare.Git("rev-parse", "main:environments/dev/shop")
	if got.GetTree() != bundleOf(t, shop) || got.GetMainTree() != main || got.GetCommit() != p.bare.Tip("main") || len(got.GetParts()) != 3 {
		t.Fatalf("told was %v", got)
	}
	if want.GetTree() != got.GetTree() || want.GetMainTree() != main || len(want.GetParts()) != 3 {
		t.Errorf("desired is %v", want)
	}
	for i, at := range []struct {
		bare         *gittest.Bare
		folder, file string
	}{{p.config, configFolder, "configmap-api.yaml"}, {p.bare, "environments/dev/routes", "route-api.yaml"}, {p.third, "", ""}} {
		part := got.GetParts()[i]
		if part.GetCommit() != at.bare.Tip("main") {
			t.Errorf("part %s is told to be in %s", part.GetId(), part.GetCommit())
		}
		if at.file == "" {
			if part.GetTree() != "" {
				t.Errorf("part %s has nothing and is told as %v", part.GetId(), part)
			}
			continue
		}
		if tree := at.bare.Git("rev-parse", "main:"+at.folder); part.GetTree() != tree || part.GetFilesChanged() != 1 {
			t.Errorf("part %s is told as %v, and %s stands there", part.GetId(), part, tree)
		}
		if files := at.bare.Git("ls-tree", "--name-only", "-r", "main:"+at.folder); files != at.file {
			t.Errorf("part %s holds %s", part.GetId(), files)
		}
	}
	together := map[string]string{}
	for _, part := range append(want.GetParts(), &committerv1.CommittedPart{Repository: want.GetRepository(), Commit: want.GetCommit(), Tree: main}) {
		if part.GetTree() == "" {
			continue
		}
		tree, err := p.svc.GetTree(t.Context(), &committerv1.GetTreeRequest{Repository: part.GetRepository(), Commit: part.GetCommit(), Tree: part.GetTree()})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tree.GetFiles() {
			together[f.GetPath()] = string(f.GetContent())
		}
	}
	if d := cmp.Diff(shop, together); d != "" {
		t.Errorf("read together: %s", d)
	}
	if n := p.commits(); n != 1 || len(p.config.Log("main")) != 1 || len(p.third.Log("main")) != 1 {
		t.Errorf("there are %d commits in the main repository, which holds two places", n)
	}
}

// files gives the folder's files at the tip of a repository, by name.
func filesIn(b *gittest.Bare, folder string) map[string]string {
	out := map[string]string{}
	if b.Tip("main") == "" {
		return out
	}
	for _, f := range b.Files("main") {
		if name, ok := strings.CutPrefix(f, folder+"/"); ok {
			out[name] = b.Show("main", f)
		}
	}
	return out
}

// stateOf gives the state file of a place of dev; nil when there is none.
func stateOf(t testing.TB, b *gittest.Bare, part string) map[string]any {
	t.Helper()
	for _, f := range b.Files("main") {
		if strings.HasPrefix(f, ".towpath/state/") && strings.HasSuffix(f, "/shop/dev"+part) {
			out := map[string]any{}
			if err := json.Unmarshal([]byte(b.Show("main", f)), &out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	return nil
}

// log counts the commits of a branch that may not be there.
func log(b *gittest.Bare) int {
	if b.Tip("main") == "" {
		return 0
	}
	return len(b.Log("main"))
}

// dieAt has the process end at the nth time that a point is reached: the goroutine never goes on, and nothing after it happens.
func dieAt(point string, nth int32) (option, <-chan struct{}) {
	died := make(chan struct{})
	var times atomic.Int32
	return func(w *world) {
		w.cfg.Failpoint = func(at string) {
			if at == point && times.Add(1) == nth {
				close(died)
				runtime.Goexit()
			}
		}
	}, died
}

func (p *places) restartAfter(died <-chan struct{}) {
	p.t.Helper()
	select {
	case <-died:
	case <-time.After(patience):
		p.t.Fatal("the point is never reached")
	}
	p.stop()
	p.start()
}

// one is a deployment of dev in three repositories, one of which holds two places.
func (p *places) one(n int, vars map[string]string, mods ...func(*eventsv1.DeploymentRequested)) *eventsv1.DeploymentRequested {
	return p.change("dev", n, vars, append([]func(*eventsv1.DeploymentRequested){withParts(
		p.part("config", "config", configFolder, "/ConfigMap"), p.part("routes", "third", "routes/dev", "*/HTTPRoute"),
	)}, mods...)...)
}

func TestALateOlderCommandIsFencedInEachPlace(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(2, shop))
	p.committed(name("dev", 2))
	p.send(p.one(1, map[string]string{"configmap-api.yaml": "old"}))
	if got := p.failed(name("dev", 1)); !got.GetSuperseded() || strings.Contains(got.GetMessage(), "Written already") {
		t.Errorf("it ended as %v", got)
	}
	// One that knows of other places is stopped where the newer one has been, and has written nothing elsewhere before.
	p.send(p.change("dev", 1, shop, withParts(p.part("config", "config", configFolder, "/ConfigMap"), p.part("more", "third", "more", "*/HTTPRoute"))))
	p.settled()
	if p.commits() != 1 || log(p.config) != 1 || log(p.third) != 1 {
		t.Errorf("%d, %d and %d commits", p.commits(), log(p.config), log(p.third))
	}
}

func TestAPromiseThatDoesNotHoldIsToldBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, shop))
	p.committed(name("dev", 1))
	for n, c := range []struct {
		name string
		mod  func(*eventsv1.DeploymentRequested)
	}{
		{"all files together", func(cmd *eventsv1.DeploymentRequested) { cmd.ExpectTree = lostTree(t) }},
		{"what a part stands on", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[1].ExpectBaseTree = lostTree(t) }},
		{"what the main place stands on", func(cmd *eventsv1.DeploymentRequested) { cmd.ExpectBaseTree = "absent" }},
	} {
		p.send(p.one(n+2, map[string]string{"configmap-api.yaml": "2", "route-api.yaml": "2"}, c.mod))
		if got := p.failed(name("dev", n+2)); got.GetReason() != "PLAN_MOVED" || strings.Contains(got.GetMessage(), "Written already") {
			t.Errorf("%s: it ended as %v", c.name, got)
		}
	}
	if p.commits() != 1 || log(p.config) != 1 || log(p.third) != 1 {
		t.Errorf("%d, %d and %d commits", p.commits(), log(p.config), log(p.third))
	}
	p.send(p.one(5, map[string]string{"configmap-api.yaml": "2"}, func(cmd *eventsv1.DeploymentRequested) {
		cmd.ExpectTree = bundleOf(t, map[string]string{"configmap-api.yaml": "2"})
		cmd.Parts[0].ExpectBaseTree = p.config.Git("rev-parse", "main:"+configFolder)
		cmd.ExpectBaseTree = p.bare.Git("rev-parse", "main:environments/dev/shop")
	}))
	p.committed(name("dev", 5))
}

func TestASplitEnvironmentIsPutBackByItsTrees(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, shop))
	first := p.committed(name("dev", 1))
	p.send(p.one(2, map[string]string{"deployment-api.yaml": "2", "configmap-api.yaml": "2"}))
	p.committed(name("dev", 2))
	back := func(n int) *eventsv1.DeploymentRequested {
		return p.one(n, nil, restore(first.GetMainTree()), func(cmd *eventsv1.DeploymentRequested) {
			cmd.Input, cmd.ExpectTree = nil, first.GetTree()
			cmd.Parts[0].RestoreTree, cmd.Parts[1].RestoreTree = first.GetParts()[0].GetTree(), first.GetParts()[1].GetTree()
		})
	}
	p.send(back(3))
	got := p.committed(name("dev", 3))
	if got.GetTree() != first.GetTree() || got.GetMainTree() != first.GetMainTree() || got.GetParts()[0].GetTree() != first.GetParts()[0].GetTree() {
		t.Errorf("put back was %v, want %v", got, first)
	}
	if filesIn(p.config, configFolder)["configmap-api.yaml"] != "config" || filesIn(p.third, "routes/dev")["route-api.yaml"] != "route" {
		t.Error("the files are not those of then")
	}
	// The same command again finds all of it in Git, also when what it was made of is gone there.
	gone := back(3)
	gone.RestoreTree, gone.ExpectTree = lostTree(t), ""
	p.send(gone)
	p.settled()
	if p.has("deployment.failed", name("dev", 3)) {
		t.Errorf("what is in Git was told as failed: %v", p.failed(name("dev", 3)))
	}
	// What Git does not have any more is rendered, for all places, and has to be the same again.
	lost := back(4)
	lost.Parts[0].RestoreTree = lostTree(t)
	lost.Input = p.change("dev", 4, map[string]string{"configmap-a.yaml": "lost"}).GetInput()
	p.send(lost)
	if got := p.failed(name("dev", 4)); got.GetReason() != "PLAN_MOVED" {
		t.Errorf("it ended as %v", got)
	}
	unknown := back(5)
	unknown.Parts[1].RestoreTree = ""
	unknown.Input = p.change("dev", 5, shop).GetInput()
	p.send(unknown)
	if got := p.committed(name("dev", 5)); got.GetTree() != first.GetTree() || !got.GetUnchanged() {
		t.Errorf("rendered was %v", got)
	}
	unknown = back(6)
	unknown.Parts[1].RestoreTree = ""
	p.send(unknown)
	if got := p.failed(name("dev", 6)); !strings.Contains(got.GetMessage(), "input") {
		t.Errorf("without anything to render it ended as %v", got)
	}
}

func TestARemovalRemovesAllPlaces(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, shop))
	p.committed(name("dev", 1))
	p.send(p.one(2, nil, remove))
	got := p.committed(name("dev", 2))
	if got.GetTree() != "" || got.GetMainTree() != "" || len(got.GetParts()) != 2 || got.GetParts()[0].GetTree() != "" {
		t.Errorf("told was %v", got)
	}
	if !p.desired("applications/shop/environments/dev").GetRemoved() {
		t.Error("drift is not told to remove it")
	}
	if n := len(filesIn(p.bare, "environments")) + len(filesIn(p.config, "environments")) + len(filesIn(p.third, "routes")); n != 0 {
		t.Errorf("%d files are left", n)
	}
	if s := stateOf(t, p.config, "@config"); s["removed"] != true {
		t.Errorf("the part's state file says %v", s)
	}
}

func TestClaimsGoIntoTheirShare(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, map[string]string{"deployment-api.yaml": "api", "route-api.yaml": "route"}))
	p.committed(name("dev", 1))
	p.send(p.one(2, map[string]string{"configmap-claim.yaml": "claim"}, func(cmd *eventsv1.DeploymentRequested) {
		cmd.Mode, cmd.RequestId = eventsv1.DeploymentRequested_MODE_CLAIMS, "claims-2"
	}))
	told := find(p.world, "deployment.claims", name("dev", 2), &eventsv1.ClaimsCommitted{})
	want := p.desired("applications/shop/environments/dev")
	if filesIn(p.config, configFolder)["configmap-claim.yaml"] != "claim" || filesIn(p.bare, "environments/dev/shop")["deployment-api.yaml"] != "api" {
		t.Error("the claims are not where they belong")
	}
	if log(p.third) != 1 {
		t.Error("a place without claims was written")
	}
	if !want.GetClaimsOnly() || len(want.GetParts()) != 1 || want.GetParts()[0].GetTree() != p.config.Git("rev-parse", "main:"+configFolder) ||
		want.GetTree() != told.GetTree() || want.GetTree() != bundleOf(t, map[string]string{"deployment-api.yaml": "api", "configmap-claim.yaml": "claim"}) {
		t.Errorf("told was %v, desired is %v", told, want)
	}
	all := map[string]string{"deployment-api.yaml": "api 2", "route-api.yaml": "route", "configmap-claim.yaml": "claim"}
	p.send(p.one(2, all))
	if got := p.committed(name("dev", 2)); got.GetTree() != bundleOf(t, all) {
		t.Errorf("the deployment ended as %v", got)
	}
}

func TestAPartThatSomebodyElseChangedIsToldWithItsFolder(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	p.send(p.one(1, shop))
	p.committed(name("dev", 1))
	p.config.Commit("main", "by hand", map[string][]byte{configFolder + "/configmap-api.yaml": []byte("edited")})
	p.svc.Notice(p.srv.URL("config"), "main")
	ev := find(p.world, "repository.foreign_commit", "applications/shop/environments/dev", &eventsv1.ForeignCommit{})
	if ev.GetRepository() != "repositories/config" || ev.GetPath() != configFolder || ev.GetEnvironment() != "applications/shop/environments/dev" {
		t.Errorf("told was %v", ev)
	}
	p.send(p.one(2, shop))
	p.committed(name("dev", 2))
	if n := len(p.all("repository.foreign_commit")); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	p.third.Commit("main", "by hand", map[string][]byte{"routes/dev/extra.yaml": []byte("x")})
	p.send(p.one(3, shop))
	p.committed(name("dev", 3))
	if n := len(p.all("repository.foreign_commit")); n != 2 {
		t.Errorf("there are %d events", n)
	}
}

func TestPlacesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	for n, c := range []struct {
		name, word string
		mod        func(*eventsv1.DeploymentRequested)
	}{
		{"two parts of one id", "twice", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[1].Id = "config" }},
		{"an id that is no name", "parts[0].id", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[0].Id = "../x" }},
		{"a part in the main folder", "belongs to", func(cmd *eventsv1.DeploymentRequested) {
			cmd.Parts[0].Repository, cmd.Parts[0].Path = cmd.GetRepository(), cmd.GetPath()+"/config"
		}},
		{"two parts in one folder", "belongs to", func(cmd *eventsv1.DeploymentRequested) {
			cmd.Parts[0].Repository, cmd.Parts[0].Path = cmd.Parts[1].GetRepository(), "Routes/dev"
		}},
		{"Towpath's own folder", ".towpath", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[0].Path = ".towpath/state" }},
		{"a hostile folder", "INVALID_PATH", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[0].Path = "a/../b" }},
		{"no repository", "parts[0].repository.url", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[0].Repository = nil }},
		{"a hostile branch", "branch", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[0].Repository.Branch = "a..b" }},
		{"a tree that is none", "restore_tree", func(cmd *eventsv1.DeploymentRequested) { cmd.Parts[0].RestoreTree = "main" }},
		{"an old place that is none", "leaves[0]", func(cmd *eventsv1.DeploymentRequested) {
			cmd.Leaves = []*committerv1.Part{{Repository: cmd.GetRepository(), Path: "/"}}
		}},
		{"pull requests", "write_mode", func(cmd *eventsv1.DeploymentRequested) {
			cmd.WriteMode = committerv1.WriteMode_WRITE_MODE_PULL_REQUEST
		}},
	} {
		p.send(p.one(n+1, shop, c.mod))
		if got := p.failed(name("dev", n+1)); !strings.Contains(got.GetMessage()+got.GetReason(), c.word) {
			t.Errorf("%s: %q is not told: %v", c.name, c.word, got)
		}
	}
	if p.bare.Tip("main")+p.config.Tip("main")+p.third.Tip("main") != "" {
		t.Error("something was written")
	}
}

func TestAPlainDeploymentsStateFileIsAsItWas(t *testing.T) {
	t.Parallel()
	g := newGate()
	close(g.open)
	w := embedded(t, g.option)
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(name("dev", 1))
	want := `{
  "version": 1,
  "deployment": "applications/shop/environments/dev/deployments/1",
  "generation": 1,
  "request_id": "request-dev-1",
  "request_time": "2026-03-01T12:00:01Z",
  "set": "sets/abc",
  "path": "environments/dev/shop",
  "tree": "` + w.bare.Git("rev-parse", "main:environments/dev/shop") + `",
  "sha256": "` + strings.Repeat("5", 64) + `",
  "renderer_version": "test-1",
  "files_changed": 1
}
`
	files := w.bare.Files("main")
	if got := w.bare.Show("main", files[0]); strings.TrimSpace(got) != strings.TrimSpace(want) || len(files) != 2 {
		t.Errorf("the state file is\n%s\nwant\n%s", got, want)
	}
	if n := g.value(t, "pushes_total"); n != 1 {
		t.Errorf("%v pushes", n)
	}
}
