package guardrail_test

import (
	"testing"

	"github.com/towpath-dev/towpath/services/renderer/guardrail"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// One Deployment asked by the whole starter set, with none of it refusing.
func BenchmarkStarter(b *testing.B) {
	set, err := guardrail.Starter()
	if err != nil {
		b.Fatal(err)
	}
	bundle := &rendererv1.Bundle{Files: map[string][]byte{"d.yaml": []byte(pod("", ""))},
		Objects: []*rendererv1.ObjectRef{{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api", File: "d.yaml"}}}
	for b.Loop() {
		if v, err := guardrail.Evaluate(b.Context(), request(set...), bundle); err != nil || len(v) > 0 {
			b.Fatal(v, err)
		}
	}
}
