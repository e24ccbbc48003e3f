package catalog_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/services/catalog"
)

// doctor is a committer that notes what it is asked about.
type doctor struct{ *gitCommitter }

func (d doctor) GetRepositoryHealth(_ context.Context, r *committerv1.GetRepositoryHealthRequest, _ ...grpc.CallOption) (*committerv1.RepositoryHealth, error) {
	d.note("health", r.GetRepository())
	return &committerv1.RepositoryHealth{Tip: r.GetRepository().GetBranch()}, nil
}

func (d doctor) DiagnoseRepository(_ context.Context, r *committerv1.DiagnoseRepositoryRequest, _ ...grpc.CallOption) (*committerv1.Diagnosis, error) {
	d.note("diagnose", r.GetRepository(), r.GetRepository().GetCredentials(), r.GetWriteMode().String())
	return &committerv1.Diagnosis{Healthy: true}, nil
}

func doctorWorld(t *testing.T) (*world, doctor, catalogv1.GitServiceClient) {
	t.Helper()
	w := quietWorld(t)
	d := doctor{&gitCommitter{fakeCommitter: w.committer}}
	w.start(func(c *catalog.Config) { c.Committer = d })
	w.plays()
	return w, d, catalogv1.NewGitServiceClient(w.conn)
}

// branches gives what an answer says: branch and number of environments, in its order.
func branches(h *catalogv1.GetRepositoryHealthResponse) []string {
	var out []string
	for _, b := range h.GetBranches() {
		if b.GetHealth().GetTip() != b.GetBranch() {
			return []string{"the health of another branch"}
		}
		out = append(out, fmt.Sprintf("%s %s %d", b.GetUrl(), b.GetBranch(), b.GetEnvironments()))
	}
	return out
}

func TestTheHealthOfARepositoryIsThatOfTheBranchesThatEnvironmentsStandIn(t *testing.T) {
	w, _, api := doctorWorld(t)
	health := func(name string) []string {
		t.Helper()
		h, err := api.GetRepositoryHealth(t.Context(), &catalogv1.GetRepositoryHealthRequest{Name: "repositories/" + name})
		must(t, err)
		return branches(h)
	}
	if diff := cmp.Diff([]string{here + " 0"}, health("default")); diff != "" {
		t.Errorf("of one that nothing stands in (-want +got):\n%s", diff)
	}
	w.repo("branched", &catalogv1.Repository{Url: "embedded:///branched", Branch: "{application}"})
	if got := health("branched"); got != nil {
		t.Errorf("of one with placeholders that nothing stands in: %v", got)
	}
	for _, app := range []string{"shop", "blog"} {
		w.appOf(app, &catalogv1.Application{Repository: "repositories/branched"})
	}
	w.env("shop", "dev")
	w.env("shop", "test")
	w.env("blog", "dev")
	if diff := cmp.Diff([]string{"embedded:///branched shop 2", "embedded:///branched blog 1"}, health("branched")); diff != "" {
		t.Errorf("of one with placeholders (-want +got):\n%s", diff)
	}
	_, err := api.GetRepositoryHealth(t.Context(), &catalogv1.GetRepositoryHealthRequest{Name: "repositories/none"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)

	// Whoever may see one application only is not told of the others by their branches.
	_, _, conn := w.as(w.token("shopkeeper", catalogv1.Token_ROLE_VIEWER, "applications/shop"))
	h, err := catalogv1.NewGitServiceClient(conn).GetRepositoryHealth(t.Context(), &catalogv1.GetRepositoryHealthRequest{Name: "repositories/branched"})
	must(t, err)
	if diff := cmp.Diff([]string{"embedded:///branched shop 2"}, branches(h)); diff != "" {
		t.Errorf("as the shopkeeper (-want +got):\n%s", diff)
	}
}

func TestADiagnosisIsOfTheBranchThatAnEnvironmentIsWrittenTo(t *testing.T) {
	w, d, api := doctorWorld(t)
	w.app("plain")
	w.env("plain", "dev")
	w.repo("branched", &catalogv1.Repository{
		Url: "https://git.example.com/team/{application}.git", Branch: "{environment}", Credentials: "deploy",
		WriteMode: committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST, Forge: &committerv1.Forge{Kind: committerv1.Forge_KIND_GITEA},
	})
	ask := func(repo, env string) error {
		_, err := api.DiagnoseRepository(t.Context(), &catalogv1.DiagnoseRepositoryRequest{Name: "repositories/" + repo, Environment: env})
		return err
	}
	e := wantError(t, ask("branched", ""), codes.FailedPrecondition, errorsv1.Reason_REASON_WRONG_STATE)
	if e.Meta["state"] != "PLACEHOLDERS" {
		t.Errorf("the error is %v", e)
	}
	wantError(t, ask("none", ""), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	wantError(t, ask("branched", "applications/plain/environments/none"), codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
	wantError(t, ask("branched", "plain/dev"), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	if asked := d.take(); len(asked) != 0 {
		t.Errorf("wrong requests asked for %v", asked)
	}
	must(t, ask("default", ""))
	must(t, ask("branched", "applications/plain/environments/dev")) // as if it were to be written there
	w.appOf("shop", &catalogv1.Application{Repository: "repositories/branched"})
	w.env("shop", "test")
	must(t, ask("branched", ""))
	want := []string{
		"diagnose " + here + "  WRITE_MODE_UNSPECIFIED",
		"diagnose https://git.example.com/team/plain.git dev deploy WRITE_MODE_DIRECT_OR_PULL_REQUEST",
		"diagnose https://git.example.com/team/shop.git test deploy WRITE_MODE_DIRECT_OR_PULL_REQUEST",
	}
	if diff := cmp.Diff(want, d.take()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}
