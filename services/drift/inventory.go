package drift

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// inventoryName is the ConfigMap in each environment's namespace that remembers what was applied there: which objects, from
// which tree, and what the API server made of them. With it drift needs no storage of its own.
const inventoryName = "towpath-inventory"

// inventoryManager owns the inventory's fields: with FieldManager it would look like a manifest of the environment.
const inventoryManager = "towpath-inventory"

// maxInventory is what fits into a ConfigMap with room to spare. Baselines are left out when they do not fit: objects are then compared
// with the table of defaults.
const maxInventory = 900 << 10

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// environmentLabel marks namespaces that Towpath made, with the environment that they are for.
const environmentLabel = "towpath.dev/environment-namespace"

// inventoryItem names one applied object.
type inventoryItem struct {
	Group     string `json:"g,omitempty"`
	Version   string `json:"v"`
	Kind      string `json:"k"`
	Namespace string `json:"ns"`
	Name      string `json:"n"`
	Baseline  []byte `json:"b,omitempty"`
}

func (i inventoryItem) key() objectKey {
	return objectKey{group: i.Group, kind: i.Kind, namespace: i.Namespace, name: i.Name}
}

// inventory is what the cluster remembers of an environment.
type inventory struct {
	environment string
	deployment  string
	generation  int64
	commit      string
	tree        string // empty while a sync is under way
	source      string // where that stood in Git
	items       []inventoryItem
	baselines   map[objectKey][]byte // compressed
}

// at reports whether the cluster was brought to exactly that tree, and completely.
func (i *inventory) at(d *eventsv1.DesiredState) bool {
	return i.environment == d.GetEnvironment() && i.tree != "" && i.tree == d.GetTree()
}

// without gives the items that are not among objs.
func (i *inventory) without(objs map[objectKey]*tracked) []inventoryItem {
	return slices.DeleteFunc(slices.Clone(i.items), func(it inventoryItem) bool { return objs[it.key()] != nil })
}

// readInventory reads what the cluster remembers; an empty inventory where there is none.
func (e *environment) readInventory(ctx context.Context, c *cluster, namespace string) (*inventory, error) {
	inv := &inventory{baselines: map[objectKey][]byte{}}
	u, err := c.dyn.Resource(configMaps).Namespace(namespace).Get(ctx, inventoryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return inv, nil
	}
	if err != nil {
		return nil, clusterError(err, "read the inventory")
	}
	data, _, _ := unstructured.NestedStringMap(u.Object, "data")
	inv.environment, inv.tree, inv.commit, inv.deployment = data["environment"], data["tree"], data["commit"], data["deployment"]
	inv.source = data["source"]
	inv.generation, _ = strconv.ParseInt(data["generation"], 10, 64)
	if inv.environment != "" && inv.environment != e.name {
		return nil, namespaceTaken(namespace, inv.environment, e.name)
	}
	if err := json.Unmarshal([]byte(data["objects"]), &inv.items); err != nil {
		// Somebody edited it. Nothing is pruned on its word; the next sync writes it anew.
		e.log.Warn("the inventory cannot be read and is made anew", "error", err)
		return &inventory{baselines: inv.baselines}, nil
	}
	for _, it := range inv.items {
		inv.baselines[it.key()] = it.Baseline
	}
	return inv, nil
}

// writeIntent remembers, before anything is applied, everything that may be there afterwards: so that a crash in the middle
// leaves nothing that a later prune does not know.
func (e *environment) writeIntent(ctx context.Context, c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked, inv *inventory) error {
	items := inv.without(objs)
	for _, t := range objs {
		items = append(items, itemOf(t))
	}
	return e.putInventory(ctx, c, want, "", items)
}

// writeInventory remembers what is there now. Claims that were kept are remembered no longer: they are nobody's business but
// their owner's.
func (e *environment) writeInventory(ctx context.Context, c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked) error {
	items := make([]inventoryItem, 0, len(objs))
	size := 0
	for _, t := range objs {
		it := itemOf(t)
		it.Baseline = t.base
		size += len(t.base) * 4 / 3
		items = append(items, it)
	}
	if size > maxInventory/2 {
		for i := range items {
			items[i].Baseline = nil
		}
		e.log.Warn("the baselines do not fit into the inventory and are left out", "bytes", size)
	}
	return e.putInventory(ctx, c, want, want.GetTree(), items)
}

func itemOf(t *tracked) inventoryItem {
	return inventoryItem{Group: t.key.group, Version: t.gvr.Version, Kind: t.key.kind, Namespace: t.key.namespace, Name: t.key.name}
}

func (e *environment) putInventory(ctx context.Context, c *cluster, want *eventsv1.DesiredState, tree string, items []inventoryItem) error {
	slices.SortFunc(items, func(a, b inventoryItem) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	b, err := json.Marshal(items)
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": inventoryName, "namespace": want.GetNamespace()},
		"data": map[string]any{
			"environment": e.name, "deployment": want.GetDeployment(), "generation": strconv.FormatInt(want.GetGeneration(), 10),
			"commit": want.GetCommit(), "tree": tree, "objects": string(b), "source": sourceOf(want),
		},
	}}
	_, err = c.dyn.Resource(configMaps).Namespace(want.GetNamespace()).
		Apply(ctx, inventoryName, u, metav1.ApplyOptions{FieldManager: inventoryManager, Force: true})
	if err != nil {
		return clusterError(err, "write the inventory")
	}
	return nil
}

// ensureNamespace makes the environment's namespace where there is none, marked as ours. One that was there is used as it is,
// unless Towpath made it for another environment.
func (e *environment) ensureNamespace(ctx context.Context, c *cluster, name string) error {
	ns, err := c.dyn.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		if owner := ns.GetLabels()[environmentLabel]; owner != "" && owner != labelValue(e.name) {
			return namespaceTaken(name, "environment "+owner, e.name)
		}
		if ns.GetDeletionTimestamp() != nil {
			return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED,
				"namespace %s is being removed; the deployment goes on when it is gone", name)
		}
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return clusterError(err, "read namespace "+name)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "labels": map[string]any{
			"app.kubernetes.io/managed-by": FieldManager, environmentLabel: labelValue(e.name),
		}},
	}}
	_, err = c.dyn.Resource(namespaces).Create(ctx, u, metav1.CreateOptions{FieldManager: inventoryManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return clusterError(err, "make namespace "+name)
	}
	return nil
}

// maxLabel is the longest value of a Kubernetes label.
const maxLabel = 63

// labelValue writes a resource name so that it can be a label: applications/shop/environments/dev becomes shop.dev. Names
// that are too long for a label end in a digest.
func labelValue(name string) string {
	parts := strings.Split(name, "/")
	v := parts[1] + "." + parts[3]
	if len(v) > maxLabel {
		sum := sha256.Sum256([]byte(v))
		v = v[:maxLabel-17] + "-" + hex.EncodeToString(sum[:8])
	}
	return v
}
