package guardrail_test

import (
	"testing"

	"github.com/towpath-dev/towpath/services/renderer/guardrail"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const podsYAML = `apiVersion: apps/v1
kind: Deployment
metadata: {name: api, labels: {team: shop, example.com/tier: "1"}}
spec:
  replicas: 1
  template:
    spec:
      initContainers:
      - {name: setup, image: "busybox:latest"}
      containers:
      - {name: api, image: "api:1.2", ports: [{containerPort: 80}, {containerPort: 8080}]}
      - {name: proxy, image: "proxy:latest", securityContext: {privileged: true}}
      volumes:
      - {name: data, emptyDir: {}}
      - {name: host, hostPath: {path: /}}
`

// The place is where a person has to change something.
func TestAVerdictNamesThePlace(t *testing.T) {
	const containers = "object.spec.template.spec.containers"
	bundle := &rendererv1.Bundle{Files: map[string][]byte{"d.yaml": []byte(podsYAML)},
		Objects: []*rendererv1.ObjectRef{{ApiVersion: "apps/v1", Kind: "Deployment", Name: "api", File: "d.yaml"}}}
	both := &rendererv1.NamedExpression{Name: "all", Expression: containers + " + object.spec.template.spec.?initContainers.orValue([])"}
	some := &rendererv1.NamedExpression{Name: "latest", Expression: "variables.all.filter(c, c.image.endsWith(':latest'))"}
	for expression, want := range map[string]string{
		"object.spec.replicas >= 2": "spec.replicas",
		"deployment.environment_type != 'production' || object.spec.replicas >= 2":                             "spec.replicas",
		"object.kind != 'Deployment' || object.spec.replicas >= 2":                                             "spec.replicas",
		"has(object.spec.template) && object.spec.replicas > 0 && has(object.spec.template.spec.nodeSelector)": "spec.template.spec.nodeSelector",
		containers + ".all(c, !c.image.endsWith(':latest'))":                                                   "spec.template.spec.containers[name=proxy].image",
		"!" + containers + ".exists(c, c.image.endsWith(':latest'))":                                           "spec.template.spec.containers[name=proxy].image",
		containers + ".all(c, !has(c.securityContext) || c.securityContext.privileged == false)":               "spec.template.spec.containers[name=proxy].securityContext",
		containers + ".all(c, c.?resources.?limits.?memory.hasValue())":                                        "spec.template.spec.containers[name=api].resources.limits.memory",
		containers + ".all(c, c.?ports.orValue([]).all(p, p.containerPort > 1024))":                            "spec.template.spec.containers[name=api].ports[0].containerPort",
		"object.spec.template.spec.volumes.all(v, !has(v.hostPath))":                                           "spec.template.spec.volumes[name=host].hostPath",
		"variables.all.all(c, c.name == 'api' || c.name == 'proxy')":                                           "spec.template.spec.initContainers[name=setup].name",
		"variables.latest.all(c, c.name == 'setup')":                                                           "spec.template.spec.containers[name=proxy].name",
		"size(variables.latest) == 0":                                                                          "spec.template.spec",
		"'owner' in object.metadata.labels":                                                                    "metadata.labels",
		"object.metadata.labels.all(k, k == 'team')":                                                           `metadata.labels["example.com/tier"]`,
		"object.metadata.labels['example.com/tier'] == '2'":                                                    `metadata.labels["example.com/tier"]`,
		containers + "[1].image == 'x'":                                                                        "spec.template.spec.containers[1].image",
		"object.spec.nope > 1":                                                                                 "spec.nope",
		"object.spec.replicas > 1 ? true : object.metadata.name == 'x'":                                        "metadata.name",
		"deployment.kind == 'ROLLBACK'":                                                                        "",
		"false":                                                                                                "",
	} {
		g := rule("rule", expression)
		g.Variables = []*rendererv1.NamedExpression{both, some}
		got, err := guardrail.Evaluate(t.Context(), request(g), bundle)
		if err != nil || len(got) != 1 || got[0].GetPath() != want {
			t.Errorf("%s: got %v, want the path %q (%v)", expression, got, want, err)
		}
	}
}
