package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// workloadLabel says which workload an object is of.
const workloadLabel = "towpath.dev/workload"

// partialState is what some objects were applied from alone, while the rest stayed as it was. The inventory's items name them by the
// tree.
type partialState struct {
	// State is the desired state, without what the environment's own has.
	State json.RawMessage `json:"state"`
	// Tree is its tree.
	Tree string `json:"tree"`
	// Pending says that they may not all have been applied.
	Pending bool `json:"pending,omitempty"`

	keys map[objectKey]bool
}

func readPartial(text string) *partialState {
	p := &partialState{}
	if text == "" || json.Unmarshal([]byte(text), p) != nil || p.Tree == "" {
		return nil
	}
	return p
}

// partialText is what the inventory keeps of it.
func (e *environment) partialText() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ran.partial == nil {
		return ""
	}
	b, err := json.Marshal(e.ran.partial)
	if err != nil {
		return "" // it was made by us
	}
	return string(b)
}

// partialTree is the tree that an object was applied from alone, empty for the inventory's.
func (e *environment) partialTree(k objectKey) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ran.partial == nil || !e.ran.partial.keys[k] {
		return ""
	}
	return e.ran.partial.Tree
}

// chosen gives the declared objects that a request names.
func (e *environment) chosen(objs map[objectKey]*tracked, refs []*driftv1.ObjectRef, workloads []string, namespace string) (map[objectKey]*tracked, error) {
	out := map[objectKey]*tracked{}
	for i, ref := range refs {
		n := len(out)
		for k, t := range objs {
			if fits(t, ref, namespace) {
				out[k] = t
			}
		}
		if len(out) == n {
			return nil, errs.InvalidField(fmt.Sprintf("objects[%d]", i), "%s %s is not declared by the environment; see tow status -e for its objects", ref.GetKind(), ref.GetName())
		}
	}
	for i, w := range workloads {
		n := len(out)
		for k, t := range objs {
			if t.declared().GetLabels()[workloadLabel] == w {
				out[k] = t
			}
		}
		if len(out) == n {
			return nil, errs.InvalidField(fmt.Sprintf("workloads[%d]", i), "%q is no workload of the environment; there are %s", w, strings.Join(workloadsOf(objs), ", "))
		}
	}
	return out, nil
}

func fits(t *tracked, ref *driftv1.ObjectRef, namespace string) bool {
	k := t.key
	return k.kind == ref.GetKind() && k.name == ref.GetName() &&
		(ref.GetNamespace() == k.namespace || ref.GetNamespace() == "" && (k.namespace == namespace || k.namespace == "")) &&
		(ref.GetApiVersion() == "" || ref.GetApiVersion() == t.declared().GetAPIVersion())
}

func workloadsOf(objs map[objectKey]*tracked) []string {
	names := map[string]bool{}
	for _, t := range objs {
		if w := t.declared().GetLabels()[workloadLabel]; w != "" {
			names[w] = true
		}
	}
	if len(names) == 0 {
		return []string{"none"}
	}
	return slices.Sorted(maps.Keys(names))
}

// syncPart applies some objects of a desired state and leaves the rest as it is. Nothing is removed and no hook is run.
func (e *environment) syncPart(ctx context.Context, want *eventsv1.DesiredState, refs []*driftv1.ObjectRef, workloads []string) ([]*driftv1.SyncChange, error) {
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return nil, err
	}
	inv, err := e.readInventory(ctx, c, want.GetNamespace())
	if err != nil {
		return nil, err
	}
	if err := e.windowAllows(true); err != nil {
		return nil, err
	}
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return nil, err
	}
	takeHooks(objs)
	part, err := e.chosen(objs, refs, workloads, want.GetNamespace())
	if err != nil {
		return nil, err
	}
	if err := e.own(ctx, c, want.GetNamespace(), part); err != nil {
		return nil, err
	}
	r := e.newRun(c, want, maps.Clone(part), inv, false)
	e.begin(busySync)
	defer e.end()
	defer e.doing("")
	if err := e.ensureNamespace(ctx, c, want.GetNamespace()); err != nil {
		return nil, err
	}
	if err := e.rememberPart(ctx, c, want, part, inv, true); err != nil {
		return nil, err
	}
	err = r.waves(ctx)
	e.mixIn(c, part)
	if err != nil {
		return r.changes, err
	}
	return r.changes, e.rememberPart(ctx, c, want, part, inv, false)
}

// mixIn lets objects that were applied count as they are now, beside the rest as it was.
func (e *environment) mixIn(c *cluster, part map[objectKey]*tracked) {
	e.mu.Lock()
	mixed := maps.Clone(e.objects)
	e.mu.Unlock()
	for k, t := range part {
		if t.applied != nil {
			mixed[k] = t
		}
	}
	e.replace(c, mixed)
}

// rememberPart notes in the inventory which objects stand at another tree than the rest.
func (e *environment) rememberPart(ctx context.Context, c *cluster, want *eventsv1.DesiredState, part map[objectKey]*tracked, inv *inventory, pending bool) error {
	as := inv.older(want)
	p := &partialState{Tree: want.GetTree(), Pending: pending, keys: map[objectKey]bool{}}
	state, err := protojson.Marshal(&eventsv1.DesiredState{
		Tree: want.GetTree(), Commit: want.GetCommit(), Generation: want.GetGeneration(), Deployment: want.GetDeployment(),
		Repository: bare(want.GetRepository()), Path: want.GetPath(), MainTree: want.GetMainTree(), Parts: want.GetParts(),
	})
	if err != nil {
		return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "the partial sync cannot be remembered").Because(err)
	}
	p.State = state
	items := slices.Clone(inv.items)
	known := map[objectKey]int{}
	for i, it := range items {
		known[it.key()] = i
		if it.Tree == p.Tree && part[it.key()] == nil {
			p.keys[it.key()] = true
		}
	}
	for k, t := range part {
		it := itemOf(t)
		if !pending {
			it.Baseline = t.base
		}
		if inv.tree != p.Tree {
			it.Tree = p.Tree
			p.keys[k] = true
		}
		if i, ok := known[k]; ok {
			items[i] = it
		} else {
			items = append(items, it)
		}
	}
	if len(p.keys) == 0 {
		p = nil // the whole environment is at that tree
	}
	e.mu.Lock()
	e.ran.partial = p
	e.mu.Unlock()
	return e.putInventory(ctx, c, as, inv.tree, items)
}

// overlayPartial puts what was applied alone over the rest, and applies what a process that ended in the middle may have left out.
func (e *environment) overlayPartial(ctx context.Context, c *cluster, want *eventsv1.DesiredState, inv *inventory, objs map[objectKey]*tracked) error {
	p := inv.partial
	if p == nil || p.Tree == want.GetTree() {
		return nil
	}
	state := &eventsv1.DesiredState{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(p.State, state); err != nil {
		return nil //nolint:nilerr // somebody edited the inventory; the rest is told as it was applied
	}
	state.Environment, state.Target, state.Namespace, state.EnvironmentType = want.GetEnvironment(), want.GetTarget(), want.GetNamespace(), want.GetEnvironmentType()
	others, err := e.load(ctx, c, state)
	if err != nil {
		return err
	}
	p.keys = map[objectKey]bool{}
	for _, it := range inv.items {
		if t := others[it.key()]; it.Tree == p.Tree && t != nil {
			objs[it.key()], p.keys[it.key()] = t, true
			if !p.Pending {
				continue
			}
			if _, err := e.applyOne(ctx, c, t); err != nil {
				return err
			}
			inv.baselines[it.key()] = t.base
		}
	}
	p.Pending = false
	e.mu.Lock()
	e.ran.partial = p
	e.mu.Unlock()
	return nil
}
