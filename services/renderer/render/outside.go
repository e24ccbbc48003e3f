package render

import (
	"errors"
	"fmt"
	"slices"

	"github.com/towpath-dev/towpath/services/renderer/schema"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// outside is what an environment may make outside of its own namespace, as its type's sync policy says.
type outside struct {
	kinds, namespaces []string
	own               string
}

func newOutside(input *rendererv1.RenderInput) outside {
	return outside{kinds: input.GetClusterKinds(), namespaces: input.GetNamespaces(), own: input.GetNamespace()}
}

// hasKind reports whether a kind that belongs to the whole cluster is named. A kind that is not Kubernetes' own belongs to the cluster
// when it is.
func (x outside) hasKind(apiVersion, kind string) bool {
	switch schema.ScopeOf(apiVersion, kind) {
	case schema.Cluster, schema.Unknown:
		return slices.Contains(x.kinds, qualified(apiVersion, kind))
	}
	return false
}

// namespaceOf gives the namespace that an object of a definition belongs into, empty for the whole cluster.
func (x outside) namespaceOf(o, meta map[string]any, own string) (string, error) {
	version, _ := o["apiVersion"].(string)
	kind, _ := o["kind"].(string)
	if x.hasKind(version, kind) {
		return "", nil
	}
	given, ok := meta["namespace"]
	ns, isText := given.(string)
	switch {
	case !ok || ns == own:
		if kind == "Namespace" {
			return "", errors.New("sync_policy.cluster_kinds of the environment type does not have Namespace")
		}
		return own, nil
	case isText && slices.Contains(x.namespaces, ns):
		return ns, nil
	}
	return "", fmt.Errorf("sync_policy.namespaces of the environment type does not have %v", given)
}

// suffix tells files of objects apart that have the same kind and name in different namespaces.
func (x outside) suffix(meta map[string]any) string {
	ns, _ := meta["namespace"].(string)
	if ns == "" || ns == x.own {
		return ""
	}
	return "@" + ns // no name of an object has it
}
