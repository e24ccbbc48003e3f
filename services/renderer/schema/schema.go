// Package schema checks objects of Kubernetes' own kinds without a cluster: that every field exists, has the type it must have, and
// is there where it must be. It knows what Kubernetes' OpenAPI documents say and nothing more: rules that the API server has in Go
// alone, such as which ports are valid, are the API server's to check. Kinds that are not Kubernetes' own are not checked.
//
// It is pure and fast on purpose, because every object of every rendering goes through it: what it knows is a text of some 40 KB
// in the program, of which each type is read when an object needs it first.
package schema

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/towpath-dev/towpath/services/renderer/score"
)

//go:generate make -C ../../.. openapi

//go:embed kubernetes.txt
var text string

// Scope says where objects of a kind live.
type Scope int

const (
	// Unknown is the scope of a kind that is not Kubernetes' own.
	Unknown Scope = iota
	// Namespaced objects live in a namespace.
	Namespaced
	// Cluster objects belong to the whole cluster.
	Cluster
	// None is the scope of what is asked and answered but never kept, such as a TokenReview.
	None
)

// Kind is one version of one of Kubernetes' own kinds.
type Kind struct {
	// APIVersion is group and version as objects have it, Group the group alone, empty for the core group.
	APIVersion, Group, Name string
	// Plural is what rules call it, such as deployments.
	Plural string
	Scope  Scope

	number int
}

// table is the text in parts.
type table struct {
	version string
	kinds   []Kind
	byKind  map[[2]string]*Kind // apiVersion and kind
	groups  map[string]bool
	lines   []string
	// definitions holds what was read of lines.
	definitions []atomic.Pointer[definition]
}

var load = sync.OnceValue(func() *table { return read(text) })

func read(text string) *table {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	t := &table{version: strings.TrimPrefix(lines[1], "kubernetes "), kinds: make([]Kind, 0, len(lines)), byKind: make(map[[2]string]*Kind, len(lines)), groups: map[string]bool{}}
	for _, line := range lines[2:] {
		f := strings.Split(line, " ")
		number, err := strconv.Atoi(f[4])
		if err != nil {
			panic("schema: the generated table is broken at " + line)
		}
		t.kinds = append(t.kinds, Kind{APIVersion: f[0], Group: groupOf(f[0]), Name: f[1], Plural: f[2], Scope: scopes[f[3]], number: number})
	}
	for i := range t.kinds {
		k := &t.kinds[i]
		t.byKind[[2]string{k.APIVersion, k.Name}], t.groups[k.Group] = k, true
	}
	t.lines = strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	t.definitions = make([]atomic.Pointer[definition], len(t.lines))
	return t
}

var scopes = map[string]Scope{"namespaced": Namespaced, "cluster": Cluster, "none": None}

func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// Version is the version of Kubernetes that is known, such as v1.36.3.
func Version() string { return load().version }

// Find gives what is known of a kind; nil for one that is not Kubernetes' own.
func Find(apiVersion, kind string) *Kind { return load().byKind[[2]string{apiVersion, kind}] }

// Kinds gives all of Kubernetes' own kinds, by group, name and version.
func Kinds() []Kind { return slices.Clone(load().kinds) }

// ScopeOf gives the scope of a kind in any version of its group: a version that is gone does not change it.
func ScopeOf(apiVersion, kind string) Scope {
	t := load()
	if k := t.byKind[[2]string{apiVersion, kind}]; k != nil {
		return k.Scope
	}
	if group := groupOf(apiVersion); t.groups[group] {
		for _, k := range t.kinds {
			if k.Group == group && k.Name == kind {
				return k.Scope
			}
		}
	}
	return Unknown
}

// gone are groups that Kubernetes had and has no more.
var gone = map[string]bool{"extensions": true}

// served says why a kind cannot be applied although its group is Kubernetes' own; empty when there is no such reason.
func (t *table) served(apiVersion, kind string) string {
	group := groupOf(apiVersion)
	if !t.groups[group] && !gone[group] {
		return ""
	}
	var others []string
	for _, k := range t.kinds {
		if k.Name == kind && (k.Group == group || gone[group]) && k.Scope != None {
			others = append(others, k.APIVersion)
		}
	}
	problem := "Kubernetes " + strings.TrimPrefix(t.version, "v") + " has no " + kind + " in " + apiVersion
	if len(others) > 0 {
		return problem + "; use " + strings.Join(others, " or ")
	}
	return problem + score.Suggest(kind, t.names(group))
}

func (t *table) names(group string) (out []string) {
	for _, k := range t.kinds {
		if k.Group == group {
			out = append(out, k.Name)
		}
	}
	return slices.Compact(out)
}

// Warning says what is worth knowing of a kind that may be applied: that it is old, or that most clusters do not have it.
func Warning(apiVersion, kind string) string {
	switch _, version, _ := strings.Cut("/"+apiVersion, "/"); {
	case apiVersion == "v1" && kind == "Endpoints":
		return "Endpoints of v1 are deprecated since Kubernetes 1.33; use EndpointSlice of discovery.k8s.io/v1"
	case Find(apiVersion, kind) != nil && (strings.Contains(version, "alpha") || strings.Contains(version, "beta")):
		return kind + " of " + apiVersion + " is not switched on in most clusters"
	}
	return ""
}
