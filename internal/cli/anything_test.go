package cli_test

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// anything is a server that has every method of the API: it answers each with a message whose fields all hold something, and
// remembers which methods were called. It proves which commands use which methods, and what their output is made of.
type anything struct {
	addr string

	mu    sync.Mutex
	calls []string
	// fail is what the next calls of a method answer instead.
	fail map[string]error
}

func startAnything(t testing.TB) *anything {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &anything{addr: l.Addr().String(), fail: map[string]error{}}
	server := grpc.NewServer(grpc.UnknownServiceHandler(a.handle))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends by Stop
	}()
	t.Cleanup(func() { server.Stop(); <-done })
	return a
}

// reset forgets the calls.
func (a *anything) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = nil
}

func (a *anything) called() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *anything) handle(_ any, s grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(s)
	name := strings.ReplaceAll(strings.TrimPrefix(full, "/"), "/", ".")
	a.mu.Lock()
	a.calls = append(a.calls, name)
	fault := a.fail[name]
	a.mu.Unlock()
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return status.Error(codes.Unimplemented, name)
	}
	method := d.(protoreflect.MethodDescriptor)
	req, resp := newMessage(method.Input()), newMessage(method.Output())
	for {
		if err := s.RecvMsg(req); err != nil || !method.IsStreamingClient() {
			break
		}
	}
	if fault != nil {
		return fault
	}
	fillMessage(resp.ProtoReflect(), 0)
	fitAnswer(resp, req)
	if d, ok := resp.(*catalogv1.Deployment); ok { // whoever waits for it has to watch it
		d.State = catalogv1.Deployment_STATE_PENDING
	}
	return s.SendMsg(resp)
}

func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return t.New().Interface()
}

// fillMessage gives every field a value, as deep as an answer is of interest.
func fillMessage(m protoreflect.Message, depth int) {
	if depth > 6 || fillWellKnown(m) {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() && m.WhichOneof(o) != nil {
			continue
		}
		switch {
		case f.IsMap():
			v := m.Mutable(f).Map().NewValue()
			if f.MapValue().Message() != nil {
				fillMessage(v.Message(), depth+1)
			} else {
				v = sampleValue(f.MapValue())
			}
			m.Mutable(f).Map().Set(protoreflect.ValueOf("api").MapKey(), v)
		case f.IsList():
			l := m.Mutable(f).List()
			if f.Message() == nil {
				l.Append(sampleValue(f))
				continue
			}
			v := l.NewElement()
			fillMessage(v.Message(), depth+1)
			l.Append(v)
		case f.Message() != nil:
			if f.Message() != m.Descriptor() {
				fillMessage(m.Mutable(f).Message(), depth+1)
			}
		default:
			m.Set(f, sampleValue(f))
		}
	}
}

func fillWellKnown(m protoreflect.Message) bool {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Timestamp":
		proto.Merge(m.Interface(), at(0))
	case "google.protobuf.Duration":
		m.Set(m.Descriptor().Fields().ByName("seconds"), protoreflect.ValueOfInt64(60))
	case "google.protobuf.Struct":
		proto.Merge(m.Interface(), workload(map[string]any{"main": map[string]any{"image": "i"}}))
	case "google.protobuf.Value":
		proto.Merge(m.Interface(), structpb.NewStringValue("value"))
	case "google.protobuf.Any", "google.protobuf.Empty":
	default:
		return false
	}
	return true
}

func sampleValue(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(slices.Contains([]protoreflect.Name{"allowed", "healthy", "reachable"}, f.Name()))
	case protoreflect.EnumKind:
		n := f.Enum().Values().Get(min(1, f.Enum().Values().Len()-1)).Number()
		if f.Enum().FullName() == "towpath.catalog.v1.Deployment.State" {
			n = protoreflect.EnumNumber(catalogv1.Deployment_STATE_HEALTHY)
		}
		return protoreflect.ValueOfEnum(n)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("bytes"))
	}
	return protoreflect.ValueOfString(sampleText(f))
}

// sampleText gives a text that the field could hold.
func sampleText(f protoreflect.FieldDescriptor) string {
	switch string(f.Name()) {
	case "next_page_token":
		return "" // there is one page
	case "name":
		if text := sampleNames[f.ContainingMessage().FullName()]; text != "" {
			return text
		}
	case "environment":
		return dev
	case "latest_deployment", "active_deployment", "deployment":
		return dev + "/deployments/4"
	case "set", "base_set", "result_set":
		return setName
	}
	return string(f.Name())
}

// sampleNames are names of resources.
var sampleNames = map[protoreflect.FullName]string{
	"towpath.catalog.v1.Application": "applications/shop", "towpath.catalog.v1.Environment": dev, "towpath.catalog.v1.Deployment": dev + "/deployments/4",
	"towpath.catalog.v1.EnvironmentType": "environmentTypes/development", "towpath.catalog.v1.Target": "targets/default",
	"towpath.catalog.v1.Repository": "repositories/default", "towpath.catalog.v1.Draft": "applications/shop/drafts/next",
	"towpath.catalog.v1.Variable": dev + "/variables/LOG_LEVEL", "towpath.catalog.v1.Set": setName, "towpath.catalog.v1.Token": "tokens/ci",
	"towpath.catalog.v1.RoleBinding": "roleBindings/checkout", "towpath.catalog.v1.Policy": "policies/frozen", "towpath.catalog.v1.AuditEvent": "auditEvents/1",
	"towpath.catalog.v1.ResourceDefinition": "resourceDefinitions/postgres-rds", "towpath.catalog.v1.DefinitionVersion": "resourceDefinitions/postgres-rds/versions/1",
	"towpath.drift.v1.IgnoreRule": dev + "/ignoreRules/1", "towpath.catalog.v1.FindingRecord": dev + "/findingRecords/1",
	"towpath.drift.v1.Finding": dev + "/findings/abc", "towpath.drift.v1.EnvironmentStatus": dev + "/status", "towpath.drift.v1.TargetStatus": "targets/default/status",
}

// fitAnswer mends what a sample cannot know.
func fitAnswer(resp, req proto.Message) {
	if m, ok := resp.(interface {
		GetName() string
		ProtoReflect() protoreflect.Message
	}); ok {
		if r, ok := req.(interface{ GetName() string }); ok && resp.ProtoReflect().Descriptor().Name() == "Finding" {
			m.ProtoReflect().Set(m.ProtoReflect().Descriptor().Fields().ByName("name"), protoreflect.ValueOfString(r.GetName()))
		}
	}
}
