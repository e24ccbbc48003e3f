package app_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// Whatever is planned and then deployed with the plan's hash: the commit has the tree of the plan, changes the files that the plan
// has shown and no other, by the real renderer and the real committer.
func TestTheCommittedTreeIsThePlannedOne(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	draftsOverREST(t, s)
	env := s.NewEnvironment(t, "planned/dev")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &randomChanges{rand: rand.New(rand.NewPCG(seed, 0)), env: env}
	type made struct {
		d    *catalogv1.Deployment
		plan *catalogv1.Plan
	}
	var all []made
	for range 40 {
		req := r.next()
		plan := apptest.Call(t, s.Catalog.PlanDeployment, req)
		var d *catalogv1.Deployment
		if req.GetRollbackTo() != "" {
			d = apptest.Call(t, s.Catalog.Rollback, &catalogv1.RollbackRequest{Name: env, Deployment: req.GetRollbackTo(), PlanHash: plan.GetPlanHash()})
		} else {
			d = apptest.Call(t, s.Catalog.CreateDeployment, &catalogv1.CreateDeploymentRequest{Parent: env, Change: req.GetChange(), PlanHash: plan.GetPlanHash()})
		}
		d = s.WaitState(t, d.GetName(), apptest.Syncing, apptest.Healthy)
		r.done = append(r.done, d.GetName())
		all = append(all, made{d, plan})
	}
	dir := s.Clone(t)
	for _, m := range all {
		if m.d.GetTree() != m.plan.GetTree() || m.d.GetSha256() != "" && m.d.GetSha256() != m.plan.GetSha256() {
			t.Errorf("%s made %s, planned was %s", m.d.GetName(), m.d.GetTree(), m.plan.GetTree())
		}
		// Git keeps no empty folder, so of an environment without a workload (its first deployment only sets a variable) ls-tree shows nothing.
		got := strings.TrimSpace(gittest.Git(t, dir, "ls-tree", "--format=%(objectname)", m.d.GetCommit(), m.d.GetPath()))
		if got == "" {
			got = git.EmptyTree.String()
		}
		if got != m.plan.GetTree() {
			t.Errorf("%s: Git has %s, planned was %s", m.d.GetName(), got, m.plan.GetTree())
		}
		if len(m.plan.GetFiles()) == 0 {
			continue // nothing to change, so that its commit is an earlier one
		}
		changed := strings.Fields(gittest.Git(t, dir, "diff-tree", "-r", "--no-commit-id", "--name-only", "--root", m.d.GetCommit(), "--", m.d.GetPath()))
		var planned []string
		for _, f := range m.plan.GetFiles() {
			planned = append(planned, m.d.GetPath()+"/"+f.GetPath())
		}
		slices.Sort(changed)
		slices.Sort(planned)
		if !slices.Equal(changed, planned) {
			t.Errorf("%s changed %v, planned were %v", m.d.GetName(), changed, planned)
		}
	}
}

// randomChanges makes changes that can be planned in any order.
type randomChanges struct {
	rand *rand.Rand
	env  string
	done []string
	has  []string
}

func (r *randomChanges) next() *catalogv1.PlanDeploymentRequest {
	out := &catalogv1.PlanDeploymentRequest{Parent: r.env}
	n := r.rand.IntN(100)
	set := func(path string, v string) *rendererv1.Operation {
		return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: structpb.NewStringValue(v)}
	}
	switch kind := r.rand.IntN(7); {
	case kind == 0 && len(r.done) > 2:
		out.RollbackTo = r.done[r.rand.IntN(len(r.done))]
		r.has = nil // whatever it had; workloads are deployed again before they are changed
	case kind == 1 && len(r.has) > 1:
		i := r.rand.IntN(len(r.has))
		out.Change = &catalogv1.Change{RemoveWorkloads: []string{r.has[i]}}
		r.has = slices.Delete(r.has, i, i+1)
	case kind == 2 && len(r.has) > 0:
		out.Change = &catalogv1.Change{SetOperations: []*rendererv1.Operation{
			set("/workloads/"+r.has[0]+"/containers/main/image", fmt.Sprintf("registry.example.com/x:%d", n)),
		}}
	case kind == 3 && len(r.has) > 0:
		out.Change = &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{
			set("/workloads/"+r.has[0]+"/metadata/annotations/towpath.dev~1replicas", fmt.Sprint(n%5)),
		}}
	case kind == 4 || len(r.done) == 0: // first of all one that leaves the environment without a file
		out.Change = &catalogv1.Change{Variables: map[string]string{fmt.Sprintf("V%d", n%3): fmt.Sprint(n)}}
	default:
		name := fmt.Sprintf("w%d", r.rand.IntN(4))
		out.Change = apptest.Scores(apptest.Score(name, map[string]string{"NUMBER": fmt.Sprint(n), "ODD": "$$ ~/ü \"" + fmt.Sprint(n%2)}))
		if !slices.Contains(r.has, name) {
			r.has = append(r.has, name)
		}
	}
	return out
}

// The catalog holds a deployment to its plan when it accepts it; what moves between that and the push, the committer sees.
func TestAPlanThatMovedIsRefusedFromEitherSide(t *testing.T) {
	t.Parallel()
	host := gittest.NewServer(t)
	bare := host.Create("deployments")
	address, err := url.Parse(host.URL("deployments"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	server := eventstest.StartIn(t, dir)
	s := apptest.Start(t, apptest.WithNATS(server.ClientURL(), filepath.Dir(server.SeedFile(events.RoleCatalog))))
	apptest.Call(t, s.Catalog.UpdateRepository, &catalogv1.UpdateRepositoryRequest{
		Repository: &catalogv1.Repository{Name: "repositories/default", Url: address.String()},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url"}},
	})
	env := s.NewEnvironment(t, "moved/dev")
	s.WaitState(t, s.DeployScore(t, env, apptest.Score("web", nil)).GetName(), apptest.Syncing)
	change := apptest.Scores(apptest.Score("api", nil))
	plan := apptest.Call(t, s.Catalog.PlanDeployment, &catalogv1.PlanDeploymentRequest{Parent: env, Change: change})

	server.Shutdown() // now commands wait
	d := apptest.Call(t, s.Catalog.CreateDeployment, &catalogv1.CreateDeploymentRequest{Parent: env, Change: change, PlanHash: plan.GetPlanHash()})
	s.WaitWaiting(t, d.GetName())
	somebodyPushes(t, host.URL("deployments"), d.GetPath())
	// Reads of Git may be a moment old, which is why the committer has the last word.
	apptest.Await(t, "a plan sees what was pushed", func() bool {
		now := apptest.Call(t, s.Catalog.PlanDeployment, &catalogv1.PlanDeploymentRequest{Parent: env, Change: change})
		return now.GetBaseTree() != plan.GetBaseTree()
	})
	_, err = s.Catalog.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: env, Change: change, PlanHash: plan.GetPlanHash()})
	if err == nil || !strings.Contains(err.Error(), "base_tree") {
		t.Errorf("the catalog accepts a plan that has moved: %v", err)
	}
	eventstest.StartIn(t, dir)
	failed := s.WaitState(t, d.GetName(), catalogv1.Deployment_STATE_FAILED)
	if failed.GetError().GetReason() != "PLAN_MOVED" || !strings.Contains(failed.GetError().GetMessage(), "folder in Git") {
		t.Errorf("error = %v", failed.GetError())
	}
	if got := bare.Git("rev-parse", "main:"+d.GetPath()); got == plan.GetTree() {
		t.Error("the plan was committed all the same")
	}
	s.Stop(t)
}

func somebodyPushes(t *testing.T, remote, folder string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	gittest.Git(t, filepath.Dir(dir), "clone", "--quiet", remote, dir)
	if err := os.WriteFile(filepath.Join(dir, folder, "mine.yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, dir, "add", "-A")
	gittest.Git(t, dir, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "mine")
	gittest.Git(t, dir, "push", "-q", "origin", "HEAD:main")
}

// draftsOverREST checks that REST answers as gRPC does, errors included.
func draftsOverREST(t *testing.T, s *apptest.System) {
	t.Helper()
	env := s.NewEnvironment(t, "drafts/dev")
	d := s.DeployScore(t, env, apptest.Score("web", nil))
	code, body := s.REST(t, "POST", "/v1/applications/drafts/drafts?draft_id=next", `{"environment":"`+env+`","operations":[
		{"action":"ACTION_SET","path":"/workloads/web/containers/main/image","value":"registry.example.com/web:2"}]}`)
	var made struct{ ResultSet, BaseSet string }
	if code != http.StatusOK || json.Unmarshal([]byte(body), &made) != nil {
		t.Fatalf("create: %d %s", code, body)
	}
	code, body = s.REST(t, "GET", "/v1/sets:diff?from="+d.GetIntent().GetSet()+"&to="+made.ResultSet, "")
	if code != http.StatusOK || !strings.Contains(body, "web: image registry.example.com/web:1 -> registry.example.com/web:2") {
		t.Errorf("diff: %d %s", code, body)
	}
	code, body = s.REST(t, "POST", "/v1/"+env+":setImage", `{"workload":"web","image":"registry.example.com/web:3"}`)
	if code != http.StatusOK {
		t.Fatalf("set image: %d %s", code, body)
	}
	code, body = s.REST(t, "POST", "/v1/applications/drafts/drafts/next:deploy", `{}`)
	if code != http.StatusConflict || !strings.Contains(body, "DRAFT_CONFLICT") || !strings.Contains(body, "/workloads/web/containers/main/image") {
		t.Errorf("deploy: %d %s", code, body)
	}
	code, body = s.REST(t, "DELETE", "/v1/applications/drafts/drafts/next", "")
	if code != http.StatusOK {
		t.Errorf("delete: %d %s", code, body)
	}
}
