package render_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Every folder of testdata is a case: Score files, the rest of the input, and the bundle that comes of it. UPDATE=1 writes
// the bundles anew; read the difference before committing it, for it is what every environment will get.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/input.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, "*.score.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join(dir, "golden"), input(t, path, files))
		})
	}
}

// The example application is a case too, so that it never rots.
func TestGoldenShop(t *testing.T) {
	files, err := filepath.Glob("../../../examples/shop/*.score.yaml")
	if err != nil || len(files) != 4 {
		t.Fatalf("the example's Score files: %v %v", files, err)
	}
	compare(t, "testdata/shop.golden", &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", EnvironmentType: "development", Namespace: "shop-dev",
		Workloads: load(t, files...), Variables: map[string]string{"CURRENCY": "EUR"},
		Defaults: &rendererv1.EnvironmentDefaults{Restricted: true, Labels: map[string]string{"example.com/cost-center": "42"}},
	})
}

func input(t *testing.T, path string, files []string) *rendererv1.RenderInput {
	in := readInput(t, path)
	in.Workloads = load(t, files...)
	return in
}

func compare(t *testing.T, dir string, in *rendererv1.RenderInput) {
	t.Helper()
	first, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := render.Render(proto.CloneOf(in))
	if err != nil {
		t.Fatal(err)
	}
	if first.GetBundle().GetTree() != second.GetBundle().GetTree() || first.GetBundle().GetSha256() != second.GetBundle().GetSha256() {
		t.Error("two renderings of one input have different ids")
	}
	got := map[string]string{}
	for name, content := range first.GetBundle().GetFiles() {
		got[name] = string(content)
	}
	if len(first.GetWarnings()) > 0 {
		got["warnings.txt"] = strings.Join(first.GetWarnings(), "\n") + "\n"
	}
	if os.Getenv("UPDATE") == "1" {
		write(t, dir, got)
	}
	if diff := cmp.Diff(golden(t, dir), got); diff != "" {
		t.Errorf("the bundle differs from %s (-golden +rendered); UPDATE=1 rewrites it\n%s", dir, diff)
	}
	checkObjects(t, in, first.GetBundle())
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func golden(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("no golden folder (UPDATE=1 makes it): %v", err)
	}
	out := map[string]string{}
	for _, e := range entries {
		out[e.Name()] = string(read(t, filepath.Join(dir, e.Name())))
	}
	return out
}

// The bundle's id must be what Git computes, or the committer would never find that there is nothing to do.
func TestBundleTreeIsWhatGitWrites(t *testing.T) {
	files, err := filepath.Glob("../../../examples/shop/*.score.yaml")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := render.Render(&rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev",
		Workloads: load(t, files...), Variables: map[string]string{"CURRENCY": "EUR"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(resp.GetBundle().GetFiles())) {
		if err := os.WriteFile(filepath.Join(dir, name), resp.GetBundle().GetFiles()[name], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var tree string
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"write-tree"}} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "core.autocrlf=false"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		tree = strings.TrimSpace(string(out))
	}
	if tree != resp.GetBundle().GetTree() {
		t.Errorf("git write-tree says %s, the bundle says %s", tree, resp.GetBundle().GetTree())
	}
}
