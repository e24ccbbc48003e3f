package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func fullIntent() *catalogv1.Intent {
	secret := func(name string) map[string]*rendererv1.SecretReference {
		return map[string]*rendererv1.SecretReference{"KEY": {Name: name, Key: "k"}}
	}
	return &catalogv1.Intent{
		Set: "sets/a", Overlay: []*rendererv1.Operation{set("/workloads/a/x", "1")}, Variables: map[string]string{"A": "1"},
		ApplicationVariables: map[string]string{"B": "1"}, SecretVariables: secret("env"), ApplicationSecretVariables: secret("app"),
		VariableVersions: map[string]int64{"applications/shop/variables/B": 1}, Definitions: []string{"resourceDefinitions/pg/versions/1"},
		OutputVersions: map[string]int64{"postgres.default#db": 1}, Defaults: &rendererv1.EnvironmentDefaults{Replicas: 1},
	}
}

// Whatever a plan depends on moves it, and the error names that.
func TestAPlanMovesWithEachThingThatItWasMadeOn(t *testing.T) {
	base := func() rules.PlanParts {
		p := rules.PartsOf(fullIntent())
		p.Environment, p.Place, p.RendererVersion, p.BaseTree, p.Tree, p.SHA256 = "e", "p", "v1", "b", "t", "s"
		return p
	}
	intent := func(change func(*catalogv1.Intent)) func(*rules.PlanParts) {
		return func(p *rules.PlanParts) {
			i := fullIntent()
			change(i)
			now := rules.PartsOf(i)
			now.Environment, now.Place, now.RendererVersion, now.BaseTree, now.Tree, now.SHA256 = p.Environment, p.Place, p.RendererVersion, p.BaseTree, p.Tree, p.SHA256
			*p = now
		}
	}
	for name, tc := range map[string]struct {
		change func(*rules.PlanParts)
		moved  string
	}{
		"nothing":                        {func(*rules.PlanParts) {}, ""},
		"the set":                        {intent(func(i *catalogv1.Intent) { i.Set = "sets/b" }), "set"},
		"an overlay's value":             {intent(func(i *catalogv1.Intent) { i.Overlay[0] = set("/workloads/a/x", "2") }), "overlay"},
		"a variable":                     {intent(func(i *catalogv1.Intent) { i.Variables["A"] = "2" }), "variables"},
		"a variable of the application":  {intent(func(i *catalogv1.Intent) { i.ApplicationVariables["B"] = "2" }), "variables"},
		"a variable changes its owner":   {intent(func(i *catalogv1.Intent) { i.Variables["B"] = "1"; delete(i.ApplicationVariables, "B") }), "variables"},
		"a secret's reference":           {intent(func(i *catalogv1.Intent) { i.SecretVariables["KEY"].Name = "other" }), "variables"},
		"an application's secret":        {intent(func(i *catalogv1.Intent) { i.ApplicationSecretVariables["KEY"].Key = "other" }), "variables"},
		"a variable's version":           {intent(func(i *catalogv1.Intent) { i.VariableVersions["applications/shop/variables/B"] = 2 }), "variables"},
		"a definition":                   {intent(func(i *catalogv1.Intent) { i.Definitions[0] = "resourceDefinitions/pg/versions/2" }), "definitions"},
		"outputs":                        {intent(func(i *catalogv1.Intent) { i.OutputVersions["postgres.default#db"] = 2 }), "outputs"},
		"the environment type":           {intent(func(i *catalogv1.Intent) { i.Defaults.Replicas = 2 }), "environment_type"},
		"the place":                      {func(p *rules.PlanParts) { p.Place = "q" }, "place"},
		"the renderer":                   {func(p *rules.PlanParts) { p.RendererVersion = "v2" }, "renderer_version"},
		"what stands in Git":             {func(p *rules.PlanParts) { p.BaseTree = "c" }, "base_tree"},
		"what comes out":                 {func(p *rules.PlanParts) { p.Tree = "u" }, "tree"},
		"what comes out, by its content": {func(p *rules.PlanParts) { p.SHA256 = "r" }, "tree"},
	} {
		t.Run(name, func(t *testing.T) {
			then, now := base(), base()
			tc.change(&now)
			var want []string
			if tc.moved != "" {
				want = []string{tc.moved}
			}
			if diff := cmp.Diff(want, then.Moved(now)); diff != "" {
				t.Error(diff)
			}
			if same := then.Hash() == now.Hash(); same != (tc.moved == "") {
				t.Errorf("the hash is the same: %v", same)
			}
		})
	}
}

func TestMovedOnTellsWhatWentOnSinceThen(t *testing.T) {
	then := fullIntent()
	if got := rules.MovedOn(then, proto.CloneOf(then)); len(got) != 0 {
		t.Errorf("of the same it tells %v", got)
	}
	now := fullIntent()
	now.ApplicationVariables = map[string]string{"C": "secret value"}
	now.ApplicationSecretVariables["KEY"].Name = "rotated"
	now.Definitions = []string{"resourceDefinitions/pg/versions/2", "resourceDefinitions/redis/versions/1"}
	now.OutputVersions["postgres.default#db"] = 4
	now.Defaults.Replicas = 3
	want := []string{
		"the application's variable B is gone since then; what is put back still has its value",
		"the application's variable C did not exist then",
		"the application's secret KEY is another one since then; what is put back has the earlier",
		"the resource definition resourceDefinitions/pg/versions/2 is used today, and what is put back was made with resourceDefinitions/pg/versions/1",
		"the outputs of postgres.default#db are at version 4 now, and what is put back was made with version 1",
		"the environment type's defaults are others since then",
	}
	if diff := cmp.Diff(want, rules.MovedOn(then, now)); diff != "" {
		t.Error(diff)
	}
	now.Definitions = []string{"resourceDefinitions/redis/versions/1"}
	if got := rules.MovedOn(then, now)[3]; got != "the resource definition resourceDefinitions/pg/versions/1 is not used any more, and what is put back was made with it" {
		t.Errorf("it tells %q", got)
	}
}
