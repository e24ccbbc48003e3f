package audit

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/towpath-dev/towpath/internal/secrets"
)

// LeftOut stands where a text was left out.
const LeftOut = "(left out)"

// secretFields are fields of messages that hold nothing but a secret, whatever it looks like.
var secretFields = map[protoreflect.Name]bool{
	"secret": true, "password": true, "passphrase": true, "token": true, "private_key": true, "api_key": true, "access_key": true,
}

// Redact gives a copy of m without what no audit trail may keep: contents of files (all fields of type bytes), secrets by their
// form, and texts whose field, key or path says that they are secrets. m itself stays as it is, and of what is left out
// nothing is copied.
func Redact(m proto.Message) proto.Message {
	out := m.ProtoReflect().New()
	redactInto(out, m.ProtoReflect())
	return out.Interface()
}

// RedactText gives the text, or LeftOut where there is a secret in it.
func RedactText(s string) string { return redactNamed("", s) }

func redactNamed(name, s string) string {
	if secrets.LooksNamed(name, s) != "" {
		return LeftOut
	}
	// "containers.main.variables.PASSWORD=x", as overrides of Score files are written.
	if key, value, ok := strings.Cut(s, "="); ok && secrets.LooksNamed(key, value) != "" {
		return key + "=" + LeftOut
	}
	return s
}

func redactInto(dst, src protoreflect.Message) {
	beside := nameBeside(src)
	src.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Name() == "sealed" && fd.Kind() == protoreflect.StringKind: // no secret, but long, and nobody reads it
			dst.Set(fd, protoreflect.ValueOfString(secrets.CutSealed(v.String())))
		case fd.IsMap():
			redactMap(dst, fd, v.Map())
		case fd.IsList():
			redactList(dst, fd, v.List())
		default:
			if r, ok := redactValue(fd, redactName(fd, beside), v, func() protoreflect.Value { return dst.NewField(fd) }); ok {
				dst.Set(fd, r)
			}
		}
		return true
	})
}

// nameBeside gives what names the value of a pair: {key, value}, {path, value}.
func nameBeside(m protoreflect.Message) string {
	fields := m.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"key", "path", "name"} {
		if fd := fields.ByName(name); fd != nil && fd.Kind() == protoreflect.StringKind && !fd.IsList() {
			s := m.Get(fd).String()
			return s[strings.LastIndexByte(s, '/')+1:]
		}
	}
	return ""
}

func redactName(fd protoreflect.FieldDescriptor, beside string) string {
	switch {
	case secretFields[fd.Name()]:
		return "secret"
	case fd.Name() == "value":
		return beside
	default:
		return ""
	}
}

func redactMap(dst protoreflect.Message, fd protoreflect.FieldDescriptor, m protoreflect.Map) {
	out := dst.Mutable(fd).Map()
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if r, ok := redactValue(fd.MapValue(), k.String(), v, out.NewValue); ok {
			out.Set(k, r)
		}
		return true
	})
}

func redactList(dst protoreflect.Message, fd protoreflect.FieldDescriptor, l protoreflect.List) {
	out := dst.Mutable(fd).List()
	name := redactName(fd, "")
	for i := range l.Len() {
		if r, ok := redactValue(fd, name, l.Get(i), out.NewElement); ok {
			out.Append(r)
		}
	}
}

// redactValue gives one value without its secrets; false when nothing of it may be kept. name is what the value is called.
func redactValue(fd protoreflect.FieldDescriptor, name string, v protoreflect.Value, fresh func() protoreflect.Value) (protoreflect.Value, bool) {
	switch fd.Kind() {
	case protoreflect.BytesKind:
		return v, false
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(redactNamed(name, v.String())), true
	case protoreflect.MessageKind, protoreflect.GroupKind:
		out := fresh()
		if v.Message().Descriptor().FullName() == "google.protobuf.Value" {
			redactJSON(out.Message(), v.Message(), name)
		} else {
			redactInto(out.Message(), v.Message())
		}
		return out, true
	default:
		return v, true
	}
}

// redactJSON is redactInto for google.protobuf.Value, which inherits the name of what holds it.
func redactJSON(dst, src protoreflect.Message, name string) {
	src.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() == protoreflect.StringKind {
			dst.Set(fd, protoreflect.ValueOfString(redactNamed(name, v.String())))
			return true
		}
		if r, ok := redactValue(fd, "", v, func() protoreflect.Value { return dst.NewField(fd) }); ok {
			dst.Set(fd, r)
		}
		return true
	})
}
