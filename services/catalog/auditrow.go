package catalog

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/audit"
)

const auditCollection = "auditEvents/"

// The payloads of an audit event's row. The API shows resources in their JSON form, which takes several times the space and
// time to make; the row has the messages themselves, as google.protobuf.Any in fields that the API's message does not have. They
// become JSON when somebody reads them.
const (
	payloadBefore  protowire.Number = 1001
	payloadAfter   protowire.Number = 1002
	payloadRequest protowire.Number = 1003
)

// maxPayload is the largest payload, in bytes. Of a larger resource its lists and parts are left out.
const maxPayload = 64 << 10

// auditedKind is a type of resource whose rows are shown in the trail.
type auditedKind struct {
	prefix string
	name   protoreflect.FullName
	typ    protoreflect.MessageType
}

func audited(prefix string, m proto.Message) auditedKind {
	return auditedKind{prefix: prefix, name: m.ProtoReflect().Descriptor().FullName(), typ: m.ProtoReflect().Type()}
}

// auditedKinds are the tables of resources that people change. What is not here is recorded all the same, without before and
// after.
var auditedKinds = []auditedKind{
	audited(deployments.Prefix(), &catalogv1.Deployment{}),
	audited(environments.Prefix(), &catalogv1.Environment{}),
	audited(applications.Prefix(), &catalogv1.Application{}),
	audited(environmentTypes.Prefix(), &catalogv1.EnvironmentType{}),
	audited(targets.Prefix(), &catalogv1.Target{}),
	audited(repositories.Prefix(), &catalogv1.Repository{}),
	audited(tokens.Prefix(), &catalogv1.Token{}),
	audited("access/roleBindings/", &catalogv1.RoleBinding{}),
	audited("access/policies/", &catalogv1.Policy{}),
	audited("drafts/", &catalogv1.Draft{}),
	audited("variables/", &catalogv1.Variable{}),
	audited("resourceDefinitions/", &catalogv1.ResourceDefinition{}),
	audited("definitionVersions/", &catalogv1.DefinitionVersion{}),
	audited(ignoreRules.Prefix(), &driftv1.IgnoreRule{}),
}

func kindOfKey(key string) (auditedKind, bool) {
	for _, k := range auditedKinds {
		if strings.HasPrefix(key, k.prefix) {
			return k, true
		}
	}
	return auditedKind{}, false
}

func (k auditedKind) decode(value []byte) (proto.Message, error) {
	m := k.typ.New().Interface()
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("decode row under %q: %w", k.prefix, err)
	}
	return m, nil
}

// putPayload adds a message to an event's row, without its secrets. One that cannot be encoded is left out: the event itself
// matters more.
func putPayload(e *catalogv1.AuditEvent, field protowire.Number, m proto.Message) {
	clean := audit.Redact(m)
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(clean)
	if err == nil && len(value) > maxPayload {
		shorten(clean.ProtoReflect())
		value, err = proto.MarshalOptions{Deterministic: true}.Marshal(clean)
	}
	if err != nil || len(value) > maxPayload {
		return
	}
	boxed, err := proto.Marshal(&anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: value})
	if err != nil {
		return
	}
	raw := protowire.AppendTag(e.ProtoReflect().GetUnknown(), field, protowire.BytesType)
	e.ProtoReflect().SetUnknown(protowire.AppendBytes(raw, boxed))
}

// shorten leaves only the single values of a message.
func shorten(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if fd.IsList() || fd.IsMap() || fd.Message() != nil {
			m.Clear(fd)
		}
		return true
	})
}

// payloads calls f for each payload of a row, with its bytes and those of its whole field, until f gives false.
func payloads(e *catalogv1.AuditEvent, f func(field protowire.Number, boxed, raw []byte) bool) {
	for b := []byte(e.ProtoReflect().GetUnknown()); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.BytesType {
			return
		}
		boxed, m := protowire.ConsumeBytes(b[n:])
		if m < 0 || !f(num, boxed, b[:n+m]) {
			return
		}
		b = b[n+m:]
	}
}

func hasPayload(e *catalogv1.AuditEvent, field protowire.Number) (has bool) {
	payloads(e, func(f protowire.Number, _, _ []byte) bool {
		has = has || f == field
		return !has
	})
	return has
}

func dropPayload(e *catalogv1.AuditEvent, field protowire.Number) {
	if !hasPayload(e, field) {
		return
	}
	var kept []byte
	payloads(e, func(f protowire.Number, _, raw []byte) bool {
		if f != field {
			kept = append(kept, raw...)
		}
		return true
	})
	e.ProtoReflect().SetUnknown(kept)
}

// showEvent turns a row into what the API shows.
func showEvent(e *catalogv1.AuditEvent) {
	payloads(e, func(field protowire.Number, boxed, _ []byte) bool {
		shown := payloadJSON(boxed)
		switch field {
		case payloadBefore:
			e.Before = shown
		case payloadAfter:
			e.After = shown
		case payloadRequest:
			e.Request = shown
		}
		return true
	})
	e.ProtoReflect().SetUnknown(nil)
}

// payloadJSON gives a payload's JSON form; of a type that this version does not know, its name only.
func payloadJSON(boxed []byte) *structpb.Struct {
	a := &anypb.Any{}
	if err := proto.Unmarshal(boxed, a); err != nil {
		return nil
	}
	if m, err := a.UnmarshalNew(); err == nil {
		if s, err := audit.JSON(m); err == nil {
			return s
		}
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{"@type": structpb.NewStringValue(a.GetTypeUrl())}}
}
