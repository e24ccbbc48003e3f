package compare

import (
	"reflect"
	"sync"

	"github.com/towpath-dev/towpath/internal/errs"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

const minMaskKey = 16

// Comparer compares objects of every kind. Building one parses the schema of all built-in kinds (about half a second), so
// make one per process. It is safe for concurrent use.
type Comparer struct {
	opts     Options
	builtins managedfields.TypeConverter
	kinds    sync.Map  // schema.GroupVersionKind -> *kind
	shared   *Comparer // has the built-in kinds, see For; nil for itself
}

// kind is what one GroupVersionKind needs for the walk.
type kind struct {
	gvk      schema.GroupVersionKind
	root     *typ
	defaults *defaultNode // nil when the table does not know the kind
}

// New builds a Comparer. It fails with errs.Invalid when the mask key is too short to protect Secret values.
func New(opts Options) (*Comparer, error) {
	if len(opts.MaskKey) < minMaskKey {
		return nil, &errs.Error{Kind: errs.Invalid, Msg: "the drift comparer needs a key that masks Secret values",
			Fields: []errs.Field{{Path: "MaskKey", Problem: "is shorter than 16 bytes; give a random key that stays the same across restarts"}}}
	}
	return &Comparer{opts: opts, builtins: applyconfigurations.NewTypeConverter(scheme.Scheme)}, nil
}

// For gives a comparer for another cluster: with the same key and built-in kinds, and with custom kinds of its own, because the
// same kind may have another schema in each cluster.
func (c *Comparer) For(types TypeSource) *Comparer {
	return &Comparer{opts: Options{MaskKey: c.opts.MaskKey, TypeFor: types}, builtins: c.builtins, shared: c}
}

// Forget drops what was learnt about a kind, so that the next comparison asks Options.TypeFor again. Call it when a custom
// resource definition changes. Prepared objects of that kind keep the old schema and must be prepared again.
func (c *Comparer) Forget(gvk schema.GroupVersionKind) { c.kinds.Delete(gvk) }

// kindOf gives the compiled kind, once per kind.
func (c *Comparer) kindOf(gvk schema.GroupVersionKind) *kind {
	if k, ok := c.kinds.Load(gvk); ok {
		return k.(*kind)
	}
	made := (*kind)(nil)
	if c.shared != nil && scheme.Scheme.Recognizes(gvk) {
		made = c.shared.kindOf(gvk)
	} else {
		made = c.compileKind(gvk)
	}
	k, _ := c.kinds.LoadOrStore(gvk, made)
	return k.(*kind)
}

func (c *Comparer) compileKind(gvk schema.GroupVersionKind) *kind {
	k := &kind{gvk: gvk, defaults: defaultsFor(gvk)}
	if pt, goType, ok := c.builtin(gvk); ok {
		k.root = (&compiler{schema: pt.Schema, made: map[typeKey]*typ{}}).compile(pt.TypeRef, goType)
	} else if c.opts.TypeFor != nil {
		if pt, ok := c.opts.TypeFor(gvk); ok && pt.Schema != nil {
			k.root = (&compiler{schema: pt.Schema, made: map[typeKey]*typ{}}).compile(pt.TypeRef, nil)
		}
	}
	if k.root == nil || k.root.deduced {
		k.root = &typ{fields: map[string]*typ{}, deduced: true, elem: unknownType}
	}
	root := *k.root // metadata is typed for every kind, and a kind's own marks must not leak into shared types
	root.fields = make(map[string]*typ, len(k.root.fields)+1)
	for name, t := range k.root.fields {
		root.fields[name] = t
	}
	root.fields["metadata"] = c.metadata()
	if isSecret(gvk) {
		for _, name := range []string{"data", "stringData"} {
			data := typ{elem: &typ{class: bytesBase64, secret: true}, secret: true}
			root.fields[name] = &data
		}
	}
	k.root = &root
	return k
}

// builtin finds the embedded schema and the Go type of a kind of client-go.
func (c *Comparer) builtin(gvk schema.GroupVersionKind) (typed.ParseableType, reflect.Type, bool) {
	probe := &unstructured.Unstructured{}
	probe.SetGroupVersionKind(gvk)
	if !scheme.Scheme.Recognizes(gvk) {
		return typed.ParseableType{}, nil, false
	}
	tv, err := c.builtins.ObjectToTyped(probe)
	if err != nil {
		return typed.ParseableType{}, nil, false
	}
	return typed.ParseableType{Schema: tv.Schema(), TypeRef: tv.TypeRef()}, scheme.Scheme.AllKnownTypes()[gvk], true
}

// metadata gives the type of metadata with only the parts that people declare.
func (c *Comparer) metadata() *typ {
	text := &typ{}
	free := &typ{elem: text}
	owner := &typ{fields: map[string]*typ{}}
	for _, name := range []string{"apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"} {
		owner.fields[name] = text
	}
	return &typ{fields: map[string]*typ{
		"labels":          free,
		"annotations":     free,
		"finalizers":      {list: setList, elem: text},
		"ownerReferences": {list: keyedList, keys: []string{"uid"}, keyDefaults: []any{nil}, elem: owner},
	}}
}

func isSecret(gvk schema.GroupVersionKind) bool { return gvk.Group == "" && gvk.Kind == "Secret" }
