package renderer_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Every example of the page about guardrails is what it says, and its table has the whole starter set.
func TestTheExamplesOfTheGuardrailsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/guardrails.md")
	if err != nil {
		t.Fatal(err)
	}
	x := &example{t: t, svc: newService(t)}
	counts := map[string]int{}
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		words := append(strings.Fields(m[2]), "")
		counts[words[0]]++
		switch words[0] {
		case "guardrails":
			resp, err := x.svc.LoadGuardrails(t.Context(), &rendererv1.LoadGuardrailsRequest{Files: map[string][]byte{"guardrails.yaml": []byte(m[3])}})
			x.check(err)
			x.guardrails = resp.GetGuardrails()
		case "verdicts":
			got := ""
			for _, v := range x.resp.GetVerdicts() {
				word := strings.ToLower(strings.TrimPrefix(v.GetEnforcement().String(), "ENFORCEMENT_"))
				got += fmt.Sprintf("%s %s %s %s: %s\n", word, v.GetGuardrail(), v.GetObject().GetFile(), v.GetPath(), v.GetMessage())
			}
			x.same(m[3], got)
		case "definition":
			x.guardrails, x.done = nil, true
			x.define(words[1], m[3])
		default:
			x.take(words[0], words[1:], m[3])
		}
	}
	for kind, least := range map[string]int{"guardrails": 2, "verdicts": 2, "score": 4, "error": 2} {
		if counts[kind] < least {
			t.Errorf("the page has %d examples of %s, want %d", counts[kind], kind, least)
		}
	}
	set, err := x.svc.ListStarterGuardrails(t.Context(), &rendererv1.ListStarterGuardrailsRequest{})
	x.check(err)
	for _, g := range set.GetGuardrails() {
		row := fmt.Sprintf("| `%s` | %s |", g.GetName(), strings.ToLower(strings.TrimPrefix(g.GetEnforcement().String(), "ENFORCEMENT_")))
		if !strings.Contains(string(page), row) {
			t.Errorf("the page does not tell of %s", row)
		}
	}
}
