package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/git/gittest"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// refusal is what a program sees of an error.
type refusal struct {
	Code   codes.Code
	Reason string
	Field  string // the first one that is named
}

// good is what each bad input is a variation of.
const good = `apiVersion: score.dev/v1b1
metadata:
  name: web
containers:
  main:
    image: registry.example.com/web:1
`

type badChange struct {
	name   string
	change *catalogv1.Change
	want   refusal
}

// badChanges is a function because its content is large and every process of the crash tests would make it, too.
func badChanges() []badChange {
	return []badChange{
		{"broken YAML", apptest.Scores("containers: [\n"), refusal{codes.InvalidArgument, "INVALID_SCORE", "score0.yaml:1:1"}},
		{"no YAML at all", apptest.Scores("\x00\x01\xff"), refusal{codes.InvalidArgument, "INVALID_SCORE", "score0.yaml:1:3"}},
		{
			"a wrong type", apptest.Scores(good + "    args: 5\n"),
			refusal{codes.InvalidArgument, "INVALID_SCORE", "score0.yaml:7:11 containers.main.args"},
		},
		{
			"a field that Score does not have", apptest.Scores(good + "    imagine: x\n"),
			refusal{codes.InvalidArgument, "INVALID_SCORE", "score0.yaml:7:5 containers.main.imagine"},
		},
		{
			"a placeholder to a resource that is not there", apptest.Scores(good + "    variables: {A: \"${resources.db.host}\"}\n"),
			refusal{codes.InvalidArgument, "INVALID_SCORE", "score0.yaml:7:21 containers.main.variables.A"},
		},
		{
			"a placeholder to a variable that is not set", apptest.Scores(good + "    variables: {A: \"${resources.env.NOPE}\"}\nresources: {env: {type: environment}}\n"),
			refusal{codes.InvalidArgument, "UNRESOLVED_PLACEHOLDER", "workloads.web containers.main.variables.A"},
		},
		{
			"a resource of a type that nobody defines", apptest.Scores(good + "resources: {qubits: {type: quantum}}\n"),
			refusal{codes.FailedPrecondition, "NO_RESOURCE_DEFINITION", "workloads.web resources.qubits"},
		},
		{
			"a file whose path leaves its place", apptest.Scores(good + "    files: {/etc/../../x: {content: y}}\n"),
			refusal{codes.InvalidArgument, "INVALID_SCORE", `workloads.web containers.main.files./etc/\.\./\.\./x`},
		},
		{
			"a file of 10 MB", &catalogv1.Change{Scores: []*rendererv1.ScoreFile{{
				Filename: "score0.yaml", Content: append([]byte(good), bytes.Repeat([]byte("# x\n"), 10<<20/4)...),
			}}},
			refusal{codes.InvalidArgument, "TOO_LARGE", "score0.yaml content"},
		},
		{
			"an operation on nothing", &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{{
				Action: rendererv1.Operation_ACTION_REMOVE, Path: "/workloads/nope/containers",
			}}},
			refusal{codes.InvalidArgument, "INVALID_FIELD", "change.overlay_operations[0].path"},
		},
		{
			"an operation that is no pointer", &catalogv1.Change{SetOperations: []*rendererv1.Operation{{
				Action: rendererv1.Operation_ACTION_SET, Path: "workloads", Value: structpb.NewNumberValue(1),
			}}},
			refusal{codes.InvalidArgument, "INVALID_FIELD", "change.set_operations[0].path"},
		},
		{
			"a set that is not there", &catalogv1.Change{Set: "sets/" + strings.Repeat("0", 64)},
			refusal{codes.InvalidArgument, "INVALID_FIELD", "change.set"},
		},
		{
			"a variable that looks like a secret", &catalogv1.Change{Variables: map[string]string{"KEY": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"}},
			refusal{codes.FailedPrecondition, "PLAINTEXT_SECRET", `change.variables["KEY"]`},
		},
	}
}

func TestBadInputIsRefusedWithAReasonAndStoresNothing(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	env := s.NewEnvironment(t, "shop/dev")
	first := s.WaitState(t, s.Deploy(t, env, "taken", apptest.Scores(good)).GetName(), apptest.Syncing)
	for _, c := range badChanges() {
		t.Run(c.name, func(t *testing.T) {
			req := &catalogv1.CreateDeploymentRequest{Parent: env, Change: c.change}
			_, err := s.Catalog.CreateDeployment(t.Context(), req)
			if d := cmp.Diff(c.want, refused(err)); d != "" {
				t.Errorf("over gRPC (-want +got)\n%s%v", d, shorten(err))
			}
			body, err := protojson.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, refusedOverREST(t, s.Client, "/v1/"+env+"/deployments", string(body))); d != "" {
				t.Errorf("over REST (-want +got)\n%s", d)
			}
		})
	}
	t.Run("others", func(t *testing.T) { refusesOtherRequests(t, s.Client, env) })
	t.Run("REST", func(t *testing.T) { refusesRESTRequests(t, s.Client, env) })
	if got := s.History(t, env); len(got) != 1 || !proto.Equal(got[0].GetIntent(), first.GetIntent()) {
		t.Errorf("the history is %v, want the first deployment alone", got)
	}
	if n := gittest.Git(t, s.Clone(t), "rev-list", "--count", "HEAD"); n != "1" {
		t.Errorf("Git has %s commits, want 1", n)
	}
	repos := apptest.Call(t, s.Catalog.ListRepositories, &catalogv1.ListRepositoriesRequest{}).GetRepositories()
	if len(repos) != 1 {
		t.Errorf("the repositories are %v, want the default one alone", repos)
	}
}

func refusesOtherRequests(t *testing.T, c *apptest.Client, env string) {
	create := func(r *catalogv1.CreateDeploymentRequest) error {
		_, err := c.Catalog.CreateDeployment(t.Context(), r)
		return err
	}
	repository := func(template, url string) error {
		_, err := c.Catalog.CreateRepository(t.Context(), &catalogv1.CreateRepositoryRequest{
			RepositoryId: "other", Repository: &catalogv1.Repository{Url: url, PathTemplate: template},
		})
		return err
	}
	as := func(token string) error {
		conn, err := apptest.DialAs(c.GRPC, token)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = catalogv1.NewCatalogServiceClient(conn).CreateDeployment(context.Background(),
			&catalogv1.CreateDeploymentRequest{Parent: env, Change: apptest.Scores(good)})
		return err
	}
	for _, x := range []struct {
		name string
		err  error
		want refusal
	}{
		{
			"an environment that is not there",
			create(&catalogv1.CreateDeploymentRequest{Parent: "applications/shop/environments/nope", Change: apptest.Scores(good)}),
			refusal{codes.NotFound, "NOT_FOUND", ""},
		},
		{
			"a name that is none", create(&catalogv1.CreateDeploymentRequest{Parent: "shop/dev", Change: apptest.Scores(good)}),
			refusal{codes.InvalidArgument, "INVALID_FIELD", "parent"},
		},
		{
			"a request id that was used for something else",
			create(&catalogv1.CreateDeploymentRequest{Parent: env, RequestId: "taken", Change: &catalogv1.Change{Variables: map[string]string{"A": "b"}}}),
			refusal{codes.FailedPrecondition, "REQUEST_ID_REUSED", ""},
		},
		{"a folder outside of the repository", repository("../{application}/{environment}", "embedded:///other"), refusal{codes.InvalidArgument, "INVALID_FIELD", "repository.path_template"}},
		{"a folder inside of .git", repository(".git/{application}/{environment}", "embedded:///other"), refusal{codes.InvalidArgument, "INVALID_FIELD", "repository.path_template"}},
		{"an embedded repository outside of the folder", repository("", "embedded:///../../etc"), refusal{codes.InvalidArgument, "INVALID_FIELD", "repository.url"}},
		{"a wrong token", as("tow_wrong"), refusal{codes.Unauthenticated, "UNAUTHENTICATED", ""}},
		{"no token", as(""), refusal{codes.Unauthenticated, "UNAUTHENTICATED", ""}},
	} {
		if d := cmp.Diff(x.want, refused(x.err)); d != "" {
			t.Errorf("%s (-want +got)\n%s%v", x.name, d, shorten(x.err))
		}
	}
}

func refusesRESTRequests(t *testing.T, c *apptest.Client, env string) {
	path := "/v1/" + env + "/deployments"
	content := base64.StdEncoding.EncodeToString([]byte(good))
	stranger := *c
	stranger.Token = "tow_wrong"
	for _, x := range []struct {
		name, path, body string
		client           *apptest.Client
		want             refusal
	}{
		{"an unknown field", path, `{"change": {"scores": [{"content": "` + content + `"}]}, "mesage": "x"}`, c, refusal{codes.InvalidArgument, "INVALID_FIELD", "mesage"}},
		{"an unknown field further in", path, `{"change": {"skores": []}}`, c, refusal{codes.InvalidArgument, "INVALID_FIELD", "skores"}},
		{"a wrong type", path, `{"change": {"scores": 5}}`, c, refusal{codes.InvalidArgument, "INVALID_FIELD", "body"}},
		{"no JSON", path, `{`, c, refusal{codes.InvalidArgument, "INVALID_FIELD", "body"}},
		{"a path that is not there", "/v1/applications/shop/nothing", `{}`, c, refusal{codes.NotFound, "NOT_FOUND", ""}},
		{"an environment that is not there", "/v1/applications/shop/environments/nope/deployments", `{"change": {"variables": {"A": "b"}}}`, c, refusal{codes.NotFound, "NOT_FOUND", ""}},
		{"a wrong token", path, `{"change": {"variables": {"A": "b"}}}`, &stranger, refusal{codes.Unauthenticated, "UNAUTHENTICATED", ""}},
	} {
		if d := cmp.Diff(x.want, refusedOverREST(t, x.client, x.path, x.body)); d != "" {
			t.Errorf("%s (-want +got)\n%s", x.name, d)
		}
	}
}

// refused reads an error over gRPC.
func refused(err error) refusal {
	s := status.Convert(err)
	out := refusal{Code: s.Code()}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == rpc.Domain {
				out.Reason += d.GetReason() // exactly one: two would show
			}
		case *errdetails.BadRequest:
			out.Field = d.GetFieldViolations()[0].GetField()
		}
	}
	return out
}

// refusedOverREST posts a body and reads the error, whose HTTP status must be the code's.
func refusedOverREST(t *testing.T, c *apptest.Client, path, body string) refusal {
	t.Helper()
	code, answer := c.REST(t, http.MethodPost, path, body)
	var e struct {
		Code    codes.Code
		Details []struct {
			Domain, Reason  string
			FieldViolations []struct{ Field string }
		}
	}
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		t.Fatalf("the answer is no JSON: %v: %.300s", err, answer)
	}
	want := map[codes.Code]int{
		codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.Unauthenticated: 401, codes.NotFound: 404,
	}[e.Code]
	if code != want {
		t.Errorf("HTTP status %d with code %v, want %d", code, e.Code, want)
	}
	out := refusal{Code: e.Code}
	for _, d := range e.Details {
		if d.Domain == rpc.Domain {
			out.Reason += d.Reason
		}
		if len(d.FieldViolations) > 0 {
			out.Field = d.FieldViolations[0].Field
		}
	}
	return out
}

// shorten keeps a failure readable: an error may quote its input.
func shorten(err error) string {
	s := status.Convert(err)
	return s.Message()[:min(len(s.Message()), 300)]
}
