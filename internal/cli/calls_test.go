package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func set(path, value string) *rendererv1.Operation {
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: structpb.NewStringValue(value)}
}

func remove(path string) *rendererv1.Operation {
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: path}
}

// What a command line asks the server for.
func TestRequests(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "score.yaml")
	if err := os.WriteFile(file, []byte("a: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const api = "/workloads/api/containers/main/variables/"
	change := func(c *catalogv1.Change) *catalogv1.CreateDeploymentRequest {
		return &catalogv1.CreateDeploymentRequest{Parent: dev, Change: c}
	}
	for name, tc := range map[string]struct {
		line   string
		method string
		want   proto.Message
	}{
		"set without a workload is a variable of the environment": {
			"set A=1 B=x=y C- -e shop/dev", "CreateDeployment",
			change(&catalogv1.Change{Variables: map[string]string{"A": "1", "B": "x=y"}, VariableDrops: []string{"C"}}),
		},
		"set with a workload is an overlay of its only container": {
			"set A=1 a/b~c=2 -e shop/dev -w api", "CreateDeployment",
			change(&catalogv1.Change{OverlayOperations: []*rendererv1.Operation{set(api+"A", "1"), set(api+"a~1b~0c", "2")}}),
		},
		"set names a container where there are several": {
			"set A= -e shop/dev -w two -c right", "CreateDeployment",
			change(&catalogv1.Change{OverlayOperations: []*rendererv1.Operation{set("/workloads/two/containers/right/variables/A", "")}}),
		},
		"unset drops the environment's own value, and removes what is not its own": {
			"set LOG_LEVEL- OTHER- -e shop/dev -w api", "CreateDeployment",
			change(&catalogv1.Change{OverlayDrops: []string{api + "LOG_LEVEL"}, OverlayOperations: []*rendererv1.Operation{remove(api + "OTHER")}}),
		},
		"set in the set changes the document": {
			"set A=1 LOG_LEVEL- -e shop/dev -w api --in-set", "CreateDeployment",
			change(&catalogv1.Change{SetOperations: []*rendererv1.Operation{set(api+"A", "1"), remove(api + "LOG_LEVEL")}}),
		},
		"deploy sends files with all that belongs to them": {
			"deploy -f " + file + " -e applications/shop/environments/dev --set x.y=1 --image nginx:1 --variable K=V --remove web -m why --plan-hash abc --request-id mine",
			"CreateDeployment",
			&catalogv1.CreateDeploymentRequest{
				Parent: dev, Message: "why", PlanHash: "abc", RequestId: "mine",
				Change: &catalogv1.Change{
					Scores:          []*rendererv1.ScoreFile{{Filename: file, Content: []byte("a: b\n"), Properties: []string{"x.y=1"}, Image: "nginx:1"}},
					RemoveWorkloads: []string{"web"}, Variables: map[string]string{"K": "V"},
				},
			},
		},
		"a plan changes nothing": {
			"set A=1 -e shop/dev --plan", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: dev, Change: &catalogv1.Change{Variables: map[string]string{"A": "1"}}},
		},
		"set-image names workload and container": {
			"set-image two nginx:2 -c left -e shop/dev -m new", "SetImage",
			&catalogv1.SetImageRequest{Name: dev, Workload: "two", Container: "left", Image: "nginx:2", Message: "new"},
		},
		"the plan of an image is the change of the document": {
			"set-image api nginx:2 -e shop/dev --plan", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: dev, Change: &catalogv1.Change{
				SetOperations: []*rendererv1.Operation{set("/workloads/api/containers/main/image", "nginx:2")},
			}},
		},
		"scale names the workload": {
			"scale api 3 -e shop/dev --plan-hash abc", "ScaleWorkload",
			&catalogv1.ScaleWorkloadRequest{Name: dev, Workload: "api", Replicas: 3, PlanHash: "abc"},
		},
		"the plan of a number of replicas is an overlay": {
			"scale api 0 -e shop/dev --plan", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: dev, Change: &catalogv1.Change{
				OverlayOperations: []*rendererv1.Operation{set("/workloads/api/metadata/annotations/towpath.dev~1replicas", "0")},
			}},
		},
		"the plan of a removal": {
			"plan -e shop/dev --removal", "PlanDeployment", &catalogv1.PlanDeploymentRequest{Parent: dev, Removal: true},
		},
		"the plan of rendering an earlier deployment again": {
			"plan -e shop/dev --rollback-to 1 --rerender", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: dev, RollbackTo: dev + "/deployments/1", Rerender: true},
		},
		"a draft is made with its operations": {
			`draft create shop/new -e shop/dev --unset /workloads/two --set-json /workloads/api/x={"y":[1,null]} --set /workloads/api/z=a=b`, "CreateDraft",
			&catalogv1.CreateDraftRequest{Parent: "applications/shop", DraftId: "new", Draft: &catalogv1.Draft{
				Environment: dev, Operations: []*rendererv1.Operation{remove("/workloads/two"), setJSON("/workloads/api/x", `{"y":[1,null]}`), set("/workloads/api/z", "a=b")},
			}},
		},
		"an edit puts an operation in the place of the one on its path": {
			"draft edit shop/next --set /workloads/api/containers/main/image=api:9 --drop /workloads/two --set /workloads/api/new=x", "UpdateDraft",
			&catalogv1.UpdateDraftRequest{
				Draft: &catalogv1.Draft{
					Name: "applications/shop/drafts/next", BaseSet: olderID, ResultSet: setName, Etag: "7",
					Operations: []*rendererv1.Operation{set("/workloads/api/containers/main/image", "api:9"), set("/workloads/api/new", "x")},
				},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"operations"}},
			},
		},
		"a draft is rebased on its environment": {
			"draft rebase shop/next", "RebaseDraft", &catalogv1.RebaseDraftRequest{Name: "applications/shop/drafts/next"},
		},
		"a draft is deployed and deleted": {
			"draft deploy applications/shop/drafts/next --delete -m why", "DeployDraft",
			&catalogv1.DeployDraftRequest{Name: "applications/shop/drafts/next", Message: "why", Delete: true},
		},
		"the plan of a draft is its change on its base": {
			"draft deploy shop/next --plan", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: dev, Change: &catalogv1.Change{
				BaseSet: olderID, Draft: "applications/shop/drafts/next",
				SetOperations: []*rendererv1.Operation{set("/workloads/api/containers/main/image", "registry.example.com/shop/api:2"), remove("/workloads/two")},
			}},
		},
		"a draft is deleted": {
			"draft delete shop/next --yes", "DeleteDraft", &catalogv1.DeleteDraftRequest{Name: "applications/shop/drafts/next"},
		},
		"rollback names the deployment": {
			"rollback -e shop/dev --to 1 --yes -m bad", "Rollback",
			&catalogv1.RollbackRequest{Name: dev, Deployment: dev + "/deployments/1", Message: "bad"},
		},
		"rollback leaves the choice to the server": {"rollback -e shop/dev --yes", "Rollback", &catalogv1.RollbackRequest{Name: dev}},
		"the plan of a rollback without a number is to the last that ran and differs": {
			"rollback -e shop/dev --plan", "PlanDeployment", &catalogv1.PlanDeploymentRequest{Parent: dev, RollbackTo: dev + "/deployments/2"},
		},
		"promote names what runs": {
			"promote shop/dev shop/new", "Promote", &catalogv1.PromoteRequest{
				Name: "applications/shop/environments/new", Message: "promote shop/dev", Promotion: &catalogv1.Promotion{From: dev},
			},
		},
		"promote takes a deployment and chosen workloads": {
			"promote shop/dev#2 shop/new --workload api,web -m why", "Promote", &catalogv1.PromoteRequest{
				Name: "applications/shop/environments/new", Message: "why",
				Promotion: &catalogv1.Promotion{From: dev + "/deployments/2", Workloads: []string{"api", "web"}},
			},
		},
		"a promotion is planned": {
			"promote shop/dev shop/new --plan", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: "applications/shop/environments/new", Promotion: &catalogv1.Promotion{From: dev}},
		},
		"an environment begins empty": {
			"env create shop/new --type development", "CreateEnvironment", &catalogv1.CreateEnvironmentRequest{
				Parent: "applications/shop", EnvironmentId: "new", Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
			},
		},
		"an environment begins as a copy, with changes and an end": {
			"env create shop/new --from shop/dev --variable A=1 --remove web --ttl 3d --pull-request https://git.example.com/1 -m why", "CreateEnvironment",
			&catalogv1.CreateEnvironmentRequest{
				Parent: "applications/shop", EnvironmentId: "new", Environment: &catalogv1.Environment{}, From: dev, Message: "why",
				Ttl: durationpb.New(72 * time.Hour), PullRequest: "https://git.example.com/1",
				Change: &catalogv1.Change{Variables: map[string]string{"A": "1"}, RemoveWorkloads: []string{"web"}},
			},
		},
		"a new environment is planned": {
			"env create shop/new --from " + dev + "/deployments/2 --ttl 90m --plan", "PlanDeployment",
			&catalogv1.PlanDeploymentRequest{Parent: "applications/shop/environments/new", Creation: &catalogv1.NewEnvironment{
				Environment: &catalogv1.Environment{}, From: dev + "/deployments/2", Ttl: durationpb.New(90 * time.Minute),
			}},
		},
		"an environment gets more time": {
			"env extend shop/dev --ttl 24h", "ExtendEnvironment", &catalogv1.ExtendEnvironmentRequest{Name: dev, Ttl: durationpb.New(24 * time.Hour)},
		},
		"an environment is kept": {"env keep shop/dev", "ExtendEnvironment", &catalogv1.ExtendEnvironmentRequest{Name: dev, Keep: true}},
		"a removal is planned":   {"env delete shop/dev --plan", "PlanDeployment", &catalogv1.PlanDeploymentRequest{Parent: dev, Removal: true}},
		"a rollback renders anew": {
			"rollback -e shop/dev --to 1 --rerender --yes", "Rollback", &catalogv1.RollbackRequest{Name: dev, Deployment: dev + "/deployments/1", Rerender: true},
		},
		"an update changes the given fields of what is there": {
			"app update shop --owner teams/new --label tier-,team=a", "UpdateApplication",
			&catalogv1.UpdateApplicationRequest{
				Application: &catalogv1.Application{
					Name: "applications/shop", DisplayName: "Shop", Owner: "teams/new", Labels: map[string]string{"team": "a"},
					Repository: "repositories/default", Etag: "4",
				},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"owner", "labels"}},
			},
		},
		"an environment's removal carries its reason": {
			"env delete shop/dev --yes -m merged", "DeleteEnvironment", &catalogv1.DeleteEnvironmentRequest{Name: dev, Message: "merged"},
		},
		"a revert takes ids and full names": {
			"drift revert 5f1c " + dev + "/findings/a1b2 -e shop/dev --yes", "RevertFindings",
			&driftv1.RevertFindingsRequest{Parent: dev, Names: []string{dev + "/findings/5f1c", dev + "/findings/a1b2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			run(t, f, strings.Fields(tc.line)).want(t, 0)
			calls := f.called(tc.method)
			if len(calls) != 1 {
				t.Fatalf("%d calls of %s", len(calls), tc.method)
			}
			ignore := []cmp.Option{protocmp.Transform(), protocmp.IgnoreFields(&catalogv1.Application{}, "create_time", "update_time", "create_actor"),
				protocmp.IgnoreFields(&catalogv1.Draft{}, "create_time", "update_time", "create_actor")}
			if !strings.Contains(tc.line, "--request-id") {
				for _, m := range []proto.Message{&catalogv1.CreateDeploymentRequest{}, &catalogv1.RollbackRequest{}, &catalogv1.DeleteEnvironmentRequest{},
					&catalogv1.SetImageRequest{}, &catalogv1.ScaleWorkloadRequest{}, &catalogv1.CreateDraftRequest{}, &catalogv1.DeployDraftRequest{},
					&catalogv1.PromoteRequest{}, &catalogv1.CreateEnvironmentRequest{}} {
					ignore = append(ignore, protocmp.IgnoreFields(m, "request_id"))
				}
			}
			if diff := cmp.Diff(tc.want, calls[0], ignore...); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanNeverDeploys(t *testing.T) {
	f := startFake(t)
	for _, line := range []string{"set A=1 -e shop/dev --plan", "rollback -e shop/dev --plan", "deploy --remove api -e shop/dev --plan", "promote shop/dev shop/new --plan"} {
		run(t, f, strings.Fields(line)).want(t, 0)
	}
	run(t, f, strings.Fields("drift revert -e shop/dev --plan")).want(t, 0)
	if n := len(f.called("CreateDeployment")) + len(f.called("Rollback")); n > 0 {
		t.Errorf("%d deployments were made", n)
	}
	for _, m := range f.called("RevertFindings") {
		if !m.(*driftv1.RevertFindingsRequest).GetValidateOnly() {
			t.Error("findings were reverted")
		}
	}
}

func TestPrompts(t *testing.T) {
	for name, tc := range map[string]struct {
		line, method, asks string
	}{
		"an application's deletion":  {"app delete shop", "DeleteApplication", "Delete the application shop? [y/N]"},
		"an environment's deletion":  {"env delete shop/dev", "DeleteEnvironment", "Remove the environment shop/dev from Git and from its cluster? [y/N]"},
		"a rollback":                 {"rollback -e shop/dev --to 1", "Rollback", "Roll back to shop/dev #1? [y/N]"},
		"a token's revocation":       {"token delete ci", "DeleteToken", "Revoke the token ci? [y/N]"},
		"a revert of several things": {"drift revert -e shop/dev", "RevertFindings", "Put back 2 findings of shop/dev? [y/N]"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			before := 0
			if tc.method == "RevertFindings" {
				before = 1 // which findings there are
			}
			for _, answer := range []string{"n\n", "\n", "", "yes please\n"} {
				r := run(t, f, strings.Fields(tc.line), terminal(answer)).want(t, 1)
				if !strings.Contains(r.stderr, tc.asks) || !strings.Contains(r.stderr, "nothing was done") {
					t.Errorf("%q: it says\n%s", answer, r.stderr)
				}
			}
			if n := len(f.called(tc.method)); n != 4*before {
				t.Fatalf("%s was called %d times without a yes", tc.method, n)
			}
			run(t, f, strings.Fields(tc.line), terminal("y\n")).want(t, 0)
			if n := len(f.called(tc.method)); n != 5*before+1 {
				t.Errorf("%s was called %d times", tc.method, n)
			}
		})
	}
}

// What a person has agreed to is what is done, whatever comes in between.
func TestPromptsHoldToWhatWasShown(t *testing.T) {
	f := startFake(t)
	run(t, f, strings.Fields("rollback -e shop/dev"), terminal("y\n")).want(t, 0)
	r := f.called("Rollback")[0].(*catalogv1.RollbackRequest)
	if r.GetPlanHash() != fakePlan().GetPlanHash() || r.GetDeployment() != dev+"/deployments/2" {
		t.Errorf("the rollback is not held to the plan: %v", r)
	}
	run(t, f, strings.Fields("drift revert -e shop/dev"), terminal("y\n")).want(t, 0)
	calls := f.called("RevertFindings")
	if got := calls[len(calls)-1].(*driftv1.RevertFindingsRequest).GetNames(); len(got) != 2 {
		t.Errorf("the revert names %q", got)
	}
}

func TestTokenSecretGoesToStandardOutputAlone(t *testing.T) {
	f := startFake(t)
	r := run(t, f, strings.Fields("token create ci --role developer --expires 720h")).want(t, 0)
	if r.stdout != "tow_new\n" || strings.Contains(r.stderr, "tow_new") {
		t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
	}
	got := f.called("CreateToken")[0].(*catalogv1.CreateTokenRequest).GetToken()
	if want := now.Add(720 * 60 * 60 * 1e9); !got.GetExpireTime().AsTime().Equal(want) {
		t.Errorf("it expires %s, not %s", got.GetExpireTime().AsTime(), want)
	}
}

// A message of another user must not be able to write on this user's screen.
func TestControlCharactersAreShown(t *testing.T) {
	f := startFake(t)
	f.history[1].Message = "all good\x1b[2J\x1b]0;owned\x07"
	f.findings[0].Manager = "evil\x1b[1A"
	for _, line := range []string{"history -e shop/dev", "history -e shop/dev 2", "status -e shop/dev", "drift list -e shop/dev", "drift show 5f1c2a9be07d4413 -e shop/dev"} {
		r := run(t, f, strings.Fields(line)).want(t, 0)
		if strings.ContainsAny(r.stdout, "\x1b\x07") {
			t.Errorf("%s writes %q", line, r.stdout)
		}
	}
}
