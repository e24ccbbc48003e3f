package document_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/document"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestDefaultsFiles(t *testing.T) {
	const text = `
replicas: 2
requests: {cpu: 100m, memory: 128Mi}
disruption_budget: {}
network: {isolate: true, ingressNamespaces: [ingress]}
service_account: {annotations: {a/b: c}}
image_pull_secrets: [registry]
`
	want := &rendererv1.EnvironmentDefaults{
		Replicas: 2, Requests: &rendererv1.ComputeAmounts{Cpu: "100m", Memory: "128Mi"}, DisruptionBudget: &rendererv1.DisruptionBudget{},
		Network:        &rendererv1.NetworkRules{Isolate: true, IngressNamespaces: []string{"ingress"}},
		ServiceAccount: &rendererv1.ServiceAccountRules{Annotations: map[string]string{"a/b": "c"}}, ImagePullSecrets: []string{"registry"},
	}
	got, err := document.Defaults([]byte(text))
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
		t.Fatalf("(-want +got) %v\n%s", err, diff)
	}
	written, err := document.DefaultsText(got)
	if err != nil {
		t.Fatal(err)
	}
	again, err := document.Defaults([]byte(written))
	if diff := cmp.Diff(want, again, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("what is written is read otherwise (-want +got) %v\n%s", err, diff)
	}
	none, err := document.Defaults(nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := document.DefaultsText(none); text != "" || err != nil {
		t.Errorf("no defaults are written as %q %v", text, err)
	}
	for text, says := range map[string]string{
		"replica: 2":            "replica: is not known; there are replicas, restricted",
		"- a":                   "file: is not a map of defaults",
		"a: {":                  "file: is not YAML",
		"requests: {gpu: '1'}":  "requests: is not what belongs here",
		"requests: 1":           "requests: is not what belongs here",
		"replicas: many":        "replicas: is not what belongs here",
		"network: {isolate: 1}": "network: is not what belongs here",
	} {
		if _, err := document.Defaults([]byte(text)); err == nil || !strings.Contains(errs.Message(err), says) {
			t.Errorf("%s: error = %v, want …%s…", text, err, says)
		}
	}
}
