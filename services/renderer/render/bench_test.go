package render_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const benchWorkload = `apiVersion: score.dev/v1b1
metadata: {name: api-%03d}
service: {ports: {http: {port: 8080}}}
containers:
  main:
    image: ghcr.io/acme/api:1.2.3
    variables:
      LOG_LEVEL: info
      CURRENCY: ${resources.env.CURRENCY}
      DATABASE_URL: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}
    files:
      /etc/api.yaml: {content: "service: ${metadata.name}\nport: 8080\n"}
    livenessProbe: {httpGet: {path: /healthz, port: 8080}}
    readinessProbe: {httpGet: {path: /readyz, port: 8080}}
    resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
resources:
  env: {type: environment}
  db: {type: postgres, id: shop-db}
`

func benchInput(b testing.TB, n int) *rendererv1.RenderInput {
	in := &rendererv1.RenderInput{Application: "shop", Environment: "dev", Namespace: "shop-dev",
		Workloads: map[string]*structpb.Struct{}, Variables: map[string]string{"CURRENCY": "EUR"},
		Defaults: &rendererv1.EnvironmentDefaults{Restricted: true}}
	for i := range n {
		for name, w := range parse(b, fmt.Sprintf(benchWorkload, i)) {
			in.Workloads[name] = w
		}
	}
	return in
}

func benchmarkRender(b *testing.B, n int) {
	in := benchInput(b, n)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := render.Render(in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "workloads/s")
}

func BenchmarkRender1(b *testing.B) { benchmarkRender(b, 1) }

func BenchmarkRender100(b *testing.B) { benchmarkRender(b, 100) }

func BenchmarkRender10000(b *testing.B) { benchmarkRender(b, 10_000) }
