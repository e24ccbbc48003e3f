package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// onlyChosen gives the declared object without the places that differ and are not to be put back. An apply of it leaves those as they
// are: somebody else owns them, or nobody does where they were removed.
func onlyChosen(declared *unstructured.Unstructured, found []compare.Finding, fields map[string]bool) (*unstructured.Unstructured, error) {
	out := declared.DeepCopy()
	for _, f := range compare.NeedsApply(found) {
		if fields[f.Path] || f.Path == "" {
			continue
		}
		if !without(out, f.Path) {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
				"%s %s: %s cannot be left as it is while another field is put back; revert all findings of the object",
				declared.GetKind(), declared.GetName(), f.Path)
		}
	}
	return out, nil
}

// without takes a place, as findings name it, out of an object; false when the object does not have it.
func without(u *unstructured.Unstructured, path string) bool {
	steps := pathSteps(path)
	if len(steps) > 1 && u.GetKind() == "Secret" && steps[0] == "data" {
		if m, ok := u.Object["stringData"].(map[string]any); ok {
			if _, ok := m[plainStep(steps[1])]; ok {
				delete(m, plainStep(steps[1]))
				return true
			}
		}
	}
	next, ok := removeAt(u.Object, steps)
	if m, isMap := next.(map[string]any); ok && isMap {
		u.Object = m
	}
	return ok
}

// removeAt gives v without what the steps lead to.
func removeAt(v any, steps []string) (any, bool) {
	if len(steps) == 0 {
		return nil, false
	}
	step := steps[0]
	switch v := v.(type) {
	case map[string]any:
		key := plainStep(step)
		child, ok := v[key]
		if !ok {
			return v, false
		}
		if len(steps) == 1 {
			delete(v, key)
			return v, true
		}
		v[key], ok = removeAt(child, steps[1:])
		return v, ok
	case []any:
		i := slices.IndexFunc(v, func(item any) bool { return isItem(step, item) })
		if i < 0 {
			return v, false
		}
		if len(steps) == 1 {
			return slices.Delete(v, i, i+1), true
		}
		var ok bool
		v[i], ok = removeAt(v[i], steps[1:])
		return v, ok
	}
	return v, false
}

// isItem reports whether a list's item is meant by a step such as [name=web], [containerPort=80,protocol=UDP] or [=value].
func isItem(step string, item any) bool {
	step = strings.TrimSuffix(strings.TrimPrefix(step, "["), "]")
	if v, ok := strings.CutPrefix(step, "="); ok {
		return sameText(v, item)
	}
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	for _, pair := range strings.Split(step, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || !sameText(v, m[k]) {
			return false
		}
	}
	return true
}

func sameText(written string, v any) bool {
	if s, ok := v.(string); ok {
		return plainStep(written) == s
	}
	b, err := json.Marshal(v)
	return err == nil && string(b) == written
}

// plainStep gives a name without the brackets and quotes that a path may write it with.
func plainStep(step string) string {
	step = strings.TrimSuffix(strings.TrimPrefix(step, "["), "]")
	var s string
	if strings.HasPrefix(step, `"`) && json.Unmarshal([]byte(step), &s) == nil {
		return s
	}
	return step
}

// pathSteps takes a finding's path apart; what was in brackets keeps them.
func pathSteps(path string) []string {
	var out []string
	start, quoted, inside := 0, false, false
	cut := func(end int) {
		if end > start {
			out = append(out, path[start:end])
		}
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\':
			i++
		case inside && c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' && !inside:
			cut(i)
			start, inside = i, true
		case c == ']' && inside:
			cut(i + 1)
			start, inside = i+1, false
		case c == '.' && !inside:
			cut(i)
			start = i + 1
		}
	}
	cut(len(path))
	return out
}

// eachLive reads all objects, one list per kind, and compares each that is there.
func (e *environment) eachLive(ctx context.Context, look func(*tracked, compare.Result)) error {
	type place struct {
		gvr       schema.GroupVersionResource
		namespace string
	}
	e.mu.Lock()
	c, down := e.cluster, e.down
	byKind := map[place]map[string]*tracked{}
	for k, t := range e.objects {
		p := place{t.gvr, k.namespace}
		if byKind[p] == nil {
			byKind[p] = map[string]*tracked{}
		}
		byKind[p][k.name] = t
	}
	e.mu.Unlock()
	if down != nil || c == nil && len(byKind) > 0 {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "the cluster of %s cannot be reached", e.name)
	}
	for p, objs := range byKind {
		list, err := c.dyn.Resource(p.gvr).Namespace(p.namespace).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return clusterError(err, fmt.Sprintf("list %s", p.gvr.Resource))
		}
		e.mu.Lock()
		for i := range list.Items {
			if t := objs[list.Items[i].GetName()]; t != nil {
				look(t, e.compare(t, &list.Items[i]))
			}
		}
		e.mu.Unlock()
	}
	return nil
}
