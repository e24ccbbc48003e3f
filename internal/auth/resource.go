package auth

import (
	"context"
	"strings"
)

// Kind is the Cedar type of a resource.
type Kind string

// The kinds of resources that a decision can be about. What belongs to an application or environment (deployments, variables,
// drafts, findings) is decided as that one.
const (
	// Platform is the whole installation: what spans applications, and what is new and has no place yet.
	Platform           Kind = "Platform"
	Application        Kind = "Application"
	Environment        Kind = "Environment"
	EnvironmentType    Kind = "EnvironmentType"
	Target             Kind = "Target"
	Repository         Kind = "Repository"
	ResourceDefinition Kind = "ResourceDefinition"
)

// PlatformID is the id of the one Platform.
const PlatformID = "towpath"

// Resource is what something is done to.
type Resource struct {
	// Name is the full resource name, as the request has it.
	Name string
	Kind Kind
	// ID identifies it within its kind: shop, shop/dev, production.
	ID string
	// Type is the id of an environment's type where it is known already, as from its row. It is looked up where it is empty.
	Type string
	// NewType is its type where it does not exist yet. What exists has its own type, whatever a request says.
	NewType string
}

// Everything is the whole installation.
var Everything = Resource{Kind: Platform, ID: PlatformID}

var kinds = map[string]Kind{
	"environmentTypes": EnvironmentType, "targets": Target, "repositories": Repository, "resourceDefinitions": ResourceDefinition,
}

// ParseResource finds what a resource name is about. "-" for an environment means all of the application, for an application
// the whole installation. So does every name that is not understood: who may do something everywhere then learns from
// validation what is wrong with it, and nobody else learns anything.
func ParseResource(name string) Resource {
	r := Resource{Name: name, Kind: Platform, ID: PlatformID}
	collection, rest, _ := strings.Cut(name, "/")
	id, rest, deeper := strings.Cut(rest, "/")
	if id == "" || id == "-" {
		return r
	}
	if k, ok := kinds[collection]; ok {
		r.Kind, r.ID = k, id
		return r
	}
	if collection != "applications" {
		return r
	}
	r.Kind, r.ID = Application, id
	if !deeper {
		return r
	}
	collection, rest, _ = strings.Cut(rest, "/")
	env, _, _ := strings.Cut(rest, "/")
	if collection == "environments" && env != "" && env != "-" {
		r.Kind, r.ID = Environment, id+"/"+env
	}
	return r
}

// App gives the application's id of an application or environment, "" for others.
func (r Resource) App() string {
	if r.Kind != Application && r.Kind != Environment {
		return ""
	}
	app, _, _ := strings.Cut(r.ID, "/")
	return app
}

// Types finds the types of environments, which their names do not tell.
type Types interface {
	// EnvironmentType gives the id of an environment's type, "" where there is no such environment.
	EnvironmentType(ctx context.Context, app, env string) (string, error)
}

// Typed gives the resource with its type, looked up where it is an environment and not known.
func (r Resource) Typed(ctx context.Context, t Types) (Resource, error) {
	if r.Kind != Environment || r.Type != "" {
		return r, nil
	}
	app, env, _ := strings.Cut(r.ID, "/")
	typ, err := t.EnvironmentType(ctx, app, env)
	if err != nil {
		return r, err
	}
	if r.Type = typ; typ == "" {
		r.Type = r.NewType
	}
	return r, nil
}

// ValidScope reports whether a role can be bound there.
func ValidScope(scope string) bool {
	collection, id, ok := strings.Cut(scope, "/")
	return ok && (collection == "applications" || collection == "environmentTypes") && validID(id)
}

func validID(id string) bool {
	if id == "" || len(id) > 63 || id[0] < 'a' || id[0] > 'z' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return id[len(id)-1] != '-'
}
