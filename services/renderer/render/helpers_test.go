package render_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// load gives the workloads of Score files on disk; files beside them are sent as their sources.
func load(t testing.TB, paths ...string) map[string]*structpb.Struct {
	t.Helper()
	var files []*rendererv1.ScoreFile
	for _, path := range paths {
		files = append(files, &rendererv1.ScoreFile{Filename: filepath.Base(path), Content: read(t, path), Sources: sources(t, filepath.Dir(path))})
	}
	workloads, err := score.LoadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	return workloads
}

// parse gives the workloads of Score documents in the test's text.
func parse(t testing.TB, documents ...string) map[string]*structpb.Struct {
	t.Helper()
	var files []*rendererv1.ScoreFile
	for _, d := range documents {
		files = append(files, &rendererv1.ScoreFile{Content: []byte(d)})
	}
	workloads, err := score.LoadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	return workloads
}

func sources(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasSuffix(e.Name(), ".score.yaml") {
			out[e.Name()] = read(t, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

// readInput reads the render input of a case: protojson written as YAML, without the workloads.
func readInput(t testing.TB, path string) *rendererv1.RenderInput {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	input := &rendererv1.RenderInput{}
	if err := protojson.Unmarshal(asJSON, input); err != nil {
		t.Fatal(err)
	}
	return input
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
