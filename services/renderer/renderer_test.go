package renderer_test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const document = "apiVersion: score.dev/v1b1\nmetadata: {name: api}\ncontainers: {main: {image: nginx}}\n"

// dial serves the service in memory and gives a client of it.
func dial(t *testing.T) rendererv1.RendererServiceClient {
	t.Helper()
	svc := newService(t)
	server, listener := grpc.NewServer(), bufconn.Listen(1<<20)
	svc.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///renderer", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return rendererv1.NewRendererServiceClient(conn)
}

func newService(t *testing.T) *renderer.Service {
	t.Helper()
	svc, err := renderer.New(renderer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func TestLoadThenRender(t *testing.T) {
	client := dial(t)
	loaded, err := client.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{Files: []*rendererv1.ScoreFile{{Content: []byte(document)}}})
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := client.Render(t.Context(), &rendererv1.RenderRequest{Input: &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: loaded.GetWorkloads()}})
	if err != nil {
		t.Fatal(err)
	}
	objects := rendered.GetBundle().GetObjects()
	if len(objects) != 1 || objects[0].GetKind() != "Deployment" || objects[0].GetFile() != "deployment-api.yaml" || objects[0].GetWorkload() != "api" {
		t.Errorf("objects: %v", objects)
	}
}

func TestChecksAndVerdictsOverTheWire(t *testing.T) {
	client := dial(t)
	mine := &rendererv1.ResourceDefinition{Name: "resourceDefinitions/pg/versions/1", Type: "postgres", Driver: rendererv1.ResourceDefinition_DRIVER_STATIC}
	if _, err := client.CheckDefinition(t.Context(), &rendererv1.CheckDefinitionRequest{Definition: mine}); err == nil || !strings.Contains(err.Error(), "the request is not valid") {
		t.Errorf("CheckDefinition: %v", err)
	}
	explained, err := client.ExplainMatch(t.Context(), &rendererv1.ExplainMatchRequest{Match: &rendererv1.MatchRequest{Type: "postgres"}, Definitions: []*rendererv1.ResourceDefinition{mine}})
	if err != nil {
		t.Fatal(err)
	}
	if c := explained.GetCandidates(); len(c) != 3 || c[0].GetDefinition() != mine.GetName() || !c[0].GetWon() || c[1].GetDefinition() != "builtin/postgres" {
		t.Errorf("candidates: %v", c)
	}
	if _, err := client.CheckGuardrails(t.Context(), &rendererv1.CheckGuardrailsRequest{Guardrails: []*rendererv1.Guardrail{{Name: "aa", Expression: "("}}}); err == nil {
		t.Error("a guardrail that does not compile is accepted")
	}
	loaded, err := client.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{Files: []*rendererv1.ScoreFile{{Content: []byte(document)}}})
	if err != nil {
		t.Fatal(err)
	}
	in := &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: loaded.GetWorkloads()}
	plain, err := client.Render(t.Context(), &rendererv1.RenderRequest{Input: in})
	if err != nil {
		t.Fatal(err)
	}
	guarded, err := client.Render(t.Context(), &rendererv1.RenderRequest{Input: in, Facts: &rendererv1.DeploymentFacts{Kind: "CHANGE"}, Guardrails: []*rendererv1.Guardrail{
		{Name: "tag", Expression: "object.spec.template.spec.containers.all(c, c.image.contains(':'))", Message: "give a tag", Enforcement: rendererv1.Guardrail_ENFORCEMENT_DENY, Kinds: []string{"Deployment"}},
		{Name: "change", Expression: "deployment.kind == 'CHANGE'", Enforcement: rendererv1.Guardrail_ENFORCEMENT_WARN}}})
	if err != nil {
		t.Fatal(err)
	}
	if v := guarded.GetVerdicts(); len(v) != 1 || v[0].GetMessage() != "give a tag" || v[0].GetObject().GetFile() != "deployment-api.yaml" {
		t.Errorf("verdicts: %v", v)
	}
	if guarded.GetBundle().GetTree() != plain.GetBundle().GetTree() {
		t.Error("guardrails change the bundle")
	}
}

func TestHandlersRefuse(t *testing.T) {
	svc := newService(t)
	for name, tc := range map[string]struct {
		call   func() error
		reason errorsv1.Reason
	}{
		"no files": {func() error { _, err := svc.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{}); return err }, errorsv1.Reason_REASON_INVALID_FIELD},
		"a large file": {func() error {
			_, err := svc.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{Files: []*rendererv1.ScoreFile{{Content: make([]byte, 10<<20)}}})
			return err
		}, errorsv1.Reason_REASON_TOO_LARGE},
		"a wrong file": {func() error {
			_, err := svc.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{Files: []*rendererv1.ScoreFile{{Content: []byte("x")}}})
			return err
		}, errorsv1.Reason_REASON_INVALID_SCORE},
		"no input": {func() error { _, err := svc.Render(t.Context(), &rendererv1.RenderRequest{}); return err }, errorsv1.Reason_REASON_INVALID_FIELD},
		"empty input": {func() error {
			_, err := svc.Render(t.Context(), &rendererv1.RenderRequest{Input: &rendererv1.RenderInput{}})
			return err
		}, errorsv1.Reason_REASON_INVALID_FIELD},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.call(); errs.ReasonOf(err) != tc.reason {
				t.Errorf("want %s, got %v", tc.reason, err)
			}
		})
	}
	if _, err := renderer.New(renderer.Config{Concurrency: -1}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a negative concurrency: %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newService(t).Run(ctx) }()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run goes on after its context is done")
	}
}

// The CLI renders offline with these packages, so they must not bring in what only the server needs.
func TestDependenciesStaySmall(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for _, refused := range []string{"k8s.io/client-go", "github.com/go-git", "github.com/nats-io", "go.etcd.io", "helm.sh",
			"github.com/towpath-dev/towpath/internal/rpc", "github.com/towpath-dev/towpath/internal/store", "github.com/towpath-dev/towpath/internal/git"} {
			if pkg == refused || strings.HasPrefix(pkg, refused+"/") {
				t.Errorf("the renderer depends on %s", pkg)
			}
		}
	}
	pure, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./render", "./score", "./kube", "./definition").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.FieldsSeq(string(pure)) {
		if pkg == "k8s.io/api" || strings.HasPrefix(pkg, "github.com/towpath-dev/towpath/services/") && !strings.HasPrefix(pkg, "github.com/towpath-dev/towpath/services/renderer/") {
			t.Errorf("the pure packages depend on %s", pkg)
		}
	}
}
