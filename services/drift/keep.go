package drift

import (
	"context"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var claims = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}

// onRemovalAnnotation says in a manifest what happens to the object when it is no longer declared or its environment goes:
// "delete" or "keep". Without it a volume claim is kept and everything else is deleted.
const onRemovalAnnotation = "towpath.dev/on-removal"

// keeps reports whether an object outlives its manifest and its environment, because it holds data.
func keeps(u *unstructured.Unstructured) bool {
	switch u.GetAnnotations()[onRemovalAnnotation] {
	case "delete":
		return false
	case "keep":
		return true
	}
	return holdsData(keyOf(u))
}

// awaitClaims waits for the claims that go with their StatefulSet, and gives what is kept: in a namespace that is ours every
// claim, in another one what the environment has made.
func (e *environment) awaitClaims(ctx context.Context, c *cluster, namespace string, ours bool, items []inventoryItem, w *holdup) ([]string, error) {
	kept, err := e.keptItems(ctx, c, items)
	if err != nil {
		return nil, err
	}
	for {
		list, err := c.dyn.Resource(claims).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, clusterError(err, "list the claims of namespace "+namespace)
		}
		stay, going := kept, []string(nil)
		for i := range list.Items {
			u := &list.Items[i]
			switch {
			case u.GetDeletionTimestamp() != nil, ownedBy(u, items):
				if ours || madeBy(u, items) {
					going = append(going, whyThere(u))
				}
			case ours, madeBy(u, items):
				stay = append(stay, told(u))
			}
		}
		if len(going) == 0 {
			slices.Sort(stay)
			return slices.Compact(stay), nil
		}
		if err := w.wait(ctx, going); err != nil {
			return nil, err
		}
	}
}

// keptItems gives the objects of the inventory that stay.
func (e *environment) keptItems(ctx context.Context, c *cluster, items []inventoryItem) ([]string, error) {
	var out []string
	for _, it := range items {
		live, err := e.readItem(ctx, c, it)
		if err != nil {
			return nil, err
		}
		if live != nil && keeps(live) && e.made(live) {
			out = append(out, told(live))
		}
	}
	return slices.Clip(out), nil
}

// ownedBy reports whether a claim goes when an object of the inventory goes: a StatefulSet can be told to take its claims along.
func ownedBy(u *unstructured.Unstructured, items []inventoryItem) bool {
	return slices.ContainsFunc(u.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return slices.ContainsFunc(items, func(it inventoryItem) bool { return it.Kind == r.Kind && it.Name == r.Name })
	})
}

var ordinal = regexp.MustCompile(`^[0-9]+$`)

// madeBy reports whether a claim is of the environment: declared by it, or made from a template of one of its StatefulSets,
// which are named {template}-{set}-{ordinal}.
func madeBy(u *unstructured.Unstructured, items []inventoryItem) bool {
	return slices.ContainsFunc(items, func(it inventoryItem) bool {
		if it.key() == keyOf(u) {
			return true
		}
		_, number, ok := strings.Cut(u.GetName(), "-"+it.Name+"-")
		return it.Kind == "StatefulSet" && ok && ordinal.MatchString(number)
	})
}

// told names an object for people.
func told(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + u.GetName() + " in namespace " + u.GetNamespace()
}
