package rules_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestDefinitionVersionNames(t *testing.T) {
	for name, want := range map[string]string{
		"resourceDefinitions/pg/versions/7":      "pg 7 ",
		"resourceDefinitions/pg/versions/active": "pg 0 active",
		"resourceDefinitions/pg/versions/latest": "pg 0 latest",
	} {
		v, word, err := rules.ParseDefinitionVersion("name", name)
		if err != nil || v.ID != "pg" || word == "" && v.Name() != name || !strings.HasSuffix(want, word) {
			t.Errorf("%s: %v %q %v", name, v, word, err)
		}
	}
	for _, name := range []string{"", "pg", "resourceDefinitions/pg", "resourceDefinitions/pg/versions/", "resourceDefinitions/pg/versions/0", "resourceDefinitions/pg/versions/01",
		"resourceDefinitions/pg/versions/-1", "resourceDefinitions/PG/versions/1", "resourceDefinitions/pg/versions/1/versions/2", "builtin/postgres"} {
		if _, _, err := rules.ParseDefinitionVersion("name", name); errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_FIELD {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzParseDefinitionVersion(f *testing.F) {
	f.Add("resourceDefinitions/pg/versions/7")
	f.Add("resourceDefinitions/pg/versions/versions/latest")
	f.Fuzz(func(t *testing.T, name string) {
		v, word, err := rules.ParseDefinitionVersion("name", name)
		if err == nil && word == "" && v.Name() != name {
			t.Errorf("%q is read as %q", name, v.Name())
		}
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	})
}

func TestTheHashIsOfTheContent(t *testing.T) {
	one, two := &rendererv1.ResourceDefinition{Name: "a", Type: "postgres"}, &rendererv1.ResourceDefinition{Name: "b", Type: "postgres"}
	if rules.DefinitionHash(one) != rules.DefinitionHash(two) || one.GetName() != "a" {
		t.Error("the name counts, or is gone")
	}
	if two.Class = "large"; rules.DefinitionHash(one) == rules.DefinitionHash(two) {
		t.Error("the class does not count")
	}
}

func TestSameCriteria(t *testing.T) {
	def := func(class string, criteria ...*rendererv1.Criteria) *rendererv1.ResourceDefinition {
		return &rendererv1.ResourceDefinition{Type: "postgres", Class: class, Criteria: criteria}
	}
	dev, prod := &rendererv1.Criteria{Env: "dev"}, &rendererv1.Criteria{Env: "prod"}
	for name, tc := range map[string]struct {
		a, b *rendererv1.ResourceDefinition
		same bool
	}{
		"both for every request":             {def(""), def("default"), true},
		"one of several":                     {def("", prod, dev), def("", dev), true},
		"empty criteria are every request":   {def("", &rendererv1.Criteria{}), def(""), true},
		"other criteria":                     {def("", dev), def("", prod), false},
		"every request and some":             {def(""), def("", dev), false},
		"another class":                      {def("large"), def(""), false},
		"another type":                       {&rendererv1.ResourceDefinition{Type: "redis"}, def(""), false},
		"the same value of different fields": {def("", &rendererv1.Criteria{App: "dev"}), def("", dev), false},
	} {
		if err := rules.SameCriteria(tc.a, tc.b); (err != nil) != tc.same || err != nil && errs.ReasonOf(err) != errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTypesThatAStateCanReach(t *testing.T) {
	inputs, err := structpb.NewStruct(map[string]any{
		"manifests": "a: ${resources['dns.default#x'].outputs.host} ${resources.env.X} ${HOME}",
		"deep":      []any{map[string]any{"k": "x${resources['s3-bucket'].outputs.a}${resources['redis#one'].outputs.b}"}},
		"provision": map[string]any{"volume.fast#x": nil, "queue": map[string]any{"params": map[string]any{"a": "${resources['topic'].outputs.x}"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dns", "queue", "redis", "s3-bucket", "topic", "volume"}
	if diff := cmp.Diff(want, rules.MentionedTypes(&rendererv1.ResourceDefinition{Type: "postgres", Inputs: inputs})); diff != "" {
		t.Error(diff)
	}
	doc := rules.Document{
		"workloads": map[string]any{"api": map[string]any{"resources": map[string]any{"db": map[string]any{"type": "postgres"}, "c": map[string]any{"type": "redis"}}}},
		"resources": map[string]any{"shared": map[string]any{"type": "amqp"}},
	}
	set, err := doc.Set()
	if err != nil {
		t.Fatal(err)
	}
	state := rules.State{Set: set, Intent: &catalogv1.Intent{Overlay: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: "/workloads/api/resources/c/type", Value: structpb.NewStringValue("memcached")}}}}
	got, err := rules.ResourceTypes(state)
	if diff := cmp.Diff([]string{"amqp", "memcached", "postgres"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestImpact(t *testing.T) {
	before := &rendererv1.RenderResponse{Answers: map[string]string{"a": "1", "b": "1", "c": "1"},
		Bundle: &rendererv1.Bundle{Files: map[string][]byte{"x": []byte("1"), "y": []byte("1")}}}
	after := &rendererv1.RenderResponse{Answers: map[string]string{"a": "1", "b": "2", "d": "1"},
		Bundle: &rendererv1.Bundle{Files: map[string][]byte{"x": []byte("2"), "z": []byte("1")}}}
	resources, files := rules.Impact(before, after)
	if diff := cmp.Diff([][]string{{"b", "c", "d"}, {"x", "y", "z"}}, [][]string{resources, files}); diff != "" {
		t.Error(diff)
	}
	if resources, files = rules.Impact(nil, after); len(resources) != 3 || len(files) != 2 {
		t.Errorf("from what could not be rendered: %v %v", resources, files)
	}
}

func TestThePlanDigestIsOfAllOfIt(t *testing.T) {
	sum := func(change func(*catalogv1.PlanDefinitionResponse), n int) string {
		d := &rules.PlanDigest{}
		for range n { // more than what is kept in memory
			r := &catalogv1.PlanDefinitionResponse{Environment: "e", Resources: []string{"r"}, Files: []string{strings.Repeat("f", 1000)}}
			change(r)
			d.Add(r)
		}
		return d.Sum()
	}
	same := func(*catalogv1.PlanDefinitionResponse) {}
	base := sum(same, 3000)
	if base != sum(same, 3000) {
		t.Error("two digests of the same")
	}
	for name, other := range map[string]string{
		"one less":    sum(same, 2999),
		"environment": sum(func(r *catalogv1.PlanDefinitionResponse) { r.Environment = "f" }, 3000),
		"resources":   sum(func(r *catalogv1.PlanDefinitionResponse) { r.Resources = nil }, 3000),
		"error":       sum(func(r *catalogv1.PlanDefinitionResponse) { r.Error = "x" }, 3000),
	} {
		if other == base {
			t.Errorf("%s does not count", name)
		}
	}
}
