package app_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

const (
	provisioning = catalogv1.Deployment_STATE_PROVISIONING
	failedState  = catalogv1.Deployment_STATE_FAILED
)

const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.cloud.example.org}
spec:
  group: cloud.example.org
  scope: Namespaced
  names: {plural: databases, singular: database, kind: Database}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

const claimManifest = `
apiVersion: cloud.example.org/v1
kind: Database
metadata: {name: {{ .Name }}}
spec:
  size: {{ .Params.size | default "small" }}
  connectionSecret: {{ .Name }}-connection
`

// cloud plays the controller of a cloud's databases, and defines how they are claimed.
type cloud struct {
	t         *testing.T
	cluster   *devclustertest.Cluster
	namespace string
}

func newCloud(t *testing.T, c *devclustertest.Cluster, client *apptest.Client, namespace string) cloud {
	t.Helper()
	file := filepath.Join(t.TempDir(), "crd.yaml")
	if err := os.WriteFile(file, []byte(crd), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "apply", "--server-side", "-f", file)
	c.Kubectl(t, "wait", "--for=condition=Established", "crd/databases.cloud.example.org", "--timeout=30s")
	conn, err := apptest.DialAs(client.GRPC, client.Token)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	api := catalogv1.NewDefinitionServiceClient(conn)
	apptest.Call(t, api.CreateResourceDefinition, &catalogv1.CreateResourceDefinitionRequest{
		ResourceDefinitionId: "cloud-db", ResourceDefinition: &catalogv1.ResourceDefinition{DisplayName: "Databases of the cloud"},
	})
	inputs, err := structpb.NewStruct(map[string]any{
		"manifest": claimManifest, "secret_name": "spec.connectionSecret",
		"outputs": map[string]any{"host": "status.host", "port": "status.port", "password": map[string]any{"secret_key": "password"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := apptest.Call(t, api.CreateDefinitionVersion, &catalogv1.CreateDefinitionVersionRequest{
		Parent: "resourceDefinitions/cloud-db",
		DefinitionVersion: &catalogv1.DefinitionVersion{Content: &rendererv1.ResourceDefinition{
			Type: "cloud-db", Driver: rendererv1.ResourceDefinition_DRIVER_CLAIM, Inputs: inputs,
		}},
	})
	apptest.Call(t, api.ActivateDefinition, &catalogv1.ActivateDefinitionRequest{Name: v.GetName()})
	return cloud{t: t, cluster: c, namespace: namespace}
}

const claimName = "cloud-db-api-db"

// claimed waits until the claim is in the cluster.
func (c cloud) claimed() {
	c.t.Helper()
	apptest.Await(c.t, "the claim is in the cluster", func() bool {
		return c.cluster.Kubectl(c.t, "-n", c.namespace, "get", "databases", claimName, "--ignore-not-found", "-o", "name") != ""
	})
}

func (c cloud) says(host string) {
	c.t.Helper()
	c.cluster.Kubectl(c.t, "-n", c.namespace, "patch", "database", claimName, "--subresource=status", "--type=merge",
		"-p", `{"status":{"host":"`+host+`","port":5432}}`)
}

func (c cloud) secret() {
	c.t.Helper()
	c.cluster.Kubectl(c.t, "-n", c.namespace, "create", "secret", "generic", claimName+"-connection", "--from-literal=password=top-secret-value")
}

const claimingScore = `
apiVersion: score.dev/v1b1
metadata: {name: api}
containers:
  main:
    image: registry.example.com/api:1
    variables:
      HOST: ${resources.db.host}:${resources.db.port}
      PASSWORD: ${resources.db.password}
resources:
  db: {type: cloud-db}
`

func (c cloud) env(name string) string {
	c.t.Helper()
	return c.cluster.Kubectl(c.t, "-n", c.namespace, "get", "deployment", "api", "--ignore-not-found", "-o",
		"jsonpath={.spec.template.spec.containers[0].env[?(@.name=='"+name+"')]['value','valueFrom']}")
}

func TestADeploymentAwaitsWhatTheClusterMakesOfItsClaims(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	s := apptest.Start(t, apptest.WithCluster(c))
	env := s.NewEnvironment(t, "claims/dev")
	s.WaitState(t, s.DeployScore(t, env, apptest.Score("web", nil)).GetName(), apptest.Healthy)
	cloud := newCloud(t, c, s.Client, "claims-dev")

	plan := apptest.Call(t, s.Catalog.PlanDeployment, &catalogv1.PlanDeploymentRequest{Parent: env, Change: apptest.Scores(claimingScore)})
	if !slices.Equal(plan.GetAwaitedOutputs(), []string{"cloud-db.default#api.db"}) || len(plan.GetFiles()) != 1 {
		t.Errorf("plan = %v", plan)
	}
	d := s.DeployScore(t, env, claimingScore)
	s.WaitState(t, d.GetName(), provisioning)
	cloud.claimed()
	if left := c.Kubectl(t, "-n", "claims-dev", "get", "deployments", "-o", "name"); strings.TrimSpace(left) != "deployment.apps/web" {
		t.Errorf("in the cluster while provisioning: %q", left)
	}
	cloud.says("db1.example.org")
	cloud.secret()
	done := s.WaitState(t, d.GetName(), apptest.Healthy)
	if done.GetClaimsCommit() == "" || done.GetClaimsCommit() == done.GetCommit() || done.GetIntent().GetOutputVersions()["cloud-db.default#api.db"] != 1 || len(done.GetAwaitedOutputs()) != 0 {
		t.Errorf("deployment = %v", done)
	}
	if got := cloud.env("HOST"); got != "db1.example.org:5432" {
		t.Errorf("HOST = %q", got)
	}
	if got := cloud.env("PASSWORD"); !strings.Contains(got, claimName+"-connection") {
		t.Errorf("PASSWORD = %q", got)
	}
	if log := gittest.Git(t, s.Clone(t), "log", "-p", "--all"); strings.Contains(log, "top-secret-value") || strings.Contains(log, "dG9wLXNlY3JldC12YWx1ZQ") {
		t.Error("the secret is in Git")
	}
	if n := len(apptest.Call(t, s.Drift.ListFindings, &driftv1.ListFindingsRequest{Parent: env}).GetFindings()); n != 0 {
		t.Errorf("%d findings", n)
	}

	// A change of the outputs is a version, which the next deployment takes.
	cloud.says("db2.example.org")
	apptest.Await(t, "the second version of the outputs", func() bool {
		next := s.Deploy(t, env, "", &catalogv1.Change{})
		return s.WaitState(t, next.GetName(), apptest.Healthy).GetIntent().GetOutputVersions()["cloud-db.default#api.db"] == 2
	})
	if got := cloud.env("HOST"); got != "db2.example.org:5432" {
		t.Errorf("HOST = %q", got)
	}
	back := apptest.Call(t, s.Catalog.Rollback, &catalogv1.RollbackRequest{Name: env, Deployment: d.GetName()})
	if got := s.WaitState(t, back.GetName(), apptest.Healthy); got.GetTree() != done.GetTree() || cloud.env("HOST") != "db1.example.org:5432" {
		t.Errorf("after the rollback: tree %s, want %s, HOST %q", got.GetTree(), done.GetTree(), cloud.env("HOST"))
	}
}

func TestADeploymentWhoseOutputsDoNotComeFailsAndANewerOneOvertakesIt(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	s := apptest.Start(t, apptest.WithCluster(c))
	env := s.NewEnvironment(t, "late/dev")
	cloud := newCloud(t, c, s.Client, "late-dev")
	first := s.DeployScore(t, env, claimingScore)
	s.WaitState(t, first.GetName(), provisioning)
	cloud.claimed()
	apptest.Call(t, s.Catalog.UpdateEnvironmentType, &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/development", ProvisioningDeadline: durationpb.New(time.Second)},
		UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"provisioning_deadline"}},
	})
	second := s.DeployScore(t, env, strings.Replace(claimingScore, "api:1", "api:2", 1))
	s.WaitState(t, first.GetName(), apptest.Superseded)
	failed := s.WaitState(t, second.GetName(), failedState)
	if failed.GetError().GetStage() != "provision" || failed.GetError().GetReason() != "PROVISIONING_TIMEOUT" || failed.GetError().GetRemedy() == "" {
		t.Errorf("error = %v", failed.GetError())
	}
	cloud.claimed() // it stays
	cloud.secret()
	cloud.says("db.example.org")
	apptest.Await(t, "a deployment with the outputs that came late", func() bool {
		return s.WaitState(t, s.Deploy(t, env, "", &catalogv1.Change{}).GetName(), apptest.Healthy, failedState).GetState() == apptest.Healthy
	})
}

func TestProvisioningGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	c := devclustertest.Start(t, devclustertest.Options{})
	p := apptest.StartProcess(t, apptest.WithCluster(c))
	env := p.NewEnvironment(t, "killed/dev")
	cloud := newCloud(t, c, p.Client, "killed-dev")
	d := p.DeployScore(t, env, claimingScore)
	cloud.claimed()
	p.Kill(t)
	cloud.secret()
	cloud.says("db.example.org")
	p.Start(t)
	if got := p.WaitState(t, d.GetName(), apptest.Healthy); got.GetIntent().GetOutputVersions()["cloud-db.default#api.db"] != 1 {
		t.Errorf("deployment = %v", got)
	}
}
