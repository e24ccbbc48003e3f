package compare

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/towpath-dev/towpath/internal/errs"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Prepared is a declared object with its baseline, ready to be compared many times. It is immutable and safe for concurrent
// use. It holds no plain values of a Secret.
type Prepared struct {
	kind     *kind
	desired  map[string]any
	baseline Baseline
	hashOnce sync.Once
	hash     string
}

// Hash identifies the declaration (not the baseline): equal for equal objects, stable across processes and restarts.
func (p *Prepared) Hash() string {
	p.hashOnce.Do(func() {
		sum := sha256.Sum256([]byte(marshal(p.desired)))
		p.hash = hex.EncodeToString(sum[:])
	})
	return p.hash
}

// Prepare makes the declared side ready. The object must not be modified afterwards: parts of it are kept. It fails with
// errs.Invalid when the object has no kind or Secret data that is no text.
func (c *Comparer) Prepare(desired *unstructured.Unstructured, baseline Baseline) (*Prepared, error) {
	if desired == nil || desired.Object == nil {
		return nil, errs.InvalidField("desired", "is empty: pass the declared object")
	}
	gvk := desired.GroupVersionKind()
	if gvk.Kind == "" || gvk.Version == "" {
		return nil, errs.InvalidField("desired", "has no apiVersion or kind: both are needed to compare")
	}
	p := &Prepared{kind: c.kindOf(gvk), baseline: baseline, desired: make(map[string]any, len(desired.Object))}
	for k, v := range desired.Object {
		if k != "status" && k != "metadata" && v != nil {
			p.desired[k] = v
		}
	}
	metadata, _ := desired.Object["metadata"].(map[string]any)
	p.desired["metadata"] = declaredMetadata(metadata)
	if isSecret(gvk) {
		if err := c.foldSecret(p.desired); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// declaredMetadata keeps what is compared in metadata, and the name.
func declaredMetadata(m map[string]any) map[string]any {
	out := map[string]any{}
	for _, k := range []string{"name", "namespace", "labels", "annotations", "finalizers", "ownerReferences"} {
		if v, ok := m[k]; ok && v != nil {
			out[k] = v
		}
	}
	if a, ok := out["annotations"].(map[string]any); ok && a[lastApplied] != nil {
		copied := make(map[string]any, len(a))
		for k, v := range a {
			if k != lastApplied {
				copied[k] = v
			}
		}
		out["annotations"] = copied
	}
	return out
}

// foldSecret moves stringData into data, as the server does, and puts digests in the place of all values.
func (c *Comparer) foldSecret(o map[string]any) error {
	data := map[string]any{}
	for _, name := range []string{"data", "stringData"} {
		values, ok := o[name].(map[string]any)
		if !ok && o[name] != nil {
			return errs.InvalidField(name, "of a Secret must map keys to text")
		}
		for k, v := range values {
			text, ok := v.(string)
			if !ok && v != nil {
				return errs.InvalidField(name+"["+quoted(k)+"]", "of a Secret must be text; quote it")
			}
			if name == "stringData" {
				text = base64.StdEncoding.EncodeToString([]byte(text))
			}
			data[k] = c.digest(text)
		}
	}
	delete(o, "stringData")
	delete(o, "data")
	if len(data) > 0 {
		o["data"] = data
	}
	return nil
}

func (c *Comparer) walker(p *Prepared, live *unstructured.Unstructured) *walker {
	w := &walker{c: c, kind: p.kind, live: live.Object, path: make([]step, 0, 24), hasBaseline: !p.baseline.IsZero()}
	w.liveMeta, _ = live.Object["metadata"].(map[string]any)
	w.name, _ = w.liveMeta["name"].(string)
	return w
}

// Compare says how the live object differs from the declared one. It never fails: what cannot be compared is Unverified.
func (c *Comparer) Compare(in Input) Result {
	p := in.Prepared
	if p == nil && in.Desired != nil {
		var err error
		if p, err = c.Prepare(in.Desired, in.Baseline); err != nil {
			return Result{Unverified: []string{"desired: " + errs.Message(err)}}
		}
	}
	var r Result
	if in.Live != nil {
		m, _ := in.Live.Object["metadata"].(map[string]any)
		r.Terminating = m["deletionTimestamp"] != nil
	}
	switch {
	case p == nil && in.Live == nil:
		return r
	case in.Live == nil:
		r.Findings = []Finding{{Kind: Missing, Manager: UnknownManager, Note: "a deletion leaves no owner"}}
		return r
	case p == nil:
		f, _ := Undeclared(in.Live, true)
		r.Findings = []Finding{f}
		return r
	case in.Live.GroupVersionKind() != p.kind.gvk:
		r.Unverified = []string{"apiVersion"}
		return r
	}
	if r.Terminating {
		r.Findings = []Finding{terminating(in.Live)}
		return r
	}
	w := c.walker(p, in.Live)
	w.self, w.alsoOurs, w.evidence = in.Self, in.OurManagers, in.Evidence
	w.root(p.desired, p.baseline.root)
	for _, o := range w.out {
		switch {
		case o.rule != "":
			r.Delegated = append(r.Delegated, o.finding())
		case o.kind == Unverified:
			r.Unverified = append(r.Unverified, o.path)
		case o.kind == Residue:
			r.Residue = append(r.Residue, o.finding())
		default:
			r.Findings = append(r.Findings, o.finding())
		}
	}
	w.since(r.Findings)
	for _, list := range [][]Finding{r.Findings, r.Delegated, r.Residue} {
		slices.SortFunc(list, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind)) })
	}
	slices.Sort(r.Unverified)
	return r
}

// finding gives the public form of an outcome, with how its author is known.
func (o outcome) finding() Finding {
	f := Finding{Kind: o.kind, Path: o.path, Pointer: o.pointer, Before: o.before, After: o.after, Manager: UnknownManager, Rule: o.rule, Note: o.note}
	f.Doubtful = o.kind == Extra && o.rule == "" && (o.author == nil || o.author.era)
	if o.author != nil {
		f.Manager, f.Operation, f.Time = o.author.manager, o.author.op(), o.author.at
	}
	if f.Note != "" {
		return f
	}
	switch {
	case o.kind == Removed:
		f.Note = "a removal leaves no owner"
	case o.author == nil:
		f.Note = "nobody owns the field"
	case o.author.ours:
		f.Note = "only we own the field in managedFields"
	case o.author.era:
		f.Note = "from managedFields; the manager wrote before server-side apply"
	default:
		f.Note = "from managedFields"
	}
	if len(o.others) > 0 {
		names := make([]string, 0, len(o.others))
		for _, other := range o.others {
			names = append(names, other.manager)
		}
		slices.Sort(names)
		f.Note += "; also owned by " + strings.Join(slices.Compact(names), ", ")
	}
	return f
}
