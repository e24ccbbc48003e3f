package catalog_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// remotes are several repositories with several branches, and a committer that writes them at once.
type remotes struct {
	committerv1.CommitterServiceClient
	mu      sync.Mutex
	folders map[string]map[string][]byte // by URL, branch and path
	trees   map[string]map[string][]byte // by URL and tree id
	reads   int
}

func folder(r *committerv1.RepositoryRef, path string) string {
	return r.GetUrl() + " " + r.GetBranch() + " " + path
}

func (f *remotes) GetTree(_ context.Context, r *committerv1.GetTreeRequest, _ ...grpc.CallOption) (*committerv1.Tree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	files, ok := f.folders[folder(r.GetRepository(), r.GetPath())]
	if r.GetTree() != "" {
		if files, ok = f.trees[r.GetRepository().GetUrl()+" "+r.GetTree()]; !ok {
			return nil, rpc.ToStatus(errs.NotFoundf("tree "+r.GetTree(), ""), "").Err()
		}
	}
	out := &committerv1.Tree{}
	if !ok {
		return out, nil
	}
	out.Tree = treeID(files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out.Files = append(out.Files, &committerv1.File{Path: name, Content: files[name]})
	}
	return out, nil
}

func (f *remotes) write(r *committerv1.RepositoryRef, path string, files map[string][]byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(files) == 0 {
		delete(f.folders, folder(r, path))
		return ""
	}
	f.folders[folder(r, path)], f.trees[r.GetUrl()+" "+treeID(files)] = files, files
	return treeID(files)
}

// standing gives what is where, as "url branch path: files".
func (f *remotes) standing() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for at, files := range f.folders {
		out = append(out, at+": "+strings.Join(slices.Sorted(maps.Keys(files)), " "))
	}
	slices.Sort(out)
	return out
}

// twoFiles is a renderer with one file for each workload and one for a database; the version is part of it.
func twoFiles(version string) func(*rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
	return func(r *rendererv1.RenderRequest) (*rendererv1.RenderResponse, error) {
		resp := bundleOf(r.GetInput())
		b := resp.GetBundle()
		for name := range b.GetFiles() {
			b.Objects = append(b.Objects, &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Name: name, File: name, Workload: strings.TrimSuffix(name, ".yaml")})
		}
		b.Files["db.yaml"] = []byte("kind: Cluster\nby: " + version + "\n")
		b.Objects = append(b.Objects, &rendererv1.ObjectRef{ApiVersion: "postgresql.cnpg.io/v1", Kind: "Cluster", Name: "db", File: "db.yaml"})
		b.Tree = treeID(b.Files)
		resp.RendererVersion = version
		return resp, nil
	}
}

// movers is a catalog whose commands a test performs one by one.
type movers struct {
	*world
	bus     *lightBus
	git     *remotes
	api     catalogv1.GitServiceClient
	handle  events.Handler
	handled int
}

func newMovers(t *testing.T) *movers {
	t.Helper()
	g := &remotes{folders: map[string]map[string][]byte{}, trees: map[string]map[string][]byte{}}
	w, b := lightWorld(t, memkv.New(), func(c *catalog.Config) { c.Committer = g })
	w.renderer.set(twoFiles("v1"))
	m := &movers{world: w, bus: b, git: g, api: catalogv1.NewGitServiceClient(w.conn), handle: <-b.handler}
	w.repo("infra", &catalogv1.Repository{Url: "embedded:///infra", PathTemplate: "databases/{environment}/{application}"})
	w.app("shop")
	w.env("shop", "dev")
	return m
}

func (m *movers) ship(image string) *catalogv1.Deployment {
	m.t.Helper()
	d := m.deploy(devEnv, &catalogv1.Change{Scores: []*rendererv1.ScoreFile{{Content: []byte("api"), Image: image}}})
	m.perform(m.next())
	return m.get(d.GetName())
}

// next waits for the next command.
func (m *movers) next() *eventsv1.DeploymentRequested {
	m.t.Helper()
	var cmd *eventsv1.DeploymentRequested
	eventually(m.t, func() error {
		m.bus.mu.Lock()
		defer m.bus.mu.Unlock()
		n := 0
		for _, msg := range m.bus.sent {
			if c, ok := msg.Body.(*eventsv1.DeploymentRequested); ok {
				if n++; n > m.handled {
					cmd, m.handled = c, n
					return nil
				}
			}
		}
		return fmt.Errorf("%d commands", n)
	})
	return cmd
}

// perform does what a command says and tells it.
func (m *movers) perform(cmd *eventsv1.DeploymentRequested) {
	m.t.Helper()
	e := m.commit(cmd)
	must(m.t, m.handle(m.t.Context(), delivery("deployment.committed", sec(10), e)))
	at := sec(20)
	must(m.t, m.handle(m.t.Context(), delivery("environment.synced", at, syncedEvent(cmd.GetDeployment(), cmd.GetGeneration(), at))))
	must(m.t, m.handle(m.t.Context(), delivery("environment.health", at, healthEvent(cmd.GetDeployment(), cmd.GetGeneration(), at))))
}

func (m *movers) commit(cmd *eventsv1.DeploymentRequested) *eventsv1.DeploymentCommitted {
	m.t.Helper()
	shares := map[string]map[string][]byte{}
	if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RESTORE {
		shares[""] = m.git.trees[cmd.GetRepository().GetUrl()+" "+cmd.GetRestoreTree()]
		for _, p := range cmd.GetParts() {
			shares[p.GetId()] = m.git.trees[p.GetRepository().GetUrl()+" "+p.GetRestoreTree()]
		}
	}
	if cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RENDER || len(shares[""]) == 0 {
		resp, err := m.renderer.Render(m.t.Context(), &rendererv1.RenderRequest{Input: cmd.GetInput()})
		must(m.t, err)
		if want := cmd.GetExpectTree(); want != "" && want != resp.GetBundle().GetTree() {
			m.t.Fatalf("tree %s, the command promises %s", resp.GetBundle().GetTree(), want)
		}
		place := &catalogv1.Place{}
		for _, p := range cmd.GetParts() {
			place.Parts = append(place.Parts, &catalogv1.PartPlace{Id: p.GetId(), Select: p.GetSelect()})
		}
		sorter := rules.NewSorter(place, resp.GetBundle().GetObjects())
		shares = map[string]map[string][]byte{}
		for name, content := range resp.GetBundle().GetFiles() {
			part, _ := sorter.Part(name)
			if shares[part] == nil {
				shares[part] = map[string][]byte{}
			}
			shares[part][name] = content
		}
	}
	all := map[string][]byte{}
	for _, files := range shares {
		maps.Copy(all, files)
	}
	main := m.git.write(cmd.GetRepository(), cmd.GetPath(), shares[""])
	e := committedEvent(cmd, treeID(all))
	for _, p := range cmd.GetParts() {
		e.MainTree = main
		e.Parts = append(e.Parts, &committerv1.CommittedPart{
			Id: p.GetId(), Repository: p.GetRepository(), Path: p.GetPath(), Commit: "part-of-" + cmd.GetDeployment(), Tree: m.git.write(p.GetRepository(), p.GetPath(), shares[p.GetId()]),
		})
	}
	for _, p := range cmd.GetLeaves() {
		m.git.write(p.GetRepository(), p.GetPath(), nil)
	}
	return e
}

func (m *movers) move(edit ...func(*catalogv1.MoveEnvironmentRequest)) (*catalogv1.Deployment, error) {
	r := &catalogv1.MoveEnvironmentRequest{Name: devEnv, Message: "tidy up"}
	for _, e := range edit {
		e(r)
	}
	return m.api.MoveEnvironment(m.t.Context(), r)
}

func (m *movers) planMove() (*catalogv1.Plan, error) {
	return m.world.api.PlanDeployment(m.t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Move: true})
}

// elsewhere gives the environment's layout another repository, folder and a split.
func (m *movers) elsewhere(splits ...*catalogv1.Split) *catalogv1.Place {
	m.t.Helper()
	must(m.t, m.updateRepo(&catalogv1.Repository{
		Name: "repositories/default", Url: "embedded:///{application}", Branch: "env/{environment}", PathTemplate: "manifests", Splits: splits,
	}, "url", "branch", "path_template", "splits"))
	return m.getEnv(devEnv).GetLayoutPlace()
}

const (
	oldFolder = "embedded:///deployments main environments/dev/shop: api.yaml db.yaml"
	newFolder = "embedded:///shop env/dev manifests: api.yaml db.yaml"
)

func TestAnEnvironmentIsMovedToWhereItsLayoutPutsIt(t *testing.T) {
	m := newMovers(t)
	ran := m.ship("api:1")
	from, to := m.getEnv(devEnv).GetPlace(), m.elsewhere()
	plan, err := m.planMove()
	must(t, err)
	if diff := cmp.Diff([]proto.Message{from, to}, []proto.Message{plan.GetFromPlace(), plan.GetPlace()}, protocmp.Transform()); diff != "" {
		t.Errorf("places of the plan:\n%s", diff)
	}
	if len(plan.GetFiles()) != 2 || plan.GetFiles()[0].GetAction() != catalogv1.FileChange_ACTION_ADD || len(plan.GetObjects()) != 0 || plan.GetBaseTree() != "" || plan.GetTree() != ran.GetTree() {
		t.Errorf("plan: %v", plan)
	}
	d, err := m.move(func(r *catalogv1.MoveEnvironmentRequest) { r.PlanHash = plan.GetPlanHash() })
	must(t, err)
	if d.GetKind() != catalogv1.Deployment_KIND_MOVE || d.GetRepository() != "repositories/default" || d.GetBranch() != "env/dev" || d.GetPath() != "manifests" ||
		d.GetPlannedTree() != ran.GetTree() || d.GetPlannedBaseTree() != "absent" || !proto.Equal(d.GetFromPlace(), from) || len(d.GetSummary()) != 2 {
		t.Errorf("the move: %v", d)
	}
	_, err = m.world.api.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: devEnv, Change: variable("A", "1")})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "MOVING" {
		t.Errorf("a deployment while it moves: %v", e)
	}
	if _, err := m.world.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv}); err == nil {
		t.Error("it was removed while it moves")
	}
	cmd := m.next()
	if cmd.GetRepository().GetUrl() != "embedded:///shop" || cmd.GetExpectTree() != ran.GetTree() || cmd.GetExpectBaseTree() != "absent" || len(cmd.GetLeaves()) != 1 ||
		cmd.GetLeaves()[0].GetRepository().GetUrl() != "embedded:///deployments" || cmd.GetLeaves()[0].GetPath() != "environments/dev/shop" {
		t.Errorf("command: %v", cmd)
	}
	if got := m.getEnv(devEnv).GetPlace(); !proto.Equal(got, from) {
		t.Errorf("before it is in Git it stands in %v", got)
	}
	m.perform(cmd)
	e := m.getEnv(devEnv)
	if !proto.Equal(e.GetPlace(), to) || e.GetLayoutPlace() != nil {
		t.Errorf("it stands in %v, the layout says %v", e.GetPlace(), e.GetLayoutPlace())
	}
	if diff := cmp.Diff([]string{newFolder}, m.git.standing()); diff != "" {
		t.Errorf("in Git:\n%s", diff)
	}
	if got := m.get(d.GetName()); got.GetState() != catalogv1.Deployment_STATE_HEALTHY || got.GetTree() != ran.GetTree() {
		t.Errorf("the move ended as %v", got)
	}
	after := m.ship("api:2")
	if after.GetPath() != "manifests" || len(m.git.standing()) != 1 {
		t.Errorf("the next deployment: %v", after)
	}
	_, err = m.move()
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "SAME_PLACE" {
		t.Errorf("a move to where it is: %v", e)
	}
}

func TestAMoveIsHeldToItsPlan(t *testing.T) {
	m := newMovers(t)
	m.ship("api:1")
	m.elsewhere()
	plan, err := m.planMove()
	must(t, err)
	must(t, m.updateRepo(&catalogv1.Repository{Name: "repositories/default", PathTemplate: "other"}, "path_template"))
	_, err = m.move(func(r *catalogv1.MoveEnvironmentRequest) { r.PlanHash = plan.GetPlanHash() })
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_PLAN_MOVED); e.Meta["moved"] != "place" {
		t.Errorf("moved = %q", e.Meta["moved"])
	}
}

func TestTheNewFolderIsOwnedWhileAMoveIsUnderWay(t *testing.T) {
	taken := func(m *movers, template string) error { // as another environment would take it
		id := strings.NewReplacer("/", "-", ".", "-", "{", "", "}", "").Replace(strings.ToLower(template))
		m.repo(id, &catalogv1.Repository{Url: "embedded:///shop", Branch: "env/dev", PathTemplate: template})
		m.appOf("x-"+id, &catalogv1.Application{Repository: "repositories/" + id})
		_, err := m.world.api.CreateEnvironment(m.t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.Parent = "applications/x-" + id }))
		return err
	}
	old := func(m *movers) error {
		m.repo("old", &catalogv1.Repository{Url: "embedded:///deployments", PathTemplate: "environments/dev/shop"})
		m.appOf("old", &catalogv1.Application{Repository: "repositories/old"})
		_, err := m.world.api.CreateEnvironment(m.t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.Parent = "applications/old" }))
		return err
	}
	for name, tc := range map[string]struct {
		end           func(m *movers, d *catalogv1.Deployment)
		newIs, oldIs  bool // free afterwards
		state         catalogv1.Deployment_State
		stillSaysMove bool
	}{
		"it got into Git": {func(m *movers, _ *catalogv1.Deployment) { m.perform(m.next()) }, false, true, catalogv1.Deployment_STATE_HEALTHY, false},
		"its cluster told before its commit did": {func(m *movers, d *catalogv1.Deployment) {
			m.next()
			must(m.t, m.handle(m.t.Context(), delivery("environment.synced", sec(20), syncedEvent(d.GetName(), d.GetGeneration(), sec(20)))))
		}, false, true, catalogv1.Deployment_STATE_SYNCING, false},
		"it failed": {func(m *movers, d *catalogv1.Deployment) {
			m.next()
			must(m.t, m.handle(m.t.Context(), failedEvent(d.GetName(), "HOST_REFUSED")))
		}, true, false, catalogv1.Deployment_STATE_FAILED, true},
		"it was cancelled": {func(m *movers, d *catalogv1.Deployment) {
			m.next()
			_, err := m.cancel(d.GetName())
			must(m.t, err)
			must(m.t, m.handle(m.t.Context(), cancelledEvent(int(d.GetGeneration()))))
		}, true, false, catalogv1.Deployment_STATE_CANCELLED, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMovers(t)
			m.ship("api:1")
			m.elsewhere()
			d, err := m.move()
			must(t, err)
			if taken(m, "manifests") == nil || taken(m, "Manifests/{environment}") == nil {
				t.Error("somebody else got the new folder")
			}
			tc.end(m, d)
			if got := m.get(d.GetName()).GetState(); got != tc.state {
				t.Errorf("it is %s, want %s", got, tc.state)
			}
			if err := taken(m, "mani{hash}"); err != nil {
				t.Errorf("a folder beside it: %v", err)
			}
			if got := taken(m, "MANIFESTS/{hash}") == nil; got != tc.newIs {
				t.Errorf("the new folder is free: %t", got)
			}
			if got := old(m) == nil; got != tc.oldIs {
				t.Errorf("the old folder is free: %t", got)
			}
			if got := m.getEnv(devEnv).GetLayoutPlace() != nil; got != tc.stillSaysMove {
				t.Errorf("the layout says elsewhere: %t", got)
			}
		})
	}
}

func TestAMoveThatFailedIsTriedAgain(t *testing.T) {
	m := newMovers(t)
	m.ship("api:1")
	m.elsewhere()
	d, err := m.move()
	must(t, err)
	cmd := m.next()
	must(t, m.handle(t.Context(), failedEvent(d.GetName(), "HOST_REFUSED")))
	m.git.write(cmd.GetRepository(), cmd.GetPath(), map[string][]byte{"db.yaml": []byte("kind: Cluster\nby: v1\n")}) // what it had done
	again, err := m.world.api.RetryDeployment(t.Context(), &catalogv1.RetryDeploymentRequest{Name: d.GetName()})
	must(t, err)
	m.perform(m.next())
	if got := m.get(again.GetName()); got.GetKind() != catalogv1.Deployment_KIND_MOVE || got.GetState() != catalogv1.Deployment_STATE_HEALTHY {
		t.Errorf("the second try: %v", got)
	}
	if diff := cmp.Diff([]string{newFolder}, m.git.standing()); diff != "" {
		t.Errorf("in Git:\n%s", diff)
	}
}

func TestAMoveWaitsForApproval(t *testing.T) {
	for name, tc := range map[string]struct {
		vote  func(m *movers, c catalogv1.CatalogServiceClient, d *catalogv1.Deployment)
		moved bool
	}{
		"approved": {func(m *movers, c catalogv1.CatalogServiceClient, d *catalogv1.Deployment) {
			approve(c, m.world, d.GetName())
			m.perform(m.next())
		}, true},
		"rejected": {func(m *movers, c catalogv1.CatalogServiceClient, d *catalogv1.Deployment) {
			_, err := c.RejectDeployment(m.t.Context(), &catalogv1.RejectDeploymentRequest{Name: d.GetName()})
			must(m.t, err)
		}, false},
		"overtaken by a deployment": {func(m *movers, c catalogv1.CatalogServiceClient, d *catalogv1.Deployment) {
			next := m.deploy(devEnv, variable("A", "1"))
			approve(c, m.world, next.GetName())
			m.perform(m.next())
			if got := m.get(d.GetName()).GetState(); got != catalogv1.Deployment_STATE_SUPERSEDED {
				m.t.Errorf("the move is %s", got)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMovers(t)
			m.ship("api:1")
			m.needApprovals(1, true)
			to := m.elsewhere()
			d, err := m.move()
			must(t, err)
			if d.GetState() != awaiting || d.GetPlanHash() == "" {
				t.Fatalf("it is %v", d)
			}
			_, err = m.move()
			if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE); e.Meta["state"] != "MOVING" {
				t.Errorf("a second move: %v", e)
			}
			tc.vote(m, m.person("ada"), d)
			if got := proto.Equal(m.getEnv(devEnv).GetPlace(), to); got != tc.moved {
				t.Errorf("moved = %t", got)
			}
			if again, err := m.move(); !tc.moved {
				must(t, err)
				if again.GetState() != awaiting {
					t.Errorf("moved anew: %v", again)
				}
			}
		})
	}
}

func TestAMoveIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(m *movers)
		code   codes.Code
		state  string
	}{
		"while another deployment is on its way": {func(m *movers) { m.deploy(devEnv, variable("A", "1")) }, codes.FailedPrecondition, "PENDING"},
		"when rendering gives something else":    {func(m *movers) { m.renderer.set(twoFiles("v2")) }, codes.FailedPrecondition, "TREE_MOVED"},
		"into a folder with other files": {func(m *movers) {
			m.git.write(&committerv1.RepositoryRef{Url: "embedded:///shop", Branch: "env/dev"}, "manifests", map[string][]byte{"README.md": []byte("mine")})
		}, codes.FailedPrecondition, "NOT_EMPTY"},
		"by pull requests": {func(m *movers) {
			must(m.t, m.updateRepo(&catalogv1.Repository{
				Name: "repositories/default", WriteMode: committerv1.WriteMode_WRITE_MODE_PULL_REQUEST, Url: "https://git.example.com/team/shop.git",
				Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA},
			}, "write_mode", "url", "forge"))
		}, codes.FailedPrecondition, "PULL_REQUEST"},
		"into a folder of its own": {func(m *movers) {
			must(m.t, m.updateRepo(&catalogv1.Repository{Name: "repositories/default", Url: "embedded:///deployments", Branch: "main", PathTemplate: "environments/{environment}/{application}/x"}, "url", "branch", "path_template"))
		}, codes.InvalidArgument, ""},
		"above itself": {func(m *movers) {
			must(m.t, m.updateRepo(&catalogv1.Repository{Name: "repositories/default", Url: "embedded:///deployments", Branch: "main", PathTemplate: "environments/{environment}"}, "url", "branch", "path_template"))
		}, codes.InvalidArgument, ""},
		"to the same folder in capitals, which is the same": {func(m *movers) {
			must(m.t, m.updateRepo(&catalogv1.Repository{Name: "repositories/default", Url: "embedded:///deployments", Branch: "main", PathTemplate: "Environments/{environment}/{application}"}, "url", "branch", "path_template"))
		}, codes.FailedPrecondition, "SAME_PLACE"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMovers(t)
			m.ship("api:1")
			m.elsewhere()
			tc.before(m)
			for what, err := range map[string]error{"plan": second(m.planMove()), "move": second(m.move())} {
				reason := errorsv1.Reason_REASON_WRONG_STATE
				if tc.code == codes.InvalidArgument {
					reason = errorsv1.Reason_REASON_INVALID_PATH
				}
				if e := wantError(t, err, tc.code, reason); e.Meta["state"] != tc.state {
					t.Errorf("%s: %v", what, e)
				}
			}
		})
	}
}

func TestAnEnvironmentWithoutDeploymentsMovesAtOnce(t *testing.T) {
	m := newMovers(t)
	to := m.elsewhere()
	d, err := m.move(func(r *catalogv1.MoveEnvironmentRequest) { r.RequestId = "once" })
	must(t, err)
	if d.GetState() != catalogv1.Deployment_STATE_HEALTHY || !proto.Equal(m.getEnv(devEnv).GetPlace(), to) {
		t.Errorf("the move is %v, the environment in %v", d, m.getEnv(devEnv).GetPlace())
	}
	again, err := m.move(func(r *catalogv1.MoveEnvironmentRequest) { r.RequestId = "once" })
	must(t, err)
	if again.GetName() != d.GetName() {
		t.Errorf("asked again it is %s", again.GetName())
	}
	m.ship("api:1")
	if diff := cmp.Diff([]string{newFolder}, m.git.standing()); diff != "" {
		t.Errorf("in Git:\n%s", diff)
	}
}

const (
	mainShare = "embedded:///shop env/dev manifests: api.yaml"
	dbShare   = "embedded:///infra main databases/dev/shop: db.yaml"
)

func TestAnEnvironmentIsSplitByAMove(t *testing.T) {
	m := newMovers(t)
	one := m.ship("api:1")
	m.elsewhere(databases())
	plan, err := m.planMove()
	must(t, err)
	var files []string
	for _, f := range plan.GetFiles() {
		files = append(files, f.GetPart()+":"+f.GetPath())
	}
	if diff := cmp.Diff([]string{":api.yaml", "databases:db.yaml"}, files); diff != "" {
		t.Errorf("files of the plan:\n%s", diff)
	}
	d, err := m.move(func(r *catalogv1.MoveEnvironmentRequest) { r.PlanHash = plan.GetPlanHash() })
	must(t, err)
	cmd := m.next()
	if len(cmd.GetParts()) != 1 || cmd.GetParts()[0].GetExpectBaseTree() != "absent" || cmd.GetParts()[0].GetRepository().GetUrl() != "embedded:///infra" ||
		cmd.GetParts()[0].GetSelect().GetKinds()[0] != "postgresql.cnpg.io/*" {
		t.Errorf("parts of the command: %v", cmd.GetParts())
	}
	m.perform(cmd)
	if diff := cmp.Diff([]string{dbShare, mainShare}, m.git.standing()); diff != "" {
		t.Errorf("in Git:\n%s", diff)
	}
	if d = m.get(d.GetName()); d.GetTree() != one.GetTree() || d.GetMainTree() == "" || len(d.GetParts()) != 1 || d.GetParts()[0].GetTree() == "" || d.GetParts()[0].GetPlannedBaseTree() != "absent" {
		t.Errorf("the deployment: %v", d)
	}

	two := m.ship("api:2")
	t.Run("a rollback to what was split alike restores each share", func(t *testing.T) {
		back := m.rollback(t, d.GetName())
		if back.GetMode() != eventsv1.DeploymentRequested_MODE_RESTORE || back.GetRestoreTree() != d.GetMainTree() || back.GetParts()[0].GetRestoreTree() != d.GetParts()[0].GetTree() {
			t.Errorf("command: %v", back)
		}
		m.perform(back)
	})
	t.Run("a rollback to what stood in one folder renders it into both", func(t *testing.T) {
		back := m.rollback(t, one.GetName())
		if back.GetMode() != eventsv1.DeploymentRequested_MODE_RENDER || back.GetExpectTree() != one.GetTree() || back.GetInput() == nil {
			t.Errorf("command: %v", back)
		}
		m.perform(back)
		if diff := cmp.Diff([]string{dbShare, mainShare}, m.git.standing()); diff != "" {
			t.Errorf("in Git:\n%s", diff)
		}
	})
	t.Run("without the split a rollback puts the whole tree back or renders it", func(t *testing.T) {
		must(t, m.updateRepo(&catalogv1.Repository{Name: "repositories/default"}, "splits"))
		_, err := m.move()
		must(t, err)
		cmd := m.next()
		if len(cmd.GetParts()) != 0 || len(cmd.GetLeaves()) != 1 || cmd.GetLeaves()[0].GetId() != "databases" {
			t.Errorf("command: %v", cmd)
		}
		m.perform(cmd)
		if diff := cmp.Diff([]string{newFolder}, m.git.standing()); diff != "" {
			t.Errorf("in Git:\n%s", diff)
		}
		back := m.rollback(t, two.GetName())
		if back.GetMode() != eventsv1.DeploymentRequested_MODE_RESTORE || back.GetRestoreTree() != two.GetTree() || back.GetInput() == nil {
			t.Errorf("command: %v", back)
		}
		m.perform(back)
	})
	t.Run("a removal takes all shares away", func(t *testing.T) {
		m.elsewhere(databases())
		_, err := m.move()
		must(t, err)
		m.perform(m.next())
		_, err = m.world.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
		must(t, err)
		cmd := m.next()
		if cmd.GetMode() != eventsv1.DeploymentRequested_MODE_REMOVE || len(cmd.GetParts()) != 1 || cmd.GetParts()[0].GetPath() != "databases/dev/shop" {
			t.Errorf("command: %v", cmd)
		}
		must(t, m.handle(t.Context(), delivery("environment.removed", sec(50), &eventsv1.EnvironmentRemoved{
			Environment: devEnv, Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(),
		})))
		if n := rowsUnder(t, m.kv, "owners/"); n != 0 {
			t.Errorf("%d folders and namespaces are still owned", n)
		}
	})
}

// rollback plans and orders a rollback and gives its command.
func (m *movers) rollback(t *testing.T, to string) *eventsv1.DeploymentRequested {
	t.Helper()
	plan, err := m.world.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, RollbackTo: to})
	must(t, err)
	_, err = m.world.api.Rollback(t.Context(), &catalogv1.RollbackRequest{Name: devEnv, Deployment: to, PlanHash: plan.GetPlanHash()})
	must(t, err)
	return m.next()
}

func TestAPlanAsksGitOnceForAnEnvironmentWithOneFolder(t *testing.T) {
	m := newMovers(t)
	m.ship("api:1")
	before := m.git.reads
	_, err := m.world.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{Parent: devEnv, Change: variable("A", "1")})
	must(t, err)
	if n := m.git.reads - before; n != 1 {
		t.Errorf("%d questions", n)
	}
	before = m.git.reads
	m.ship("api:2")
	if n := m.git.reads - before; n != 0 {
		t.Errorf("a deployment asks %d times", n)
	}
}
