package drift

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/findingpath"
	fields "github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// kubectlCopy is the annotation in which kubectl keeps a copy of the whole object, secrets and all.
const kubectlCopy = "kubectl.kubernetes.io/last-applied-configuration"

// shortestSecret is the shortest text that is looked for within other texts: shorter ones are in many by chance.
const shortestSecret = 4

// view is an object from both sides as it may be shown. Nothing of it shares memory with what drift keeps.
type view struct {
	comparer      *compare.Comparer
	desired, live map[string]any
	// hidden are the secret texts of both sides with what stands for them.
	hidden map[string]string
}

// newView masks both sides. A nil side stays nil.
func newView(c *compare.Comparer, desired, live *unstructured.Unstructured) *view {
	v := &view{comparer: c, hidden: map[string]string{}}
	if desired != nil {
		v.desired = v.masked(desired)
	}
	if live != nil {
		live = live.DeepCopy()
		live.SetManagedFields(nil)
		v.live = v.masked(live)
	}
	return v
}

// masked gives the object with digests in the place of what is secret: the values of a Secret, kubectl's copy, and whatever looks
// like a credential by its form or by the name of what holds it.
func (v *view) masked(u *unstructured.Unstructured) map[string]any {
	object, _ := fields.Plain(u.Object).(map[string]any)
	ref := &rendererv1.ObjectRef{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Name: u.GetName()}
	hidden, _ := fields.Mask(ref, nil, nil, object).(map[string]any)
	out, _ := v.digested(object, hidden).(map[string]any)
	return out
}

// digested walks an object beside its masked copy and puts digests where the copy is masked.
func (v *view) digested(plain, hidden any) any {
	switch h := hidden.(type) {
	case map[string]any:
		p, _ := plain.(map[string]any)
		out := make(map[string]any, len(h))
		for k := range h {
			out[k] = v.digested(p[k], h[k])
		}
		return out
	case []any:
		p, _ := plain.([]any)
		out := make([]any, len(h))
		for i := range h {
			out[i] = v.digested(p[i], h[i])
		}
		return out
	case string:
		if text, ok := plain.(string); h == fields.Masked && (!ok || text != fields.Masked) {
			if !ok {
				text = fmt.Sprint(plain)
			}
			return v.hide(text)
		}
	}
	return hidden
}

// hide gives what stands for a secret text and remembers it, as it is and decoded.
func (v *view) hide(text string) string {
	mask := v.comparer.Mask(text)
	if len(text) >= shortestSecret {
		v.hidden[text] = mask
	}
	if raw := fromBase64(text); len(raw) >= shortestSecret {
		v.hidden[raw] = mask
	}
	return mask
}

// yaml writes a side with sorted keys; empty for one that is not there.
func (v *view) yaml(object map[string]any) (string, error) {
	if object == nil {
		return "", nil
	}
	b, err := yaml.Marshal(object)
	if err != nil {
		return "", errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "the object cannot be written as YAML").Because(err)
	}
	return string(b), nil
}

// clean takes secret texts out of findings: a value that is secret by its name in the object is one in a finding too.
func (v *view) clean(all []*driftv1.Finding) {
	for _, f := range all {
		f.Desired, f.Live = v.cleaned(f.GetDesired()), v.cleaned(f.GetLive())
	}
}

func (v *view) cleaned(x *structpb.Value) *structpb.Value {
	if x == nil || len(v.hidden) == 0 {
		return x
	}
	return value(v.scrubbed(x.AsInterface()))
}

func (v *view) scrubbed(x any) any {
	switch x := x.(type) {
	case map[string]any:
		for k := range x {
			x[k] = v.scrubbed(x[k])
		}
	case []any:
		for i := range x {
			x[i] = v.scrubbed(x[i])
		}
	case string:
		return v.scrub(x)
	}
	return x
}

// scrub replaces secret texts within a text, the longest first, so that no rest of one stays.
func (v *view) scrub(text string) string {
	for _, secret := range slices.SortedFunc(maps.Keys(v.hidden), func(a, b string) int { return len(b) - len(a) }) {
		text = strings.ReplaceAll(text, secret, v.hidden[secret])
	}
	return text
}

// comparable gives the declared side with the differences in it: what the cluster added by itself is left out, and what is spelled
// otherwise but means the same is spelled as declared. So what differs from the declared side is drift, or delegated.
func (v *view) comparable(r compare.Result) map[string]any {
	out := fields.Plain(v.desired)
	for _, f := range slices.Concat(r.Findings, r.Delegated, r.Residue) {
		steps, ok := findingpath.Parse(f.Path)
		switch {
		case !ok || len(steps) == 0:
		case f.Kind == compare.Removed:
			out, _ = findingpath.Remove(out, steps)
		default:
			out, _ = findingpath.Set(out, steps, fields.Plain(v.at(f)))
		}
	}
	object, _ := out.(map[string]any)
	return object
}

// at gives the masked value at a finding's place in the live object.
func (v *view) at(f compare.Finding) any {
	var at any = v.live
	for token := range strings.SplitSeq(strings.TrimPrefix(f.Pointer, "/"), "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch parent := at.(type) {
		case map[string]any:
			at = parent[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(parent) {
				return v.scrubbed(fields.Plain(f.After))
			}
			at = parent[i]
		}
	}
	return at
}
