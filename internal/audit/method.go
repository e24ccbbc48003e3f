package audit

import (
	"strings"
	"unicode"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/towpath-dev/towpath/internal/auth"
)

// reads are the beginnings of the names of RPCs that change nothing. What does not begin so is recorded: a new RPC that is
// forgotten here is recorded too often, never too seldom. Backup changes nothing either, but takes everything away with it.
var reads = []string{"Get", "List", "Watch", "Find", "Plan", "Explain", "Diff", "Check", "WhoAmI", "Render", "LoadWorkloads"}

// Mutates reports whether calls of a method, as in /towpath.catalog.v1.CatalogService/CreateApplication, are recorded.
func Mutates(fullMethod string) bool {
	service, name := split(fullMethod)
	if !strings.HasPrefix(service, "towpath.") {
		return false
	}
	for _, r := range reads {
		if strings.HasPrefix(name, r) {
			return false
		}
	}
	return true
}

// Action gives the action that a call of the method is checked for, as in docs/access.md: deploy, rollback.
func Action(fullMethod string) string {
	rule, _ := auth.MethodRule(fullMethod)
	return string(rule.Action)
}

// ShortMethod gives CatalogService/CreateApplication.
func ShortMethod(fullMethod string) string {
	service, name := split(fullMethod)
	return service[strings.LastIndexByte(service, '.')+1:] + "/" + name
}

func split(fullMethod string) (service, name string) {
	service, name, _ = strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	return service, name
}

func descriptorOf(fullMethod string) protoreflect.MethodDescriptor {
	service, name := split(fullMethod)
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil
	}
	return s.Methods().ByName(protoreflect.Name(name))
}

// OutputOf gives the type that a method answers with, "" when it is not known.
func OutputOf(fullMethod string) protoreflect.FullName {
	if d := descriptorOf(fullMethod); d != nil {
		return d.Output().FullName()
	}
	return ""
}

// ResourceOf gives the resource that a request is about: the one that it names; of an update the one in it; of a creation the one
// to be, or where it would be when its id is not the caller's to choose. "" when the request does not tell.
func ResourceOf(fullMethod string, request proto.Message) string {
	if request == nil {
		return ""
	}
	m := request.ProtoReflect()
	if !m.IsValid() {
		return ""
	}
	if name := text(m, "name"); name != "" {
		return RedactText(name)
	}
	if name := createdName(fullMethod, m); name != "" {
		return RedactText(name)
	}
	if parent := text(m, "parent"); parent != "" {
		return RedactText(parent)
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); fd.Message() != nil && !fd.IsList() && !fd.IsMap() && m.Has(fd) {
			if name := text(m.Get(fd).Message(), "name"); name != "" {
				return RedactText(name)
			}
		}
	}
	return ""
}

// createdName gives parent, collection and id of a creation whose caller chose the id. The collection is the last part of the
// path that the method has over REST.
func createdName(fullMethod string, m protoreflect.Message) string {
	d := descriptorOf(fullMethod)
	if d == nil || !strings.HasPrefix(string(d.Name()), "Create") {
		return ""
	}
	id := text(m, protoreflect.Name(snake(strings.TrimPrefix(string(d.Name()), "Create"))+"_id"))
	rule, ok := proto.GetExtension(d.Options(), annotations.E_Http).(*annotations.HttpRule)
	if id == "" || !ok {
		return ""
	}
	collection := rule.GetPost()[strings.LastIndexByte(rule.GetPost(), '/')+1:]
	if parent := text(m, "parent"); parent != "" {
		return parent + "/" + collection + "/" + id
	}
	return collection + "/" + id
}

func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func text(m protoreflect.Message, field protoreflect.Name) string {
	fd := m.Descriptor().Fields().ByName(field)
	if fd == nil || fd.Kind() != protoreflect.StringKind || fd.IsList() {
		return ""
	}
	return m.Get(fd).String()
}
