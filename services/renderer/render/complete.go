package render

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/score"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// maxResources is how many resources one environment may have: definitions that provision one another make many of few.
const maxResources = 5000

// complete finds the definition of every resource and adds what definitions refer to or provision, until nothing is added any
// more. The resources are taken in rounds, by uid, so that the outcome does not depend on the order of anything.
func (g *graph) complete(find func(*resource) (*definition.Definition, error)) error {
	for round := slices.Collect(maps.Values(g.byUID)); len(round) > 0; round = g.added {
		slices.SortFunc(round, func(a, b *resource) int { return strings.Compare(a.uid, b.uid) })
		g.added = nil
		for _, res := range round {
			var err error
			if res.definition, err = find(res); err != nil {
				return located(err, res)
			}
			if err := g.addOf(res); err != nil {
				return err
			}
		}
	}
	g.spreadUsers()
	return nil
}

// addOf adds what the definition of a resource refers to and provisions.
func (g *graph) addOf(res *resource) error {
	for _, p := range res.definition.Provisions {
		if err := g.want(res, p.Selector, p.Of(res.id)); err != nil {
			return err
		}
	}
	for _, r := range res.definition.References {
		if r.Selector.All() {
			continue // it means what there is, and adds nothing
		}
		if err := g.want(res, r.Selector, nil); err != nil {
			return err
		}
	}
	return nil
}

// want adds a resource because the definition of another one asks for it, or lets it have the params where it has none.
func (g *graph) want(by *resource, selector definition.Selector, params map[string]any) error {
	uid := selector.UID(by.id)
	if !slices.Contains(by.wants, uid) {
		by.wants = append(by.wants, uid)
	}
	declared := fmt.Sprintf("the definition %s of %s", by.definition.Spec.GetName(), by.uid)
	res := g.byUID[uid]
	if res == nil {
		if len(g.byUID) >= maxResources {
			return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "the environment has more than %d resources; %s adds another one", maxResources, declared).
				With("limit", fmt.Sprint(maxResources)).With("field", "resources")
		}
		res = &resource{uid: uid, typ: selector.Type, class: selector.Class, id: selector.ID, owner: by.owner, users: slices.Clone(by.users), declared: declared, provided: true}
		if res.id == "" {
			res.id = by.id
		}
		g.byUID[uid] = res
		g.added = append(g.added, res)
	}
	switch {
	case params == nil:
	case res.params == nil:
		res.params, res.provided, res.declared = params, true, declared
	case !reflect.DeepEqual(res.params, params):
		return score.Invalid([]errs.Field{{Path: declared, Problem: res.differs("params")}})
	}
	return nil
}

// spreadUsers makes everybody who uses a resource a user of what its definition wants.
func (g *graph) spreadUsers() {
	known := map[*resource]map[string]bool{} // the users of what is wanted, so that ten thousand of them cost ten thousand steps
	for todo := slices.Collect(maps.Values(g.byUID)); len(todo) > 0; {
		res := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, wanted := range res.wants {
			other, more := g.byUID[wanted], false
			if known[other] == nil {
				known[other] = map[string]bool{}
				for _, user := range other.users {
					known[other][user] = true
				}
			}
			for _, user := range res.users {
				if !known[other][user] {
					other.users, more = append(other.users, user), true
					known[other][user] = true
				}
			}
			if more {
				todo = append(todo, other)
			}
		}
	}
}

// references gives the uids that a resource must wait for because of definitions: its own one's references, and those in params
// that another definition gave.
func (g *graph) references(r *resource) (out []string) {
	if r.definition != nil {
		for _, ref := range r.definition.References {
			out = append(out, g.selected(r, ref.Selector)...)
		}
	}
	if r.provided {
		for _, ref := range definition.ReferencesIn(r.params) {
			out = append(out, g.selected(r, ref.Selector)...)
		}
	}
	return out
}

// selected gives the uids that a selector in the definition of a resource means, sorted where it means all of a type; the resource
// itself is not among those.
func (g *graph) selected(r *resource, selector definition.Selector) []string {
	if !selector.All() {
		return []string{selector.UID(r.id)}
	}
	var out []string
	for uid, other := range g.byUID {
		if other.typ == selector.Type && other.class == selector.Class && other != r {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out
}
