package match_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/match"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func def(name string, criteria ...*rendererv1.Criteria) *rendererv1.ResourceDefinition {
	return &rendererv1.ResourceDefinition{Name: name, Type: "postgres", Criteria: criteria}
}

var request = &rendererv1.MatchRequest{Type: "postgres", ResId: "api.db", App: "shop", Env: "dev", EnvType: "development"}

func TestTheMostSpecificDefinitionAnswers(t *testing.T) {
	builtin := def("builtin/postgres")
	large, every := def("large"), def("every")
	large.Class, every.Class = "large", "*"
	everyHere := def("everyHere", &rendererv1.Criteria{Env: "dev"})
	everyHere.Class = "*"
	for name, tc := range map[string]struct {
		definitions []*rendererv1.ResourceDefinition
		class       string
		want        string
	}{
		"nothing answers when there is nothing":                    {nil, "", ""},
		"what is part of Towpath answers when alone":               {[]*rendererv1.ResourceDefinition{builtin}, "", "builtin/postgres"},
		"the organisation comes before Towpath":                    {[]*rendererv1.ResourceDefinition{builtin, def("ours")}, "", "ours"},
		"any criteria come before none":                            {[]*rendererv1.ResourceDefinition{def("ours"), def("dev", &rendererv1.Criteria{EnvType: "development"})}, "", "dev"},
		"an application weighs more than a type":                   {[]*rendererv1.ResourceDefinition{def("app", &rendererv1.Criteria{App: "shop"}), def("type", &rendererv1.Criteria{EnvType: "development"})}, "", "app"},
		"an environment weighs more than both":                     {[]*rendererv1.ResourceDefinition{def("env", &rendererv1.Criteria{Env: "dev"}), def("both", &rendererv1.Criteria{App: "shop", EnvType: "development"})}, "", "env"},
		"a resource weighs more than all":                          {[]*rendererv1.ResourceDefinition{def("res", &rendererv1.Criteria{ResId: "api.db"}), def("all", &rendererv1.Criteria{App: "shop", EnvType: "development", Env: "dev"})}, "", "res"},
		"all that are given must hold":                             {[]*rendererv1.ResourceDefinition{builtin, def("no", &rendererv1.Criteria{ResId: "api.db", Env: "prod"})}, "", "builtin/postgres"},
		"any one of several criteria is enough":                    {[]*rendererv1.ResourceDefinition{def("any", &rendererv1.Criteria{Env: "prod"}, &rendererv1.Criteria{Env: "dev"})}, "", "any"},
		"the class must be the same":                               {[]*rendererv1.ResourceDefinition{large, builtin}, "", "builtin/postgres"},
		"a class is answered by its own definition only":           {[]*rendererv1.ResourceDefinition{large, builtin}, "large", "large"},
		"an unknown class has no answer":                           {[]*rendererv1.ResourceDefinition{large, builtin}, "huge", ""},
		"what answers every class answers an unknown one":          {[]*rendererv1.ResourceDefinition{large, every, builtin}, "huge", "every"},
		"who names the class comes before who answers every one":   {[]*rendererv1.ResourceDefinition{large, every}, "large", "large"},
		"criteria weigh more than to name the class":               {[]*rendererv1.ResourceDefinition{large, everyHere}, "large", "everyHere"},
		"the organisation's of every class comes before Towpath's": {[]*rendererv1.ResourceDefinition{every, builtin}, "", "every"},
		"another type is no candidate":                             {[]*rendererv1.ResourceDefinition{{Name: "redis", Type: "redis"}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := &rendererv1.MatchRequest{Type: request.Type, ResId: request.ResId, App: request.App, Env: request.Env, EnvType: request.EnvType, Class: tc.class}
			for _, order := range [][]*rendererv1.ResourceDefinition{tc.definitions, reversed(tc.definitions)} {
				got, err := match.Find(req, order)
				if err != nil || got.GetName() != tc.want {
					t.Errorf("got %q, want %q (%v)", got.GetName(), tc.want, err)
				}
			}
		})
	}
}

func reversed(in []*rendererv1.ResourceDefinition) []*rendererv1.ResourceDefinition {
	out := slices.Clone(in)
	slices.Reverse(out)
	return out
}

func TestTwoEqualDefinitionsAreRefused(t *testing.T) {
	a, b := def("a", &rendererv1.Criteria{Env: "dev"}), def("b", &rendererv1.Criteria{Env: "dev"})
	_, err := match.Find(request, []*rendererv1.ResourceDefinition{b, a, def("builtin/postgres")})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION {
		t.Fatal(err)
	}
	if text, both := match.Conflict(a, b); !both || text != "env=dev" {
		t.Errorf("Conflict: %q %v", text, both)
	}
	if text, both := match.Conflict(def("a"), def("b", &rendererv1.Criteria{})); !both || text != "every request" {
		t.Errorf("Conflict: %q %v", text, both)
	}
	if _, both := match.Conflict(def("a"), b); both {
		t.Error("different criteria are no conflict")
	}
	for _, c := range match.Explain(request, []*rendererv1.ResourceDefinition{a, b}) {
		if c.GetWon() {
			t.Errorf("%s won", c.GetDefinition())
		}
	}
}

func TestExplainTellsWhyEachCandidateWonOrLost(t *testing.T) {
	large := def("large")
	large.Class = "large"
	got := match.Explain(request, []*rendererv1.ResourceDefinition{
		def("builtin/postgres"), def("ours"), large, def("prod", &rendererv1.Criteria{Env: "prod"}, &rendererv1.Criteria{App: "bank"}),
		def("shop", &rendererv1.Criteria{App: "shop", EnvType: "development"}),
	})
	var lines []string
	for _, c := range got {
		lines = append(lines, c.GetDefinition()+" "+c.GetReason())
	}
	want := []string{
		"shop won: app=shop, env_type=development holds",
		"ours lost: it answers every request, but shop is more specific (3)",
		"builtin/postgres lost: it answers every request, but shop is more specific (3)",
		"large lost: it answers the class large and the request is for default",
		"prod lost: it is for env prod and the request has dev; it is for app bank and the request has shop",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// Whatever the definitions: explaining and finding agree, and taking a loser away changes nothing.
func TestLosersDoNotMatter(t *testing.T) {
	word := func(name string) *rapid.Generator[string] { return rapid.SampledFrom([]string{"", name, "x"}) }
	criteria := rapid.Custom(func(t *rapid.T) *rendererv1.Criteria {
		return &rendererv1.Criteria{App: word("shop").Draw(t, "app"), Env: word("dev").Draw(t, "env"), EnvType: word("development").Draw(t, "type"), ResId: word("api.db").Draw(t, "res")}
	})
	rapid.Check(t, func(t *rapid.T) {
		var all []*rendererv1.ResourceDefinition
		for i := range rapid.IntRange(1, 6).Draw(t, "definitions") {
			all = append(all, def(string(rune('a'+i)), rapid.SliceOfN(criteria, 0, 3).Draw(t, "criteria")...))
		}
		winner, err := match.Find(request, all)
		won := ""
		for _, c := range match.Explain(request, all) {
			if c.GetWon() {
				won = c.GetDefinition()
			}
		}
		if won != winner.GetName() || err != nil && won != "" {
			t.Fatalf("explained %q, found %q: %v", won, winner.GetName(), err)
		}
		if winner == nil {
			return
		}
		loser := rapid.IntRange(0, len(all)-1).Draw(t, "loser")
		if all[loser] == winner {
			return
		}
		again, err := match.Find(request, slices.Delete(slices.Clone(all), loser, loser+1))
		if err != nil || again != winner {
			t.Fatalf("without %s: %s, %v", all[loser].GetName(), again.GetName(), err)
		}
	})
}

func TestExplainSaysThatAnotherOneNamesTheClass(t *testing.T) {
	named, every := def("named"), def("every")
	named.Class, every.Class = "large", match.AnyClass
	got := match.Explain(&rendererv1.MatchRequest{Type: "postgres", Class: "large"}, []*rendererv1.ResourceDefinition{every, named})
	if len(got) != 2 || !got[0].GetWon() || got[1].GetReason() != "lost: it answers every request, but named names the class" {
		t.Errorf("candidates: %v", got)
	}
	if _, both := match.Conflict(named, every); both {
		t.Error("a class and every class are no conflict: one of them always comes first")
	}
}
