package auth

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Place tells where a request names the resource that it is about.
type Place struct {
	// Doc describes it for docs/access.md.
	Doc string
	// find gives the resource; false where the request does not ask for that.
	find func(m protoreflect.Message) (Resource, bool)
}

// In finds the resource in a request; false where the request does not ask for that. A message of another type than the rule is
// for is about everything.
func (p Place) In(req proto.Message) (Resource, bool) {
	if req == nil || p.find == nil {
		return Everything, true
	}
	return p.find(req.ProtoReflect())
}

// everything is for what spans applications.
var everything = Place{Doc: "everything"}

// named is for a field with the resource's name.
func named(path string) Place {
	return Place{Doc: "`" + path + "`", find: func(m protoreflect.Message) (Resource, bool) {
		return ParseResource(text(m, path)), true
	}}
}

// source is like named for a field that may be empty.
func source(path string) Place {
	return Place{Doc: "`" + path + "`, where given", find: func(m protoreflect.Message) (Resource, bool) {
		name := text(m, path)
		return ParseResource(name), name != ""
	}}
}

// allOf is for what spans applications because a name is of that collection.
func allOf(collection, path string) Place {
	return Place{Doc: "everything, where `" + path + "` names one of " + collection, find: func(m protoreflect.Message) (Resource, bool) {
		return Everything, strings.HasPrefix(text(m, path), collection+"/")
	}}
}

// wildcard is like named, where the name stands for all environments of an application.
func wildcard(path string) Place {
	return Place{Doc: "`" + path + "`, where it ends with `-`", find: func(m protoreflect.Message) (Resource, bool) {
		name := text(m, path)
		return ParseResource(name), strings.HasSuffix(name, "/-")
	}}
}

// child is for the id of something new.
func child(collection, id string) Place {
	return Place{Doc: "`" + collection + "{" + id + "}`", find: func(m protoreflect.Message) (Resource, bool) {
		return ParseResource(collection + text(m, id)), true
	}}
}

// flagged is like named, where a flag is set.
func flagged(flag, path string) Place {
	return Place{Doc: "`" + path + "`, with `" + flag + "`", find: func(m protoreflect.Message) (Resource, bool) {
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(flag))
		return ParseResource(text(m, path)), fd != nil && m.Get(fd).Bool()
	}}
}

// rolloutAll is ROLLOUT_ALL of the catalog: the change is deployed at once.
const rolloutAll = 2

// rolledOut is like named, where the change is deployed at once.
func rolledOut(path string) Place {
	return Place{Doc: "`" + path + "`, with `ROLLOUT_ALL`", find: func(m protoreflect.Message) (Resource, bool) {
		fd := m.Descriptor().Fields().ByName("rollout")
		return ParseResource(text(m, path)), fd != nil && m.Get(fd).Enum() == rolloutAll
	}}
}

// newEnvironment is for an environment that does not exist yet: its type is in the request.
var newEnvironment = Place{Doc: "`{parent}/environments/{environment_id}` of the type `environment.type`", find: func(m protoreflect.Message) (Resource, bool) {
	r := ParseResource(text(m, "parent") + "/environments/" + text(m, "environment_id"))
	r.NewType = typeID(text(m, "environment.type"))
	return r, true
}}

// retyped is for an environment that gets another type: the caller must be allowed there too.
var retyped = Place{Doc: "`environment.name` with the type `environment.type`, where given", find: func(m protoreflect.Message) (Resource, bool) {
	r := ParseResource(text(m, "environment.name"))
	r.Type = typeID(text(m, "environment.type"))
	return r, r.Type != ""
}}

// plannedEnvironment is for an environment that may not exist yet.
var plannedEnvironment = Place{Doc: "`parent`, of the type `creation.environment.type` where given", find: func(m protoreflect.Message) (Resource, bool) {
	r := ParseResource(text(m, "parent"))
	r.NewType = typeID(text(m, "creation.environment.type"))
	return r, true
}}

// eventsOf is for the events of an environment, an application, or of everything.
var eventsOf = Place{Doc: "`applications/{application}/environments/{environment}`, where given", find: func(m protoreflect.Message) (Resource, bool) {
	app, env := text(m, "application"), text(m, "environment")
	switch {
	case app == "":
		return Everything, true
	case env == "":
		return ParseResource("applications/" + app), true
	}
	return ParseResource("applications/" + app + "/environments/" + env), true
}}

func typeID(name string) string {
	id, ok := strings.CutPrefix(name, "environmentTypes/")
	if !ok {
		return ""
	}
	return id
}

// text reads a string field by its path; "" where there is none.
func text(m protoreflect.Message, path string) string {
	for {
		first, rest, more := strings.Cut(path, ".")
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(first))
		if fd == nil || fd.IsList() || fd.IsMap() {
			return ""
		}
		if !more {
			if fd.Kind() != protoreflect.StringKind {
				return ""
			}
			return m.Get(fd).String()
		}
		if fd.Message() == nil {
			return ""
		}
		m, path = m.Get(fd).Message(), rest
	}
}

// Everything reports whether the place is the whole installation, whatever is requested.
func (p Place) Everything() bool { return p.find == nil }

// RowResource finds what a row of a list is about. An environment's row tells its type.
func RowResource(m protoreflect.Message) Resource {
	r := ParseResource(text(m, "name"))
	if r.Kind == Environment && strings.Count(r.Name, "/") == 3 {
		r.Type = typeID(text(m, "type"))
	}
	return r
}

// decisionAdopt is DECISION_ADOPT of the catalog's ResolveForeignChangeRequest: the change becomes a draft.
const decisionAdopt = 3

// adopting is the environment of a foreign change that becomes a draft.
var adopting = Place{Doc: "`name`, with `decision` `DECISION_ADOPT`", find: func(m protoreflect.Message) (Resource, bool) {
	fd := m.Descriptor().Fields().ByName("decision")
	return ParseResource(text(m, "name")), fd != nil && m.Get(fd).Enum() == decisionAdopt
}}
