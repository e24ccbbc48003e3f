package renderer_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer"
)

func TestExplainAndDiffBundlesAnswer(t *testing.T) {
	s, err := renderer.New(renderer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := structpb.NewStruct(map[string]any{
		"apiVersion": "score.dev/v1b1", "metadata": map[string]any{"name": "api"},
		"containers": map[string]any{"main": map[string]any{"image": "registry.example.com/api:1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	input := &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: map[string]*structpb.Struct{"api": doc}}
	told, err := s.Explain(t.Context(), &rendererv1.ExplainRequest{Input: input, Object: "deployment/api", Path: ".spec.template.spec.containers[0].image"})
	if err != nil || len(told.GetFields()) != 1 || told.GetFields()[0].GetOrigin().GetPointer() != "/workloads/api/containers/main/image" {
		t.Errorf("told %v, %v", told, err)
	}
	if _, err := s.Explain(t.Context(), &rendererv1.ExplainRequest{}); !errs.Is(err, errs.Invalid) {
		t.Errorf("without an input: %v", err)
	}
	config := func(v string) map[string][]byte {
		return map[string][]byte{"c.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: " + v + "}\n")}
	}
	diff, err := s.DiffBundles(t.Context(), &rendererv1.DiffBundlesRequest{Before: config("x"), After: config("y")})
	if err != nil || diff.GetText() != "~ ConfigMap c\n    data[a]: x -> y\n" {
		t.Errorf("diff %v, %v", diff, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	busy, err := renderer.New(renderer.Config{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Explain(gone, &rendererv1.ExplainRequest{Input: input, Object: "deployment/none"}); err == nil {
		t.Error("an object that is not there is explained")
	}
}
