package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

// Promote gives the state that a target has after the source's set came to it: the whole set, or with names only those
// workloads and the shared resources that they use. What belongs to the target alone, its overlay and variables, stays;
// operations of the overlay on what is gone go too, as there is nothing left that they could change. Errors name field, the
// request's Promotion.
func Promote(target State, source *catalogv1.Set, names []string, field string) (State, error) {
	set, doc := source, DocumentOf(source)
	if len(names) > 0 {
		var err error
		if doc, err = withChosen(DocumentOf(target.Set), doc, names, field+".workloads"); err != nil {
			return State{}, err
		}
		if set, err = doc.Set(); err != nil {
			return State{}, at(err, field+".from")
		}
	}
	next := proto.CloneOf(target.Intent)
	if next == nil {
		next = &catalogv1.Intent{}
	}
	next.Set = set.GetName()
	next.Overlay = slices.DeleteFunc(next.GetOverlay(), func(op *rendererv1.Operation) bool {
		return !anchored(doc, op) && anchored(DocumentOf(target.Set), op)
	})
	for _, op := range next.GetOverlay() {
		changed, err := applyOperation(doc, op, "")
		if err != nil {
			return State{}, overlayClash(err, op, field)
		}
		doc = changed
	}
	return State{Intent: next, Set: set}, nil
}

// withChosen gives the target's document with some of the source's workloads, and the shared resources that they use, in it.
func withChosen(target, source Document, names []string, field string) (Document, error) {
	workloads, resources := maps.Clone(target.Workloads()), maps.Clone(target.part(resourcesKey))
	for i, name := range names {
		w, ok := source.Workloads()[name]
		if !ok {
			return nil, errs.InvalidField(fmt.Sprintf("%s[%d]", field, i), "what is promoted has no workload %s; %s", quote(name), thereAre(source.Workloads()))
		}
		workloads[name] = w
	}
	for name := range sharedBy(source, names) {
		resources[name] = source.part(resourcesKey)[name]
	}
	return Document{workloadsKey: workloads, resourcesKey: resources}, nil
}

// sharedBy finds the set's own resources that workloads use: a workload uses one by declaring a resource of the same type,
// class and id, and a resource uses another by a placeholder in its params.
func sharedBy(doc Document, names []string) map[string]bool {
	shared, byUID := doc.part(resourcesKey), map[string]string{}
	for name, r := range shared {
		byUID[uidOf(r, name)] = name
	}
	found := map[string]bool{}
	var use func(name string)
	use = func(name string) {
		if _, ok := shared[name]; !ok || found[name] {
			return
		}
		found[name] = true
		eachReference(shared[name], use)
	}
	for _, w := range names {
		workload, _ := doc.Workloads()[w].(map[string]any)
		declared, _ := workload["resources"].(map[string]any)
		for name, r := range declared {
			if s, ok := byUID[uidOf(r, w+"."+name)]; ok {
				use(s)
			}
		}
	}
	return found
}

// uidOf names a resource as the renderer does: two declarations of one uid are one resource.
func uidOf(decl any, id string) string {
	r, _ := decl.(map[string]any)
	typ, _ := r["type"].(string)
	class := "default"
	if c, ok := r["class"].(string); ok {
		class = c
	}
	if own, ok := r["id"].(string); ok {
		id = own
	}
	return typ + "." + class + "#" + id
}

// reference matches ${resources.NAME; an escaped one, $${, has the dollar in the first group.
var reference = regexp.MustCompile(`(\$?)\$\{resources\.([^.}\\]+)`)

// eachReference calls use with the name of each resource that a text of the value refers to.
func eachReference(v any, use func(name string)) {
	switch v := v.(type) {
	case string:
		for _, m := range reference.FindAllStringSubmatch(v, -1) {
			if m[1] == "" {
				use(m[2])
			}
		}
	case map[string]any:
		for _, e := range v {
			eachReference(e, use)
		}
	case []any:
		for _, e := range v {
			eachReference(e, use)
		}
	}
}

// anchored reports whether the workload or resource that an operation is about is in the document, or is made by it.
func anchored(doc Document, op *rendererv1.Operation) bool {
	tokens, err := jsonptr.Parse(op.GetPath())
	if err != nil || len(tokens) < 2 {
		return false
	}
	_, ok := doc.part(tokens[0])[tokens[1]]
	return ok
}

func overlayClash(err error, op *rendererv1.Operation, field string) error {
	var e *errs.Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	return errs.InvalidField(field+".from", "does not fit the overlay of the environment that it comes to, which has an operation on %s: %s; drop that operation first (change.overlay_drops)",
		op.GetPath(), e.Fields[0].Problem)
}
