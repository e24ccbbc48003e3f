package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

func (w *world) repo(id string, r *catalogv1.Repository) {
	w.t.Helper()
	_, err := w.api.CreateRepository(w.t.Context(), &catalogv1.CreateRepositoryRequest{RepositoryId: id, Repository: r})
	must(w.t, err)
}

func (w *world) updateRepo(r *catalogv1.Repository, paths ...string) error {
	_, err := w.api.UpdateRepository(w.t.Context(), &catalogv1.UpdateRepositoryRequest{Repository: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	return err
}

func (w *world) appOf(id string, a *catalogv1.Application) {
	w.t.Helper()
	_, err := w.api.CreateApplication(w.t.Context(), &catalogv1.CreateApplicationRequest{ApplicationId: id, Application: a})
	must(w.t, err)
}

func place(repo, url, branch, path string) *catalogv1.Place {
	return &catalogv1.Place{Repository: "repositories/" + repo, Url: url, Branch: branch, Path: path}
}

func databases() *catalogv1.Split {
	return &catalogv1.Split{Id: "databases", Repository: "repositories/infra", Select: &committerv1.FileSelector{Kinds: []string{"postgresql.cnpg.io/*"}}}
}

func TestLayoutsSayWhereEnvironmentsStand(t *testing.T) {
	for name, tc := range map[string]struct {
		repo *catalogv1.Repository
		want *catalogv1.Place
	}{
		"one repository for all": {
			&catalogv1.Repository{Url: "embedded:///all"}, place("layout", "embedded:///all", "main", "environments/dev/shop"),
		},
		"a repository per application": {
			&catalogv1.Repository{Url: "https://git.example.com/deploy/{application}.git", PathTemplate: "{environment}"},
			place("layout", "https://git.example.com/deploy/shop.git", "main", "dev"),
		},
		"a repository per team": {
			&catalogv1.Repository{Url: "embedded:///{team}-deployments", PathTemplate: "{environment}/{application}"},
			place("layout", "embedded:///checkout-deployments", "main", "dev/shop"),
		},
		"a repository per environment": {
			&catalogv1.Repository{Url: "embedded:///{application}-{environment}", PathTemplate: "manifests"},
			place("layout", "embedded:///shop-dev", "main", "manifests"),
		},
		"a branch per environment": {
			&catalogv1.Repository{Url: "embedded:///all", Branch: "env/{environment}", PathTemplate: "{application}"},
			place("layout", "embedded:///all", "env/dev", "shop"),
		},
		"a folder per type, fanned out": {
			&catalogv1.Repository{Url: "embedded:///all", PathTemplate: "{environment_type}/{hash}/{environment}/{application}"},
			place("layout", "embedded:///all", "main", "development/7a/dev/shop"),
		},
		"split over two repositories": {
			&catalogv1.Repository{Url: "embedded:///all", Splits: []*catalogv1.Split{databases()}},
			func() *catalogv1.Place {
				p := place("layout", "embedded:///all", "main", "environments/dev/shop")
				p.Parts = []*catalogv1.PartPlace{{
					Id: "databases", Repository: "repositories/infra", Url: "embedded:///infra-checkout", Branch: "main", Path: "databases/dev/shop",
					Select: databases().GetSelect(),
				}}
				return p
			}(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := lightWorld(t, memkv.New())
			w.repo("infra", &catalogv1.Repository{Url: "embedded:///infra-{team}", PathTemplate: "databases/{environment}/{application}"})
			w.repo("layout", tc.repo)
			w.appOf("shop", &catalogv1.Application{Repository: "repositories/layout", Owner: "teams/Checkout"})
			e := w.env("shop", "dev")
			if diff := cmp.Diff(tc.want, e.GetPlace(), protocmp.Transform()); diff != "" {
				t.Errorf("as made (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, w.getEnv(devEnv).GetPlace(), protocmp.Transform()); diff != "" {
				t.Errorf("as read (-want +got):\n%s", diff)
			}
			if e.GetLayoutPlace() != nil {
				t.Errorf("layout_place = %v", e.GetLayoutPlace())
			}
		})
	}
}

func TestTheTypesRepositoryWinsOverTheApplications(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.repo("prod", &catalogv1.Repository{Url: "embedded:///prod"})
	_, err := w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/production", Repository: "repositories/prod"},
		UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"repository"}},
	})
	must(t, err)
	w.app("shop")
	made, err := w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.Environment.Type = "environmentTypes/production" }))
	must(t, err)
	if diff := cmp.Diff(place("prod", "embedded:///prod", "main", "environments/new/shop"), made.GetPlace(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if got := w.env("shop", "dev").GetPlace().GetRepository(); got != "repositories/default" {
		t.Errorf("an environment of another type stands in %s", got)
	}
	_, err = w.api.DeleteRepository(t.Context(), &catalogv1.DeleteRepositoryRequest{Name: "repositories/prod"})
	wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE)
}

func TestALayoutByTeamNeedsAnOwner(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.repo("teams", &catalogv1.Repository{Url: "embedded:///{team}"})
	n := 0
	for owner, ok := range map[string]bool{"": false, "teams/": false, "teams/a b": false, "teams/..": false, "x/.git": false, "teams/Shop.git": false, "Checkout": true, "groups/a/b-c": true} {
		n++
		app := fmt.Sprintf("app-%d", n)
		w.appOf(app, &catalogv1.Application{Repository: "repositories/teams", Owner: owner})
		_, err := w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.Parent = "applications/" + app }))
		if ok {
			must(t, err)
			continue
		}
		e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
		if e.Fields[0].Path != "application.owner" || !strings.Contains(e.Fields[0].Problem, "tow app update "+app) {
			t.Errorf("owner %q: %v", owner, e.Fields)
		}
	}
}

func TestLayoutsAreCheckedWhenWritten(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.repo("infra", &catalogv1.Repository{Url: "embedded:///infra"})
	w.repo("split", &catalogv1.Repository{Url: "embedded:///main", Splits: []*catalogv1.Split{databases()}})
	w.repo("reviewed", &catalogv1.Repository{Url: "https://git.example.com/team/r.git", WriteMode: committerv1.WriteMode_WRITE_MODE_PULL_REQUEST, Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA}})
	one := func(id, repo string, s *committerv1.FileSelector) []*catalogv1.Split {
		return []*catalogv1.Split{{Id: id, Repository: repo, Select: s}}
	}
	kinds := func(k ...string) *committerv1.FileSelector { return &committerv1.FileSelector{Kinds: k} }
	for name, tc := range map[string]struct {
		repo  *catalogv1.Repository
		field string
	}{
		"a placeholder in the host":      {&catalogv1.Repository{Url: "https://{team}.example.com/x.git"}, "repository.url"},
		"a placeholder in the port":      {&catalogv1.Repository{Url: "https://git.example.com:{team}/x.git"}, "repository.url"},
		"a placeholder in the scheme":    {&catalogv1.Repository{Url: "{team}://git.example.com/x.git"}, "repository.url"},
		"a placeholder for the SSH host": {&catalogv1.Repository{Url: "git@{team}:x.git"}, "repository.url"},
		"an unknown placeholder":         {&catalogv1.Repository{Url: "embedded:///{owner}"}, "repository.url"},
		"an open brace":                  {&catalogv1.Repository{Url: "embedded:///{team"}, "repository.url"},
		"no clone URL when filled":       {&catalogv1.Repository{Url: "embedded:///a/{team}"}, "repository.url"},
		"no branch when filled":          {&catalogv1.Repository{Url: "embedded:///x", Branch: "{environment}.lock"}, "repository.branch"},
		"a branch that begins with -":    {&catalogv1.Repository{Url: "embedded:///x", Branch: "-{environment}"}, "repository.branch"},
		"a branch with an unknown":       {&catalogv1.Repository{Url: "embedded:///x", Branch: "{branch}"}, "repository.branch"},
		"Towpath's own folder":           {&catalogv1.Repository{Url: "embedded:///x", PathTemplate: ".Towpath/{environment}"}, "repository.path_template"},
		"a split without an id":          {&catalogv1.Repository{Url: "embedded:///x", Splits: one("A", "repositories/infra", kinds("apps/Deployment"))}, "repository.splits[0].id"},
		"a split into nothing":           {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/none", kinds("apps/Deployment"))}, "repository.splits[0].repository"},
		"a split into what is split":     {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/split", kinds("apps/Deployment"))}, "repository.splits[0].repository"},
		"a split into itself":            {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/repo", kinds("apps/Deployment"))}, "repository.splits[0].repository"},
		"a split that picks nothing":     {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/infra", kinds())}, "repository.splits[0].select"},
		"a kind without a group":         {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/infra", kinds("Deployment"))}, "repository.splits[0].select.kinds[0]"},
		"a kind with two slashes":        {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/infra", kinds("/ConfigMap", "apps/v1/Deployment"))}, "repository.splits[0].select.kinds[1]"},
		"everything":                     {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/infra", kinds("*/*"))}, "repository.splits[0].select.kinds[0]"},
		"a workload of stars":            {&catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/infra", &committerv1.FileSelector{Workloads: []string{"**"}})}, "repository.splits[0].select.workloads[0]"},
		"one id twice": {
			&catalogv1.Repository{Url: "embedded:///x", Splits: []*catalogv1.Split{databases(), databases()}}, "repository.splits[1].id",
		},
		"two splits to one repository": {
			&catalogv1.Repository{Url: "embedded:///x", Splits: append(one("db", "repositories/infra", kinds("a/B")), databases())}, "repository.splits[1].repository",
		},
		"a split into the same folder": {&catalogv1.Repository{Url: "embedded:///infra", Splits: []*catalogv1.Split{databases()}}, "repository.splits"},
		"a split below the folder": {
			&catalogv1.Repository{Url: "embedded:///infra", PathTemplate: "environments", Splits: []*catalogv1.Split{databases()}}, "repository.splits",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.CreateRepository(t.Context(), &catalogv1.CreateRepositoryRequest{RepositoryId: "repo", Repository: tc.repo})
			if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != tc.field {
				t.Errorf("fields = %v, want %s", e.Fields, tc.field)
			}
		})
	}
	byPullRequest := &catalogv1.Repository{Name: "repositories/infra", WriteMode: committerv1.WriteMode_WRITE_MODE_PULL_REQUEST, Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA}}
	for name, err := range map[string]error{
		"splits of a repository that is a split": w.updateRepo(&catalogv1.Repository{
			Name: "repositories/infra", Splits: one("x", "repositories/default", kinds("a/B")),
		}, "splits"),
		"pull requests for a split": w.updateRepo(byPullRequest, "write_mode", "forge"),
		"a split into a repository with pull requests": second(w.api.CreateRepository(t.Context(), &catalogv1.CreateRepositoryRequest{
			RepositoryId: "repo", Repository: &catalogv1.Repository{Url: "embedded:///x", Splits: one("db", "repositories/reviewed", kinds("a/B"))},
		})),
		"splits with pull requests": second(w.api.CreateRepository(t.Context(), &catalogv1.CreateRepositoryRequest{
			RepositoryId: "repo", Repository: &catalogv1.Repository{
				Url: "https://git.example.com/x.git", Splits: []*catalogv1.Split{databases()}, Forge: byPullRequest.GetForge(),
				WriteMode: committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST,
			},
		})),
	} {
		if err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
}

func TestALayoutMayChangeUnderEnvironments(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.repo("other", &catalogv1.Repository{Url: "embedded:///other"})
	w.app("shop")
	was := proto.CloneOf(w.env("shop", "dev").GetPlace())
	want := func(why string, layout *catalogv1.Place) {
		t.Helper()
		e := w.getEnv(devEnv)
		if diff := cmp.Diff(was, e.GetPlace(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: it went elsewhere by itself:\n%s", why, diff)
		}
		if diff := cmp.Diff(layout, e.GetLayoutPlace(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: layout_place:\n%s", why, diff)
		}
		l, err := w.api.ListEnvironments(t.Context(), &catalogv1.ListEnvironmentsRequest{Parent: "applications/-"})
		must(t, err)
		if diff := cmp.Diff(e, l.GetEnvironments()[0], protocmp.Transform()); diff != "" {
			t.Errorf("%s: the list says otherwise:\n%s", why, diff)
		}
	}
	want("as made", nil)
	must(t, w.updateRepo(&catalogv1.Repository{Name: "repositories/default", PathTemplate: "x/{application}/{environment}"}, "path_template"))
	want("another folder", place("default", "embedded:///deployments", "main", "x/shop/dev"))
	must(t, w.updateRepo(&catalogv1.Repository{Name: "repositories/default", Url: "embedded:///new", Branch: "live"}, "url", "branch"))
	want("another URL", place("default", "embedded:///new", "live", "x/shop/dev"))
	_, err := w.api.UpdateApplication(t.Context(), &catalogv1.UpdateApplicationRequest{
		Application: &catalogv1.Application{Name: "applications/shop", Repository: "repositories/other"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"repository"}},
	})
	must(t, err)
	want("another repository", place("other", "embedded:///other", "main", "environments/dev/shop"))
	_, err = w.api.DeleteRepository(t.Context(), &catalogv1.DeleteRepositoryRequest{Name: "repositories/default"})
	if e := wantError(t, err, codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE); e.Meta["used_by"] != devEnv {
		t.Errorf("used_by = %q, want what stands in it", e.Meta["used_by"])
	}
}

func TestALayoutThatMakesEnvironmentsCollideIsRefused(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.app("shop")
	w.app("blog")
	w.env("shop", "dev")
	w.env("blog", "dev")
	for name, tc := range map[string]struct {
		repo  *catalogv1.Repository
		paths []string
	}{
		"the same folder":         {&catalogv1.Repository{PathTemplate: "all/{environment}"}, []string{"path_template"}},
		"a folder inside another": {&catalogv1.Repository{PathTemplate: "all"}, []string{"path_template"}},
	} {
		tc.repo.Name = "repositories/default"
		e := wantError(t, w.updateRepo(tc.repo, tc.paths...), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PATH)
		named := map[string]bool{e.Meta["owner"]: true, e.Meta["other"]: true}
		if !named[devEnv] || !named["applications/blog/environments/dev"] {
			t.Errorf("%s: the error names %v", name, e.Meta)
		}
	}
	must(t, w.updateRepo(&catalogv1.Repository{Name: "repositories/default", Url: "embedded:///{application}", PathTemplate: "{environment}"}, "url", "path_template"))
}

// The folder of a share is owned like any other, whichever spelling of its repository a layout has.
func TestPartsHaveOneOwner(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.repo("infra", &catalogv1.Repository{Url: "https://git.example.com/team/Infra.git", PathTemplate: "Databases/{environment}"})
	w.repo("split", &catalogv1.Repository{Url: "embedded:///main", Splits: []*catalogv1.Split{databases()}})
	w.appOf("shop", &catalogv1.Application{Repository: "repositories/split"})
	w.env("shop", "dev")
	for i, r := range []*catalogv1.Repository{
		{Url: "https://git.example.com/team/Infra", PathTemplate: "databases/{environment}"},
		{Url: "https://GIT.example.com/team/Infra/", PathTemplate: "DATABASES/{environment}/{application}"},
		{Url: "https://git.example.com/team/Infra.git", PathTemplate: "databases"},
	} {
		id := fmt.Sprintf("other-%d", i)
		w.repo(id, r)
		w.appOf(id, &catalogv1.Application{Repository: "repositories/" + id})
		_, err := w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
			r.Parent, r.EnvironmentId = "applications/"+id, "dev"
		}))
		if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PATH); e.Meta["owner"] != devEnv {
			t.Errorf("%v: owner = %q", r, e.Meta["owner"])
		}
	}
	_, err := w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: devEnv})
	must(t, err)
	_, err = w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
		r.Parent, r.EnvironmentId = "applications/other-0", "dev"
	}))
	must(t, err)
}

// Two environments whose shares would stand in the same folder are made at the same moment, through two replicas, again and again.
func TestOneOfTwoSharesInTheSameFolderIsMade(t *testing.T) {
	kv := memkv.New()
	a, _ := lightWorld(t, kv)
	b, _ := lightWorld(t, kv)
	a.repo("infra", &catalogv1.Repository{Url: "embedded:///infra", PathTemplate: "db/{environment}"})
	a.repo("split", &catalogv1.Repository{Url: "embedded:///main", Splits: []*catalogv1.Split{databases()}})
	for _, app := range []string{"left", "right"} {
		a.appOf(app, &catalogv1.Application{Repository: "repositories/split"})
	}
	for i := range 50 {
		var made atomic.Int32
		var all sync.WaitGroup
		for app, w := range map[string]*world{"left": a, "right": b} {
			all.Go(func() {
				_, err := w.api.CreateEnvironment(context.Background(), creation(func(r *catalogv1.CreateEnvironmentRequest) {
					r.Parent, r.EnvironmentId = "applications/"+app, fmt.Sprintf("env-%d", i)
				}))
				if err == nil {
					made.Add(1)
				}
			})
		}
		all.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d of the two were made", made.Load())
		}
	}
}

// Rows of environments from before they had a place get the one that they have stood in, also when a backup of then is restored.
func TestEnvironmentsFromBeforeStayWhereTheyAre(t *testing.T) {
	kv := memkv.New()
	w, _ := lightWorld(t, kv)
	w.repo("old", &catalogv1.Repository{Url: "embedded:///old", PathTemplate: "Env/{environment}/{application}"})
	w.appOf("shop", &catalogv1.Application{Repository: "repositories/old"})
	want := proto.CloneOf(w.env("shop", "dev").GetPlace())
	w.stop()
	strip(t, kv)
	w.start(func(c *catalog.Config) { c.Bus = newLightBus() })
	must(t, w.updateRepo(&catalogv1.Repository{Name: "repositories/old", PathTemplate: "elsewhere/{environment}/{application}"}, "path_template"))
	if diff := cmp.Diff(want, w.getEnv(devEnv).GetPlace(), protocmp.Transform()); diff != "" {
		t.Errorf("it moved by itself:\n%s", diff)
	}
	w.repo("twin", &catalogv1.Repository{Url: "embedded:///old", PathTemplate: "env/{environment}"})
	w.appOf("twin", &catalogv1.Application{Repository: "repositories/twin"})
	_, err := w.api.CreateEnvironment(t.Context(), creation(func(r *catalogv1.CreateEnvironmentRequest) { r.Parent, r.EnvironmentId = "applications/twin", "dev" }))
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PATH); e.Meta["owner"] != devEnv {
		t.Errorf("owner = %q", e.Meta["owner"])
	}
}

// strip brings the rows to what they were before environments had a place.
func strip(t testing.TB, kv store.KV) {
	t.Helper()
	table := store.NewTable[*catalogv1.Environment]("environments/")
	var tx store.Tx
	for e, err := range store.All(t.Context(), kv, "environments/") {
		must(t, err)
		row, err := table.Decode(e)
		must(t, err)
		row.Msg.Place = nil
		must(t, table.Update(&tx, row.ID, row.Rev, row.Msg))
	}
	for e, err := range store.All(t.Context(), kv, "owners/paths/") {
		must(t, err)
		tx.Delete(e.Key).Put(strings.Replace(e.Key, "/env/", "/Env/", 1), e.Value)
	}
	tx.Delete("meta/places").Put("meta/schema", []byte("2"))
	_, err := kv.Commit(t.Context(), tx)
	must(t, err)
}

func TestAPlanWarnsOfACrowdedDirectory(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.app("shop")
	warned := func(id string) bool {
		t.Helper()
		p, err := w.api.PlanDeployment(t.Context(), &catalogv1.PlanDeploymentRequest{
			Parent:   "applications/shop/environments/" + id,
			Creation: &catalogv1.NewEnvironment{Environment: &catalogv1.Environment{Type: "environmentTypes/development"}, Change: variable("A", "1")},
		})
		must(t, err)
		return strings.Contains(strings.Join(p.GetWarnings(), "\n"), "{hash}")
	}
	for i := range 1000 {
		if i == 999 && warned("new") {
			t.Error("it warns too early")
		}
		w.env("shop", fmt.Sprintf("pr-%d", i))
	}
	if !warned("new") {
		t.Error("nobody warns of the 1,001st entry")
	}
	must(t, w.updateRepo(&catalogv1.Repository{Name: "repositories/default", PathTemplate: "envs/{hash}/{environment}/{application}"}, "path_template"))
	if warned("new") {
		t.Error("it warns of a layout that is fanned out")
	}
}
