package apptest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// The states that tests wait for.
const (
	Syncing    = catalogv1.Deployment_STATE_SYNCING
	Healthy    = catalogv1.Deployment_STATE_HEALTHY
	Superseded = catalogv1.Deployment_STATE_SUPERSEDED
)

// ended are the states that no deployment leaves; a degraded one may recover.
var ended = []catalogv1.Deployment_State{
	Healthy, Superseded, catalogv1.Deployment_STATE_FAILED, catalogv1.Deployment_STATE_REJECTED, catalogv1.Deployment_STATE_CANCELLED,
}

// Client talks to a running Towpath as its first admin.
type Client struct {
	// Catalog and the others are the services over gRPC.
	Catalog  catalogv1.CatalogServiceClient
	Access   catalogv1.AccessServiceClient
	Drift    driftv1.DriftServiceClient
	Adoption catalogv1.AdoptionServiceClient
	Events   eventsv1.EventServiceClient
	Renderer rendererv1.RendererServiceClient
	// GRPC, HTTP and NATS are addresses, host:port. Git is the address that serves embedded repositories: HTTP, unless the
	// committer runs in another process.
	GRPC, HTTP, NATS, Git string
	// Token is the admin's secret.
	Token string
	// Seeds is the folder of the event server's keys.
	Seeds string

	conn *grpc.ClientConn
	http *http.Client
}

func dial(t testing.TB, grpcAddr, httpAddr, natsAddr, dataDir, token string) *Client {
	t.Helper()
	c := &Client{
		GRPC: grpcAddr, HTTP: httpAddr, NATS: natsAddr, Git: httpAddr, Token: token, Seeds: filepath.Join(dataDir, "nats"),
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: Patience},
	}
	var err error
	if c.conn, err = DialAs(grpcAddr, token); err != nil {
		t.Fatal(err)
	}
	c.Catalog, c.Access = catalogv1.NewCatalogServiceClient(c.conn), catalogv1.NewAccessServiceClient(c.conn)
	c.Drift, c.Events = driftv1.NewDriftServiceClient(c.conn), eventsv1.NewEventServiceClient(c.conn)
	c.Adoption = catalogv1.NewAdoptionServiceClient(c.conn)
	c.Renderer = rendererv1.NewRendererServiceClient(c.conn)
	return c
}

// DialAs connects with a token; none when empty. Connections are tried again quickly, because tests restart servers.
func DialAs(addr, token string) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
		MinConnectTimeout: 5 * time.Second,
	})}
	if token != "" {
		opts = append(opts, rpc.WithToken(token))
	}
	return rpc.Dial(addr, opts...)
}

// close ends the connection. Its only error is that it has ended.
func (c *Client) close() { _ = c.conn.Close() }

// Await polls until cond holds; after Patience it ends the test.
func Await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// Call makes a call and repeats it while the server cannot be reached. Any other error ends the test.
func Call[Req, Resp any](t testing.TB, rpc func(context.Context, Req, ...grpc.CallOption) (Resp, error), req Req) Resp {
	t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		resp, err := try(t, rpc, req)
		if err == nil {
			return resp
		}
		code := status.Code(err)
		if gone := code == codes.Unavailable || code == codes.DeadlineExceeded; !gone || time.Now().After(end) {
			t.Fatalf("%T: %v", req, err)
		}
	}
}

func try[Req, Resp any](t testing.TB, rpc func(context.Context, Req, ...grpc.CallOption) (Resp, error), req Req) (Resp, error) {
	ctx, cancel := context.WithTimeout(t.Context(), Patience/2)
	defer cancel()
	return rpc(ctx, req)
}

// NewEnvironment makes an environment, and its application when it is not there, by a short name such as "shop/dev", and
// gives its resource name. It is of type development.
func (c *Client) NewEnvironment(t testing.TB, short string) string {
	t.Helper()
	app, env, ok := strings.Cut(short, "/")
	if !ok {
		t.Fatalf("%q is not application/environment", short)
	}
	_, err := try(t, c.Catalog.CreateApplication, &catalogv1.CreateApplicationRequest{
		ApplicationId: app, Application: &catalogv1.Application{Owner: "teams/" + app},
	})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		t.Fatal(err)
	}
	return Call(t, c.Catalog.CreateEnvironment, &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/" + app, EnvironmentId: env, Environment: &catalogv1.Environment{Type: "environmentTypes/development"},
	}).GetName()
}

// Score is a Score document of one container without anything that a cluster must provide, with variables.
func Score(workload string, variables map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: score.dev/v1b1\nmetadata:\n  name: %s\ncontainers:\n  main:\n    image: registry.example.com/%[1]s:1\n", workload)
	b.WriteString("service:\n  ports:\n    http:\n      port: 8080\n")
	if len(variables) > 0 {
		text := b.String()
		b.Reset()
		head, tail, _ := strings.Cut(text, "service:")
		b.WriteString(head + "    variables:\n")
		for _, k := range slices.Sorted(maps.Keys(variables)) {
			fmt.Fprintf(&b, "      %s: %q\n", k, variables[k])
		}
		b.WriteString("service:" + tail)
	}
	return b.String()
}

// Scores makes a change of Score documents.
func Scores(documents ...string) *catalogv1.Change {
	change := &catalogv1.Change{}
	for i, d := range documents {
		change.Scores = append(change.Scores, &rendererv1.ScoreFile{Filename: fmt.Sprintf("score%d.yaml", i), Content: []byte(d)})
	}
	return change
}

// Deploy asks for a change, repeating the request with the same request id while the server cannot be reached.
func (c *Client) Deploy(t testing.TB, env, requestID string, change *catalogv1.Change) *catalogv1.Deployment {
	t.Helper()
	return Call(t, c.Catalog.CreateDeployment, &catalogv1.CreateDeploymentRequest{Parent: env, Change: change, RequestId: requestID})
}

// DeployScore deploys Score documents.
func (c *Client) DeployScore(t testing.TB, env string, documents ...string) *catalogv1.Deployment {
	t.Helper()
	return c.Deploy(t, env, "", Scores(documents...))
}

// Deployment reads a deployment.
func (c *Client) Deployment(t testing.TB, name string) *catalogv1.Deployment {
	t.Helper()
	return Call(t, c.Catalog.GetDeployment, &catalogv1.GetDeploymentRequest{Name: name})
}

// WaitState waits until a deployment is in one of the states. Another final state ends the test.
func (c *Client) WaitState(t testing.TB, name string, states ...catalogv1.Deployment_State) *catalogv1.Deployment {
	t.Helper()
	var d *catalogv1.Deployment
	for end := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		d = c.Deployment(t, name)
		// The event that something waits for its cluster can overtake the one that it is in Git.
		if slices.Contains(states, d.GetState()) && (d.GetState() != Syncing || d.GetCommit() != "") {
			return d
		}
		if slices.Contains(ended, d.GetState()) || time.Now().After(end) {
			t.Fatalf("%s is not in %v but: %v", name, states, d)
		}
	}
}

// WaitWaiting waits until a deployment says why it does not go on.
func (c *Client) WaitWaiting(t testing.TB, name string) *catalogv1.Deployment {
	t.Helper()
	var d *catalogv1.Deployment
	Await(t, name+" says why it waits", func() bool {
		d = c.Deployment(t, name)
		return d.GetWaitingReason() != ""
	})
	return d
}

// History gives all deployments of an environment, the oldest first.
func (c *Client) History(t testing.TB, env string) []*catalogv1.Deployment {
	t.Helper()
	all := Call(t, c.Catalog.ListDeployments, &catalogv1.ListDeploymentsRequest{Parent: env, PageSize: 1000}).GetDeployments()
	slices.Reverse(all)
	return all
}

// Clone clones the embedded repository with git over HTTP and gives the folder.
func (c *Client) Clone(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	gittest.Git(t, filepath.Dir(dir), "clone", "--quiet", "http://tow:"+c.Token+"@"+c.Git+"/git/deployments.git", dir)
	return dir
}

// BareRepository is the embedded repository on disk, which may be read while nothing runs.
func BareRepository(t testing.TB, dataDir string) *gittest.Bare {
	t.Helper()
	dir := filepath.Join(dataDir, "repositories", "deployments.git")
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	return gittest.OpenBare(t, dir)
}

// REST makes a call over HTTP and gives status and body. The body of the request is JSON, "" for none.
func (c *Client) REST(t testing.TB, method, path, body string) (code int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.HTTP+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}
