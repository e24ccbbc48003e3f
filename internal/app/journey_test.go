package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func TestTheExampleGoesThroughItsWholeLifeInOneProcess(t *testing.T) {
	t.Parallel()
	c := devclustertest.Shared(t)
	j := journey{t: t, Client: apptest.Start(t, apptest.WithCluster(c)).Client, cluster: c, app: "shop"}
	j.deploy()
	j.changeOneVariable()
	j.driftAndRevert()
	j.rollBack()
	j.remove()
}

func TestAnEnvironmentWithoutDataLeavesNoNamespace(t *testing.T) {
	t.Parallel()
	c := devclustertest.Shared(t)
	s := apptest.Start(t, apptest.WithCluster(c))
	env := s.NewEnvironment(t, "plain/dev")
	s.WaitState(t, s.DeployScore(t, env, apptest.Score("web", nil)).GetName(), apptest.Healthy)
	removal := apptest.Call(t, s.Catalog.DeleteEnvironment, &catalogv1.DeleteEnvironmentRequest{Name: env})
	s.WaitState(t, removal.GetName(), apptest.Healthy)
	if left := c.Kubectl(t, "get", "namespace", "plain-dev", "--ignore-not-found", "-o", "name"); left != "" {
		t.Errorf("left in the cluster: %s", left)
	}
}

// journey is the life of the example application in one environment, as a person would go through it.
type journey struct {
	t *testing.T
	*apptest.Client
	cluster *devclustertest.Cluster
	app     string // a name that no other test of this package uses in the cluster
	env     string
	first   *catalogv1.Deployment
}

func (j *journey) namespace() string { return j.app + "-dev" }

// folder is where the environment is in Git.
func (j *journey) folder() string { return "environments/dev/" + j.app }

func (j *journey) deploy() {
	t := j.t
	t.Helper()
	j.env = j.NewEnvironment(t, j.app+"/dev")
	change := exampleScores(t)
	change.Variables = map[string]string{"CURRENCY": "EUR"}
	j.first = j.WaitState(t, j.Deploy(t, j.env, "", change).GetName(), apptest.Healthy)
	clone := j.Clone(t)
	if got := gittest.Git(t, clone, "log", "--format=%H %(trailers:key=Towpath-Deployment,valueonly,separator=%x2C)"); got != j.first.GetCommit()+" "+j.first.GetName() {
		t.Errorf("commits are %q, want only %s", got, j.first.GetCommit())
	}
	if tree := gittest.Git(t, clone, "rev-parse", "HEAD:"+j.folder()); tree != j.first.GetTree() {
		t.Errorf("Git has tree %s, the deployment says %s", tree, j.first.GetTree())
	}
	got := strings.Fields(j.cluster.Kubectl(t, "-n", j.namespace(), "get", "deployments,statefulsets", "-o",
		"jsonpath={range .items[*]}{.metadata.name}:{.status.availableReplicas}{'\\n'}{end}"))
	slices.Sort(got)
	if len(got) < 3 || slices.ContainsFunc(got, func(s string) bool { return !strings.HasSuffix(s, ":1") }) {
		t.Errorf("available replicas are %v, want one of each workload", got)
	}
}

func (j *journey) changeOneVariable() {
	t := j.t
	t.Helper()
	d := j.WaitState(t, j.Deploy(t, j.env, "", &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api/containers/main/variables/LOG_LEVEL",
		Value: structpb.NewStringValue("debug"),
	}}}).GetName(), apptest.Healthy)
	if d.GetFilesChanged() != 1 {
		t.Errorf("%d files changed, want 1", d.GetFilesChanged())
	}
	var bundle, state, others []string
	for _, path := range strings.Fields(gittest.Git(t, j.Clone(t), "diff", "--name-only", "HEAD~1", "HEAD")) {
		switch {
		case strings.HasPrefix(path, j.folder()+"/"):
			bundle = append(bundle, path)
		case strings.HasPrefix(path, ".towpath/state/"):
			state = append(state, path)
		default:
			others = append(others, path)
		}
	}
	if len(bundle) != 1 || len(state) != 1 || len(others) != 0 {
		t.Errorf("the commit touches %v, %v and %v, want one file of the environment and its state file", bundle, state, others)
	}
	level := j.cluster.Kubectl(t, "-n", j.namespace(), "get", "deployment", "api", "-o",
		"jsonpath={.spec.template.spec.containers[0].env[?(@.name=='LOG_LEVEL')].value}")
	if level != "debug" {
		t.Errorf("the cluster has LOG_LEVEL=%q, want debug", level)
	}
}

func (j *journey) driftAndRevert() {
	t := j.t
	t.Helper()
	stored, plain := j.Subscribe(t, "towpath.evt.>"), j.Subscribe(t, "towpath.json.>")
	j.cluster.Kubectl(t, "-n", j.namespace(), "patch", "service", "api", "--type=json",
		"-p", `[{"op":"add","path":"/spec/ports/-","value":{"name":"extra","port":80}}]`)
	var found []*driftv1.Finding
	apptest.Await(t, "the patch is found", func() bool { found = j.findings(); return len(found) > 0 })
	type finding struct {
		kind                            driftv1.Finding_Kind
		object, name, field, by, action string
	}
	var got []finding
	for _, f := range found {
		got = append(got, finding{f.GetKind(), f.GetObjectKind(), f.GetObjectName(), f.GetField(), f.GetManager(), f.GetOperation()})
	}
	want := []finding{{driftv1.Finding_KIND_EXTRA, "Service", "api", "spec.ports[port=80]", "kubectl-patch", "Update"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(finding{})); d != "" {
		t.Errorf("findings (-want +got)\n%s", d)
	}
	suffix := "." + j.app + ".dev.drift.detected"
	var told eventsv1.DriftDetected
	apptest.Decode(t, stored.Wait(t, suffix), &told)
	if told.GetEnvironment() != j.env || told.GetFinding().GetName() != found[0].GetName() || told.GetOpen() != 1 {
		t.Errorf("told over NATS: %v", &told)
	}
	var readable struct {
		Environment string
		Finding     struct{ Manager, Field string }
	}
	if err := json.Unmarshal(plain.Wait(t, suffix).Data, &readable); err != nil {
		t.Fatal(err)
	}
	if readable.Environment != j.env || readable.Finding.Manager != "kubectl-patch" || readable.Finding.Field != "spec.ports[port=80]" {
		t.Errorf("told as JSON: %+v", readable)
	}
	apptest.Call(t, j.Drift.RevertFindings, &driftv1.RevertFindingsRequest{Parent: j.env})
	if left := j.findings(); len(left) != 0 {
		t.Errorf("after the revert there are still %v", left)
	}
	if ports := j.cluster.Kubectl(t, "-n", j.namespace(), "get", "service", "api", "-o", "jsonpath={.spec.ports[*].port}"); ports != "8080" {
		t.Errorf("after the revert the service has ports %s, want 8080", ports)
	}
	stored.Wait(t, "."+j.app+".dev.drift.resolved")
}

func (j *journey) findings() []*driftv1.Finding {
	return apptest.Call(j.t, j.Drift.ListFindings, &driftv1.ListFindingsRequest{Parent: j.env}).GetFindings()
}

func (j *journey) rollBack() {
	t := j.t
	t.Helper()
	d := apptest.Call(t, j.Catalog.Rollback, &catalogv1.RollbackRequest{Name: j.env, Deployment: j.first.GetName()})
	d = j.WaitState(t, d.GetName(), apptest.Healthy)
	tree := gittest.Git(t, j.Clone(t), "rev-parse", "HEAD:"+j.folder())
	if d.GetTree() != j.first.GetTree() || tree != j.first.GetTree() {
		t.Errorf("rolled back to tree %s, Git has %s, want %s", d.GetTree(), tree, j.first.GetTree())
	}
	if d.GetCommit() == j.first.GetCommit() {
		t.Error("the rollback has no commit of its own")
	}
}

func (j *journey) remove() {
	t := j.t
	t.Helper()
	before := j.History(t, j.env)
	removal := apptest.Call(t, j.Catalog.DeleteEnvironment, &catalogv1.DeleteEnvironmentRequest{Name: j.env})
	j.WaitState(t, removal.GetName(), apptest.Healthy)
	if left := gittest.Git(t, j.Clone(t), "ls-tree", "-r", "--name-only", "HEAD", j.folder()); left != "" {
		t.Errorf("left in Git: %s", left)
	}
	// The example's claims hold data, so they and their namespace stay, and the generated password without which the data cannot be
	// opened; nothing else of it does.
	left := strings.Fields(j.cluster.Kubectl(t, "-n", j.namespace(), "get", "deployments,statefulsets,services,secrets,configmaps,ingresses", "-o", "name"))
	stays := []string{"configmap/kube-root-ca.crt", "secret/postgres-shop-db", "secret/amqp-shop-jobs", "secret/s3-report-reports"}
	left = slices.DeleteFunc(left, func(name string) bool { return slices.Contains(stays, name) })
	if len(left) > 0 {
		t.Errorf("left in the cluster: %v", left)
	}
	if after := j.History(t, j.env); len(after) != len(before)+1 {
		t.Errorf("the history has %d deployments, want %d", len(after), len(before)+1)
	}
}

// exampleScores are the Score files that the example's README deploys.
func exampleScores(t testing.TB) *catalogv1.Change {
	t.Helper()
	files, err := filepath.Glob("../../examples/shop/*.score.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("the example's Score files: %v, %v", files, err)
	}
	var documents []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(b))
	}
	return apptest.Scores(documents...)
}
