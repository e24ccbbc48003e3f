package render_test

import (
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/services/renderer/render"
)

// What an environment type's sync policy names is rendered outside of the environment's namespace, and nothing else.
func TestWhatThePolicyNamesLeavesTheNamespace(t *testing.T) {
	t.Parallel()
	in := template(t, `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reader}, rules: []}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: far, namespace: monitoring}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: far}}
- {apiVersion: example.com/v1, kind: Zone, metadata: {name: eu}}`)
	in.ClusterKinds, in.Namespaces = []string{"ClusterRole.rbac.authorization.k8s.io", "Zone.example.com"}, []string{"monitoring"}
	resp, err := render.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	for file, namespace := range map[string]string{
		"clusterrole-reader.yaml": "", "zone-eu.yaml": "", "configmap-far@monitoring.yaml": "namespace: monitoring", "configmap-far.yaml": "namespace: shop-dev",
	} {
		text := string(resp.GetBundle().GetFiles()[file])
		if text == "" || namespace == "" && strings.Contains(text, "namespace:") || !strings.Contains(text, namespace) {
			t.Errorf("%s is:\n%s\nwant %q", file, text, namespace)
		}
	}
	in.ClusterKinds = []string{"Zone.example.com"}
	if _, err := render.Render(in); err == nil || !strings.Contains(err.Error(), "tow type update --cluster-kind ClusterRole.rbac.authorization.k8s.io") {
		t.Errorf("a kind that is not named: %v", err)
	}
	in.ClusterKinds, in.Namespaces = []string{"ClusterRole.rbac.authorization.k8s.io"}, []string{"elsewhere"}
	if _, err := render.Render(in); err == nil || !strings.Contains(err.Error(), "sync_policy.namespaces of the environment type does not have monitoring") {
		t.Errorf("a namespace that is not named: %v", err)
	}
}
