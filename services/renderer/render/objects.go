package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/schema"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// What every object of a bundle must be, whoever made it: of an allowed kind, in the environment's namespace, and such that
// Kubernetes takes it.

var (
	apiVersion = lazyre.New(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	kindName   = lazyre.New(`^[A-Za-z][A-Za-z0-9-]{0,62}$`)
	allowedBy  = lazyre.New(`^(\*|[A-Za-z][A-Za-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$`)
)

// decisive kinds say what others may do. They are allowed only where an environment type names them.
var decisive = map[string]bool{"Role.rbac.authorization.k8s.io": true, "RoleBinding.rbac.authorization.k8s.io": true, "ResourceQuota": true, "LimitRange": true}

// kinds decides which kinds may be in a bundle: those that are named, as Kind.group or *.group, or when none is named every kind
// but the decisive ones.
type kinds map[string]bool

func newKinds(allowed []string) kinds {
	if len(allowed) == 0 {
		return nil
	}
	out := kinds{}
	for _, a := range allowed {
		out[a] = true
	}
	return out
}

// qualified is a kind with its group: Deployment.apps, and Service for the core group.
func qualified(apiVersion, kind string) string {
	if group, _, ok := strings.Cut(apiVersion, "/"); ok {
		return kind + "." + group
	}
	return kind
}

func (k kinds) allow(apiVersion, kind string) bool {
	name := qualified(apiVersion, kind)
	if k == nil {
		return !decisive[name]
	}
	_, group, _ := strings.Cut(name, ".")
	return k[name] || k["*"] || group != "" && k["*."+group]
}

func (k kinds) String() string {
	if k == nil {
		return "every kind that belongs into a namespace, but " + strings.Join(slices.Sorted(maps.Keys(decisive)), ", ")
	}
	return strings.Join(slices.Sorted(maps.Keys(k)), ", ")
}

// checkKinds refuses entries that no kind could ever be meant by.
func checkKinds(allowed []string) (fields []errs.Field) {
	for i, a := range allowed {
		path := fmt.Sprintf("input.defaults.allowed_kinds[%d]", i)
		kind, group, _ := strings.Cut(a, ".")
		switch {
		case !allowedBy.MatchString(a):
			fields = append(fields, errs.Field{Path: path, Problem: fmt.Sprintf("%q is not a kind: expected Deployment.apps, Service, *.example.com or *", a)})
		case group == "" && kind != "*" && schema.Find("v1", kind) == nil:
			fields = append(fields, errs.Field{Path: path, Problem: fmt.Sprintf("%q is not a kind of Kubernetes' core group%s", a, groupsOf(kind))})
		case schema.ScopeOf(strings.TrimPrefix(group+"/v1", "/"), kind) == schema.Cluster:
			fields = append(fields, errs.Field{Path: path, Problem: fmt.Sprintf("%q belongs to the whole cluster: only what belongs into a namespace can be allowed", a)})
		}
	}
	return fields
}

func groupsOf(kind string) string {
	for _, k := range schema.Kinds() {
		if k.Name == kind {
			return "; did you mean " + qualified(k.APIVersion, k.Name) + "?"
		}
	}
	return "; write kinds of others with their group, such as Database.example.com"
}

func notAllowed(ref *rendererv1.ObjectRef, origin, format string, args ...any) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "%s makes the %s %q, which %s", origin, ref.GetKind(), ref.GetName(), fmt.Sprintf(format, args...)).
		With("object", ref.GetFile()).With("kind", qualified(ref.GetApiVersion(), ref.GetKind()))
}

// check refuses an object whose kind may not be in the bundle, and notes what Kubernetes would not take.
func (f *files) check(o map[string]any, ref *rendererv1.ObjectRef, origin string) error {
	switch {
	case !apiVersion.MatchString(ref.GetApiVersion()) || !kindName.MatchString(ref.GetKind()):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "%s makes an object whose apiVersion %q or kind %q is not valid", origin, ref.GetApiVersion(), ref.GetKind())
	case schema.ScopeOf(ref.GetApiVersion(), ref.GetKind()) == schema.Cluster && !f.outside.hasKind(ref.GetApiVersion(), ref.GetKind()):
		return notAllowed(ref, origin, "belongs to the whole cluster: an environment has what belongs into its namespace, and what sync_policy.cluster_kinds of its type names: "+
			"tow type update --cluster-kind %s", qualified(ref.GetApiVersion(), ref.GetKind()))
	case f.outside.hasKind(ref.GetApiVersion(), ref.GetKind()): // is allowed by its name
	case !f.kinds.allow(ref.GetApiVersion(), ref.GetKind()):
		return notAllowed(ref, origin, "the environment type does not allow: it allows %s; name the kind with tow type update --allow-kind", f.kinds)
	}
	if w := schema.Warning(ref.GetApiVersion(), ref.GetKind()); w != "" {
		f.notes = append(f.notes, ref.GetFile()+": "+w)
	}
	for _, p := range schema.Validate(o) {
		if len(f.wrong) <= kube.MaxProblems { // one more than is told, so that the error says that there are more
			f.wrong = append(f.wrong, kube.Problem{Path: ref.GetFile() + " " + p.Path, Text: p.Text + " (made by " + origin + ")"})
		}
	}
	return nil
}

// invalid is REASON_INVALID_OBJECT with all that Kubernetes would not take.
func (f *files) invalid() error {
	if len(f.wrong) == 0 {
		return nil
	}
	e := errs.New(errs.Precondition, errorsv1.Reason_REASON_INVALID_OBJECT, "Kubernetes would not take what is rendered")
	for i, p := range f.wrong {
		if i == kube.MaxProblems {
			e.Fields = append(e.Fields, errs.Field{Path: "objects", Problem: "there are further problems that are not listed: correct these first"})
			break
		}
		e.Fields = append(e.Fields, errs.Field{Path: p.Path, Problem: p.Text})
	}
	return e
}

// maker says who makes an object that is not a workload's own.
func maker(res *resource) string {
	return "the resource " + res.uid + " (" + res.definition.Spec.GetName() + ")"
}

// listItems gives the objects of a List, which is only a wrapping.
func listItems(o map[string]any, res *resource) ([]map[string]any, error) {
	kind, _ := o["kind"].(string)
	items, isList := o["items"].([]any)
	if !strings.HasSuffix(kind, "List") || !isList && kind != "List" {
		return nil, nil
	}
	version, _ := o["apiVersion"].(string)
	if version != "v1" || kind != "List" || len(items) == 0 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "%s makes a %s of %s with %d items: give its objects one by one, or in a List of v1",
			maker(res), kind, version, len(items)).With("resource", res.uid)
	}
	out := make([]map[string]any, len(items))
	for i, item := range items {
		m, ok := item.(map[string]any)
		if inner, _ := m["kind"].(string); !ok || inner == "List" {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "%s makes a List whose items[%d] is no object", maker(res), i).With("resource", res.uid)
		}
		out[i] = m
	}
	return out, nil
}

func (f *files) addItems(items []map[string]any, err error, res *resource, place kube.Place) error {
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := f.addResource(item, res, place); err != nil {
			return err
		}
	}
	return nil
}

// foreign are fields of metadata that are not a manifest's to give: the API server's own, and those by which an object would hang
// on others, be of another name in every cluster, or never go away.
var foreign = map[string]string{
	"generateName":               "give it a name: with a generated one, every sync would make another object",
	"ownerReferences":            "its owner would remove it behind Git's back",
	"finalizers":                 "it could not be removed with the environment",
	"managedFields":              "the API server writes it",
	"resourceVersion":            "the API server writes it",
	"uid":                        "the API server writes it",
	"selfLink":                   "the API server writes it",
	"generation":                 "the API server writes it",
	"creationTimestamp":          "the API server writes it",
	"deletionTimestamp":          "the API server writes it",
	"deletionGracePeriodSeconds": "the API server writes it",
}

func checkMeta(o, meta map[string]any, res *resource) error {
	for _, field := range slices.Sorted(maps.Keys(foreign)) {
		v, given := meta[field]
		if list, isList := v.([]any); !given || v == nil || isList && len(list) == 0 {
			continue
		}
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED, "%s gives the %v %q metadata.%s: %s", maker(res), o["kind"], meta["name"], field, foreign[field]).
			With("resource", res.uid)
	}
	return nil
}
