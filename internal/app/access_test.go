package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
	"github.com/towpath-dev/towpath/internal/auth/policy"
	"github.com/towpath-dev/towpath/internal/gateway"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
	"github.com/towpath-dev/towpath/services/catalog"
)

// matrix is a server with every service behind the access stages of a real catalog, over gRPC and REST. Its handlers do nothing:
// what counts is who gets to them.
type matrix struct {
	grpc *rpc.Server
	rest *httptest.Server
	// tokens are of roles that hold everywhere, of nobody with a role, and of nobody at all.
	tokens map[string]string
}

func startMatrix(t *testing.T) *matrix {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	issuer := oidctest.Start(t)
	people, err := oidc.New([]oidc.Issuer{{URL: issuer.URL, Audiences: []string{"towpath"}}}, oidc.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	kv := memkv.New()
	t.Cleanup(func() { kv.Close() })
	m := &matrix{tokens: map[string]string{"without a role": issuer.Token(map[string]any{"sub": "nobody"}), "wrong": "tow_wrong"}}
	for _, r := range auth.Roles {
		bindTo(t, kv, r)
		m.tokens[r.String()] = issuer.Token(map[string]any{"sub": r.String()})
	}
	svc := catalog.New(catalog.Config{KV: kv, Identities: people, Logger: log})
	if m.grpc, err = rpc.NewServer(rpc.ServerConfig{Log: log, Authenticator: svc.Authenticator(), Authorizer: svc.Authorizer()}); err != nil {
		t.Fatal(err)
	}
	catalogv1.RegisterCatalogServiceServer(m.grpc, catalogv1.UnimplementedCatalogServiceServer{})
	catalogv1.RegisterDraftServiceServer(m.grpc, catalogv1.UnimplementedDraftServiceServer{})
	catalogv1.RegisterManifestServiceServer(m.grpc, catalogv1.UnimplementedManifestServiceServer{})
	catalogv1.RegisterGitServiceServer(m.grpc, catalogv1.UnimplementedGitServiceServer{})
	catalogv1.RegisterFindingServiceServer(m.grpc, catalogv1.UnimplementedFindingServiceServer{})
	catalogv1.RegisterAdoptionServiceServer(m.grpc, catalogv1.UnimplementedAdoptionServiceServer{})
	driftv1.RegisterLiveServiceServer(m.grpc, driftv1.UnimplementedLiveServiceServer{})
	driftv1.RegisterInspectServiceServer(m.grpc, driftv1.UnimplementedInspectServiceServer{})
	catalogv1.RegisterVariableServiceServer(m.grpc, catalogv1.UnimplementedVariableServiceServer{})
	catalogv1.RegisterDefinitionServiceServer(m.grpc, catalogv1.UnimplementedDefinitionServiceServer{})
	catalogv1.RegisterAccessServiceServer(m.grpc, catalogv1.UnimplementedAccessServiceServer{})
	eventsv1.RegisterEventServiceServer(m.grpc, eventsv1.UnimplementedEventServiceServer{})
	driftv1.RegisterDriftServiceServer(m.grpc, driftv1.UnimplementedDriftServiceServer{})
	rendererv1.RegisterRendererServiceServer(m.grpc, rendererv1.UnimplementedRendererServiceServer{})
	committerv1.RegisterCommitterServiceServer(m.grpc, committerv1.UnimplementedCommitterServiceServer{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.grpc.Serve(ctx, nil) }()
	t.Cleanup(func() { cancel(); <-done })
	conn, err := m.grpc.DialLocal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h, err := gateway.New(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	m.rest = httptest.NewServer(h)
	t.Cleanup(m.rest.Close)
	return m
}

// bindTo gives users/{role} that role everywhere.
func bindTo(t *testing.T, kv store.KV, r auth.Role) {
	t.Helper()
	row := &catalogv1.RoleBinding{Name: "roleBindings/" + r.String(), Role: r.Proto(), Members: []string{"users/" + r.String()}}
	var tx store.Tx
	err := store.NewTable[*catalogv1.RoleBinding]("access/roleBindings/").Create(&tx, r.String(), row)
	if err == nil {
		_, err = kv.Commit(t.Context(), tx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// answer is what counts of one: code and reason.
type answer struct{ code, reason string }

func (a answer) String() string { return a.code + "/" + a.reason }

func answerOf(err error) answer {
	s := status.Convert(err)
	a := answer{code: s.Code().String()}
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			a.reason = i.GetReason()
		}
	}
	return a
}

func (m *matrix) overGRPC(t *testing.T, token string, d protoreflect.MethodDescriptor, req proto.Message) answer {
	t.Helper()
	conn, err := m.grpc.DialLocal(rpc.WithToken(token))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	method := fmt.Sprintf("/%s/%s", d.Parent().FullName(), d.Name())
	out, err := protoregistry.GlobalTypes.FindMessageByName(d.Output().FullName())
	if err != nil {
		t.Fatal(err)
	}
	if !d.IsStreamingServer() && !d.IsStreamingClient() {
		return answerOf(conn.Invoke(t.Context(), method, req, out.New().Interface()))
	}
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: d.IsStreamingServer(), ClientStreams: d.IsStreamingClient()}, method)
	if err == nil {
		_ = s.SendMsg(req) // its failure shows in the answer
		_ = s.CloseSend()
		err = s.RecvMsg(out.New().Interface())
	}
	return answerOf(err)
}

func (m *matrix) overREST(t *testing.T, token, verb, path string) answer {
	t.Helper()
	var body io.Reader
	if verb == "POST" || verb == "PATCH" {
		body = bytes.NewReader([]byte("{}"))
	}
	req, err := http.NewRequestWithContext(t.Context(), verb, m.rest.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	type failure struct {
		Code    codes.Code `json:"code"`
		Details []struct {
			Reason string `json:"reason"`
		} `json:"details"`
	}
	var got struct {
		failure
		Error failure `json:"error"` // of a stream
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%s %s: %s: %v", verb, path, b, err)
	}
	f := got.failure
	if got.Error.Code != 0 {
		f = got.Error
	}
	a := answer{code: f.Code.String()}
	for _, d := range f.Details {
		if d.Reason != "" {
			a.reason = d.Reason
		}
	}
	return a
}

var pathField = regexp.MustCompile(`\{([a-z_.]+)=([^}]+)\}`)

// sample makes a request with the resources that the path names, and that path.
func sample(t *testing.T, d protoreflect.MethodDescriptor) (req proto.Message, verb, path string) {
	t.Helper()
	in, err := protoregistry.GlobalTypes.FindMessageByName(d.Input().FullName())
	if err != nil {
		t.Fatal(err)
	}
	m := in.New()
	rule, _ := proto.GetExtension(d.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return m.Interface(), "", ""
	}
	verb, path = policy.Route(rule)
	if b := rule.GetBody(); b != "" && b != "*" { // {} over REST is an empty message, not none
		m.Mutable(m.Descriptor().Fields().ByName(protoreflect.Name(b)))
	}
	path = pathField.ReplaceAllStringFunc(path, func(s string) string {
		p := pathField.FindStringSubmatch(s)
		name := p[2]
		for _, id := range []string{"aa", "bb", "cc", "dd"} {
			name = strings.Replace(name, "*", id, 1)
		}
		setPath(m, p[1], name)
		return name
	})
	return m.Interface(), verb, path
}

func setPath(m protoreflect.Message, path, value string) {
	first, rest, more := strings.Cut(path, ".")
	fd := m.Descriptor().Fields().ByName(protoreflect.Name(first))
	if more {
		setPath(m.Mutable(fd).Message(), rest, value)
		return
	}
	m.Set(fd, protoreflect.ValueOfString(value))
}

// documented reads who may call what out of docs/access.md.
func documented(t *testing.T) map[string]map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{}
	service := ""
	var columns []string
	for _, line := range strings.Split(string(b), "\n") {
		if s, ok := strings.CutPrefix(line, "#### "); ok {
			service = s
		}
		cells := strings.Split(line, "|")
		switch {
		case service == "" || len(cells) != 12:
		case strings.TrimSpace(cells[1]) == "RPC":
			columns = cells
		case strings.HasPrefix(cells[1], " `"):
			may := map[string]bool{}
			for i := 5; i < 11; i++ {
				may[strings.TrimSpace(columns[i])] = strings.TrimSpace(cells[i]) == "yes"
			}
			out[service+"."+strings.Trim(cells[1], " `")] = may
		}
	}
	return out
}

// Every RPC with every role, over gRPC and REST, answers as docs/access.md says, with the same code and reason on both.
func TestEveryRPCWithEveryRoleAnswersAsDocumented(t *testing.T) {
	m := startMatrix(t)
	table := documented(t)
	rpcs, calls := 0, 0
	for _, name := range policy.Services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			rpcs++
			may, ok := table[string(method.FullName())]
			if !ok {
				t.Errorf("%s is not in docs/access.md: run `make docs`", method.FullName())
				continue
			}
			req, verb, path := sample(t, method)
			for who, token := range m.tokens {
				calls++
				got := m.overGRPC(t, token, method, req)
				switch {
				case who == "wrong":
					if got != (answer{"Unauthenticated", "UNAUTHENTICATED"}) {
						t.Errorf("%s with a wrong token: %s", method.Name(), got)
					}
				case may[who] == (got.code == "PermissionDenied" || got.code == "Unauthenticated"):
					t.Errorf("%s as %s: %s, documented: %v", method.Name(), who, got, may[who])
				case !may[who] && got.reason != "PERMISSION_DENIED":
					t.Errorf("%s as %s: refused with %s", method.Name(), who, got)
				}
				if verb == "" {
					continue
				}
				if over := m.overREST(t, token, verb, path); over != got {
					t.Errorf("%s as %s: %s over gRPC, %s over REST (%s %s)", method.Name(), who, got, over, verb, path)
				}
			}
		}
	}
	if rpcs != len(table) || rpcs < 100 {
		t.Errorf("%d RPCs, %d documented", rpcs, len(table))
	}
	t.Logf("%d RPCs, %d calls over gRPC", rpcs, calls)
}
