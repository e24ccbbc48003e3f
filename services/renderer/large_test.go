package renderer_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const largeDocument = `apiVersion: score.dev/v1b1
metadata: {name: api}
service: {ports: {http: {port: 8080}}}
containers:
  main:
    image: ghcr.io/acme/api:1.2.3
    variables:
      LOG_LEVEL: info
      DATABASE_URL: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}
    files:
      /etc/api.yaml: {content: "service: ${metadata.name}\nport: 8080\n"}
    livenessProbe: {httpGet: {path: /healthz, port: 8080}}
    readinessProbe: {httpGet: {path: /readyz, port: 8080}}
    resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
resources:
  db: {type: postgres, id: shop-db}
`

// 10,000 workloads of an ordinary size go through a server with the limits that ours have.
func TestTenThousandWorkloadsThroughTheService(t *testing.T) {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(rpc.MaxMessageBytes), grpc.MaxSendMsgSize(rpc.MaxAnswerBytes))
	newService(t).Register(server)
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///renderer", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.MaxAnswerBytes), grpc.MaxCallSendMsgSize(rpc.MaxMessageBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	client := rendererv1.NewRendererServiceClient(conn)
	loaded, err := client.LoadWorkloads(t.Context(), &rendererv1.LoadWorkloadsRequest{Files: []*rendererv1.ScoreFile{{Content: []byte(largeDocument)}}})
	if err != nil {
		t.Fatal(err)
	}
	in := &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: map[string]*structpb.Struct{}}
	for i := range 10_000 {
		name := fmt.Sprintf("api-%04d", i)
		w := proto.CloneOf(loaded.GetWorkloads()["api"])
		w.Fields["metadata"].GetStructValue().Fields["name"] = structpb.NewStringValue(name)
		in.Workloads[name] = w
	}
	out, err := client.Render(t.Context(), &rendererv1.RenderRequest{Input: in})
	if err != nil {
		t.Fatal(err)
	}
	// A Deployment, a Service and a ConfigMap each, and the database that they share.
	if got := len(out.GetBundle().GetFiles()); got != 30_003 {
		t.Errorf("%d objects", got)
	}
}

// What carries an input or a bundle must take more than the largest one, or what is accepted would get stuck.
func TestLimitsFitIntoEachOther(t *testing.T) {
	const besides = 1 << 20 // names, messages, references beside the content
	if events.MaxBody < render.MaxInput+besides || rpc.MaxMessageBytes < render.MaxInput+besides {
		t.Errorf("an input of %d bytes does not fit into a command (%d) or a call (%d)", render.MaxInput, events.MaxBody, rpc.MaxMessageBytes)
	}
	if rpc.MaxAnswerBytes < render.MaxBundle+render.MaxBundle/4 {
		t.Errorf("a bundle of %d bytes with the list of its objects does not fit into an answer (%d)", render.MaxBundle, rpc.MaxAnswerBytes)
	}
}
