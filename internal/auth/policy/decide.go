package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/towpath-dev/towpath/internal/auth"
)

// Set is the built-in policies and those of an organisation, compiled. It never changes: other policies are another Set, and so
// what it has decided before stays true.
type Set struct {
	builtin, all rules
	// broken says that a document could not be read. What it forbids is not known then, so nothing is allowed.
	broken bool

	mu      sync.RWMutex
	known   map[question]auth.Decision
	callers map[string]*principal
}

// question is all that a decision depends on. The caller's key stands for its groups and grants too.
type question struct {
	caller string
	action auth.Action
	kind   auth.Kind
	id     string
	typ    string
}

// Limits of what is kept; at the limit all of it is forgotten.
const (
	maxKnown   = 200_000
	maxCallers = 20_000
)

// rules are policies under the names that people know them by. Cedar's own sets have random order and their own names.
type rules struct {
	ids      []string
	policies []*cedar.Policy
}

// All implements cedar.PolicyIterator.
func (r rules) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for i, p := range r.policies {
			if !yield(cedar.PolicyID(r.ids[i]), p) {
				return
			}
		}
	}
}

// New compiles the documents. Where one cannot be read, the error says which; the Set that comes with it then allows nothing but
// what the bootstrap token and our own services do, because it is not known what that document forbids.
func New(docs []Document) (*Set, error) {
	s := &Set{known: map[question]auth.Decision{}, callers: map[string]*principal{}}
	s.builtin = rules{ids: parsed.ids, policies: parsed.policies}
	s.all = rules{ids: slices.Clone(parsed.ids), policies: slices.Clone(parsed.policies)}
	var failed error
	for _, d := range docs {
		list, err := cedar.NewPolicyListFromBytes(d.Name, []byte(d.Text))
		if err != nil {
			s.broken, failed = true, fmt.Errorf("%s cannot be read, so nothing is allowed: %w", d.Name, err)
			continue
		}
		for i, p := range list {
			s.all.ids = append(s.all.ids, fmt.Sprintf("%s#%d", d.Name, i))
			s.all.policies = append(s.all.policies, p)
		}
	}
	return s, failed
}

// BuiltinOnly is the Set without policies of an organisation.
func BuiltinOnly() *Set {
	s, _ := New(nil)
	return s
}

// Decide tells whether the caller may do the action to the resource, whose type must be known where it is an environment.
func (s *Set) Decide(c auth.Caller, a auth.Action, r auth.Resource) auth.Decision {
	if c.Subject == auth.ServiceSubject {
		return auth.Decision{Action: a, Resource: r.Name, Allowed: true, Whole: true, Rules: []string{"builtin/service"}}
	}
	q := question{caller: c.Key(), action: a, kind: r.Kind, id: r.ID, typ: r.Type}
	s.mu.RLock()
	d, ok := s.known[q]
	s.mu.RUnlock()
	if !ok {
		d = s.evaluate(c, q)
		s.mu.Lock()
		if len(s.known) >= maxKnown {
			clear(s.known)
		}
		s.known[q] = d
		s.mu.Unlock()
	}
	d.Resource = r.Name
	return d
}

func (s *Set) evaluate(c auth.Caller, q question) auth.Decision {
	set := s.all
	if c.Subject == auth.BootstrapSubject {
		set = s.builtin
	} else if s.broken {
		return auth.Decision{Action: q.action, Rules: []string{"builtin/unreadable-policy"}}
	}
	p := s.principal(c)
	w := &entities{principal: p.entity, resource: resourceEntity(q)}
	verdict, diag := cedar.Authorize(set, w, cedar.Request{
		Principal: p.entity.UID, Action: cedar.NewEntityUID("Action", cedar.String(q.action)), Resource: w.resource.UID,
	})
	d := auth.Decision{Action: q.action, Allowed: bool(verdict)}
	// A forbid that fails while it is evaluated does not count for Cedar. For us it does: refusing too much is noticed,
	// allowing too much is not.
	for _, e := range diag.Errors {
		if i := slices.Index(set.ids, string(e.PolicyID)); i >= 0 && set.policies[i].Effect() == cedar.Forbid {
			d.Allowed = false
			d.Rules = append(d.Rules, string(e.PolicyID))
		}
	}
	if len(d.Rules) > 0 {
		return d
	}
	for _, reason := range diag.Reasons {
		d.Rules = append(d.Rules, string(reason.PolicyID))
	}
	// Policies of an organisation may be about anything below, and seeing which applications there are is not seeing all of them.
	d.Whole = d.Allowed && len(set.ids) == len(s.builtin.ids) && !slices.Equal(d.Rules, []string{"builtin/type-scope"})
	return d
}

// principal is a caller as Cedar sees it.
type principal struct{ entity cedar.Entity }

func (s *Set) principal(c auth.Caller) *principal {
	key := c.Key()
	s.mu.RLock()
	p := s.callers[key]
	s.mu.RUnlock()
	if p != nil {
		return p
	}
	p = &principal{entity: principalEntity(c)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.callers) >= maxCallers {
		clear(s.callers)
	}
	s.callers[key] = p
	return p
}

var principalTypes = map[string]cedar.EntityType{"users": "User", "tokens": "Token", "serviceAccounts": "ServiceAccount"}

const everywhere = "everywhere"

func scope(id string) cedar.EntityUID {
	if id == "" {
		id = everywhere
	}
	return cedar.NewEntityUID("Scope", cedar.String(id))
}

func principalEntity(c auth.Caller) cedar.Entity {
	kind, id, _ := strings.Cut(c.Subject, "/")
	typ, ok := principalTypes[kind]
	if !ok {
		typ, id = "User", c.Subject // never a name of an identity provider, those have no "/"
	}
	groups := make([]cedar.EntityUID, 0, len(c.Groups))
	for _, g := range c.Groups {
		groups = append(groups, cedar.NewEntityUID("Group", cedar.String(g)))
	}
	attrs := cedar.RecordMap{"hasRole": cedar.Boolean(c.Greatest() > auth.Nobody), "hasTypeScope": cedar.Boolean(false)}
	for _, r := range auth.Roles {
		var where []cedar.Value
		if c.Role >= r {
			where = append(where, scope(""))
		}
		for _, g := range c.Grants {
			if g.Role >= r {
				where = append(where, scope(g.Scope))
			}
			if strings.HasPrefix(g.Scope, "environmentTypes/") {
				attrs["hasTypeScope"] = cedar.Boolean(true)
			}
		}
		attrs[cedar.String(r.String())] = cedar.NewSet(where...)
	}
	return cedar.Entity{
		UID: cedar.NewEntityUID(typ, cedar.String(id)), Parents: cedar.NewEntityUIDSet(groups...), Attributes: cedar.NewRecord(attrs),
	}
}

// resourceEntity gives the resource with everything above it: its application, its type, and the scopes of both.
func resourceEntity(q question) cedar.Entity {
	above := []cedar.EntityUID{scope("")}
	app, typ := "", ""
	switch q.kind {
	case auth.Application:
		app = q.id
	case auth.EnvironmentType:
		typ = q.id
	case auth.Environment:
		app, _, _ = strings.Cut(q.id, "/")
		typ = q.typ
		above = append(above, cedar.NewEntityUID("Application", cedar.String(app)))
		if typ != "" {
			above = append(above, cedar.NewEntityUID("EnvironmentType", cedar.String(typ)))
		}
	}
	if app != "" {
		above = append(above, scope("applications/"+app))
	}
	if typ != "" {
		above = append(above, scope("environmentTypes/"+typ))
	}
	return cedar.Entity{
		UID: cedar.NewEntityUID(cedar.EntityType(q.kind), cedar.String(q.id)), Parents: cedar.NewEntityUIDSet(above...),
	}
}

// entities are the two of a decision; a resource has all that is above it as parents, so that no others are needed.
type entities struct{ principal, resource cedar.Entity }

// Get implements cedar.EntityGetter.
func (e *entities) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case e.principal.UID:
		return e.principal, true
	case e.resource.UID:
		return e.resource, true
	}
	return cedar.Entity{}, false
}
