package committer_test

import (
	"context"
	"path"
	"strings"
	"testing"

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
	if n := p.commits(); n != 1 || len(p.config.Log("main")) != 1 || len(p.third.Log("main")) != 1 {
		t.Errorf("there are %d commits in the main repository, which holds two places", n)
	}
}
