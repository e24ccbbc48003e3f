package cli_test

import (
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/renderer"
)

// Whatever the renderer's own tests render, `tow render` and the service give the same bytes of.
func TestRenderGivesTheBytesOfTheService(t *testing.T) {
	service := rendererService(t)
	root := filepath.Join(repoRoot(), "services", "renderer", "render", "testdata")
	inputs, err := filepath.Glob(filepath.Join(root, "*", "input.yaml"))
	if err != nil || len(inputs) < 6 {
		t.Fatalf("the renderer's cases: %v %v", inputs, err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(filepath.Dir(input)), func(t *testing.T) {
			sameBytes(t, service, filepath.Dir(input), messageOf(t, input), "--input", input)
		})
	}
	t.Run("the example", func(t *testing.T) {
		sameBytes(t, service, filepath.Join(repoRoot(), "examples", "shop"), &rendererv1.RenderInput{
			Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev", Variables: map[string]string{"CURRENCY": "EUR"},
			Defaults: &rendererv1.EnvironmentDefaults{Restricted: true, Replicas: 2, Labels: map[string]string{"example.com/team": "a"}},
		}, "-e", "shop/dev", "--type", "development", "--variable", "CURRENCY=EUR", "--restricted", "--replicas", "2", "--label", "example.com/team=a")
	})
}

// sameBytes renders a folder of Score files both ways.
func sameBytes(t *testing.T, service rendererv1.RendererServiceClient, dir string, in *rendererv1.RenderInput, flags ...string) {
	t.Helper()
	loaded, err := service.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{Files: scoreFiles(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	in.Workloads = loaded.GetWorkloads()
	want, err := service.Render(t.Context(), &rendererv1.RenderRequest{Input: in})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	got := run(t, nil, append([]string{"render", "-f", dir, "-o", out}, flags...)).want(t, 0)
	if !strings.Contains(got.stderr, "tree "+want.GetBundle().GetTree()+"\n") {
		t.Errorf("the service's tree is %s, but tow says %s", want.GetBundle().GetTree(), got.stderr)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if string(want.GetBundle().GetFiles()[e.Name()]) != string(readFile(t, filepath.Join(out, e.Name()))) {
			t.Errorf("%s has other bytes", e.Name())
		}
	}
	if files := slices.Sorted(maps.Keys(want.GetBundle().GetFiles())); !slices.Equal(files, names) {
		t.Errorf("the service makes %v, tow writes %v", files, names)
	}
}

// scoreFiles are the Score files of a folder with everything else in it as their sources.
func scoreFiles(t *testing.T, dir string) (files []*rendererv1.ScoreFile) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string][]byte{}
	for _, e := range entries {
		switch {
		case e.IsDir():
		case strings.HasSuffix(e.Name(), ".score.yaml"):
			files = append(files, &rendererv1.ScoreFile{Filename: e.Name(), Content: readFile(t, filepath.Join(dir, e.Name())), Sources: sources})
		default:
			sources[e.Name()] = readFile(t, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func messageOf(t *testing.T, name string) *rendererv1.RenderInput {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(readFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	in := &rendererv1.RenderInput{}
	if err := protojson.Unmarshal(asJSON, in); err != nil {
		t.Fatal(err)
	}
	return in
}

func rendererService(t *testing.T) rendererv1.RendererServiceClient {
	t.Helper()
	svc, err := renderer.New(renderer.Config{})
	if err != nil {
		t.Fatal(err)
	}
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
