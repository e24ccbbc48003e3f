package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// stateOf draws a small state, so that two of them often meet in the same places.
func stateOf(t *rapid.T, name string) rules.State {
	doc := rules.Document{}
	workloads := map[string]any{}
	for _, w := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"api", "web"}), rapid.ID).Draw(t, name+" workloads") {
		workloads[w] = map[string]any{
			"image": rapid.SampledFrom([]string{"1", "2"}).Draw(t, name+" image"), "more": map[string]any{
				"level": rapid.SampledFrom([]string{"info", "debug"}).Draw(t, name+" level"),
			},
		}
	}
	doc["workloads"] = workloads
	set, err := doc.Set()
	if err != nil {
		t.Fatal(err)
	}
	intent := &catalogv1.Intent{Set: set.GetName(), Variables: map[string]string{}}
	for _, k := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"A", "B"}), rapid.ID).Draw(t, name+" variables") {
		intent.Variables[k] = rapid.SampledFrom([]string{"1", "2"}).Draw(t, name+" value")
	}
	for _, p := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"/workloads/api/x", "/workloads/web/y"}), rapid.ID).Draw(t, name+" overlay") {
		intent.Overlay = append(intent.Overlay, &rendererv1.Operation{
			Action: rendererv1.Operation_ACTION_SET, Path: p, Value: structpb.NewStringValue(rapid.SampledFrom([]string{"1", "2"}).Draw(t, name+" op")),
		})
	}
	return rules.State{Intent: intent, Set: set}
}

func sameState(a, b rules.State) string {
	sorted := protocmp.SortRepeated(func(a, b *rendererv1.Operation) bool { return a.GetPath() < b.GetPath() })
	return cmp.Diff(a.Intent, b.Intent, protocmp.Transform(), sorted)
}

func TestRebaseKeepsAChangeAndLosesNobodyElses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, mine, now := stateOf(t, "base"), stateOf(t, "mine"), stateOf(t, "now")
		rebase := func(base, mine, now rules.State) rules.State {
			out, err := rules.RebaseState(base, mine, now)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		if diff := sameState(mine, rebase(base, mine, base)); diff != "" {
			t.Fatalf("on an environment that has not changed it leads elsewhere:\n%s", diff)
		}
		if diff := sameState(now, rebase(base, base, now)); diff != "" {
			t.Fatalf("a change of nothing changes something:\n%s", diff)
		}
		got := rebase(base, mine, now)
		if diff := sameState(got, rebase(base, mine, got)); diff != "" {
			t.Fatalf("done twice it is something else:\n%s", diff)
		}
		for k, v := range got.Intent.GetVariables() {
			b, hadBase := base.Intent.GetVariables()[k]
			m, hasMine := mine.Intent.GetVariables()[k]
			if touched := hadBase != hasMine || b != m; touched && v != m || !touched && v != now.Intent.GetVariables()[k] {
				t.Fatalf("variable %s is %q: base %q, mine %q, now %q", k, v, b, m, now.Intent.GetVariables()[k])
			}
		}
	})
}
