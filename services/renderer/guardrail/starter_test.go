package guardrail_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/guardrail"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// pod gives a Deployment with one good container, changed by what a case says of container and pod.
func pod(container, pod string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  template:
    spec:
      automountServiceAccountToken: false
      containers:
      - name: main
        image: registry.example.com/api:1.2
        resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}
        securityContext: {runAsNonRoot: true, readOnlyRootFilesystem: true}
        readinessProbe: {tcpSocket: {port: 80}}
        livenessProbe: {tcpSocket: {port: 80}}
` + indent(container, "        ") + indent(pod, "      ")
}

func indent(text, by string) string {
	if text == "" {
		return ""
	}
	return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n"
}

const inContainer = "spec.template.spec.containers[name=main]."

// Each guardrail of the set refuses what it is there for, at its place, and nothing of a workload as it should be.
func TestTheStarterSetRefusesWhatItIsFor(t *testing.T) {
	second := func(fields string) string {
		return pod("", "initContainers:\n- name: second\n  image: registry.example.com/x:1\n  "+strings.ReplaceAll(fields, "\n", "\n  "))
	}
	cron := "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: main, image: busybox}]}}}}}\n"
	bad := map[string][][2]string{
		"image-version": {{second("image: nginx:latest"), "spec.template.spec.initContainers[name=second].image"}, {second("image: registry.example.com:5000/nginx"), "spec.template.spec.initContainers[name=second].image"},
			{cron, "spec.jobTemplate.spec.template.spec.containers[name=main].image"}},
		"allowed-registries": {{second("image: docker.io/nginx:1"), "spec.template.spec.initContainers[name=second].image"}},
		"resource-limits":    {{second("resources: {limits: {memory: 1Gi}}"), "spec.template.spec.initContainers[name=second].resources.limits.cpu"}},
		"resource-requests":  {{second("resources: {requests: {cpu: 1}}"), "spec.template.spec.initContainers[name=second].resources.requests.memory"}},
		"no-host-namespaces": {{pod("", "hostNetwork: true"), "spec.template.spec.hostNetwork"}, {pod("", "hostPID: true"), "spec.template.spec.hostPID"}, {pod("", "hostIPC: true"), "spec.template.spec.hostIPC"}},
		"no-host-paths":      {{pod("", "volumes: [{name: root, hostPath: {path: /}}]"), "spec.template.spec.volumes[name=root].hostPath"}},
		"no-host-ports":      {{pod("ports: [{containerPort: 80}, {containerPort: 81, hostPort: 81}]", ""), inContainer + "ports[1].hostPort"}},
		"no-privileged":      {{second("securityContext: {privileged: true}"), "spec.template.spec.initContainers[name=second].securityContext.privileged"}},
		"run-as-non-root":    {{second("securityContext: {}"), "spec.template.spec.initContainers[name=second].securityContext.runAsNonRoot"}},
		"read-only-root":     {{second("securityContext: {runAsNonRoot: true}"), "spec.template.spec.initContainers[name=second].securityContext.readOnlyRootFilesystem"}},
		"no-default-token":   {{strings.Replace(pod("", ""), "automountServiceAccountToken: false", "automountServiceAccountToken: true", 1), "spec.template.spec"}},
		"two-replicas": {{strings.Replace(pod("", ""), "replicas: 2", "replicas: 1", 1), "spec.replicas"},
			{"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 3}\n", "spec.minReplicas"}},
		"probes":            {{strings.Replace(pod("", ""), "livenessProbe", "startupProbe", 1), inContainer + "livenessProbe"}},
		"internal-services": {{"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer}\n", "spec.type"}},
		"ingress-tls":       {{"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: s}\nspec: {rules: []}\n", "spec.tls"}},
	}
	set, err := guardrail.Starter()
	if err != nil || guardrail.Check(set) != nil {
		t.Fatal(err, guardrail.Check(set))
	}
	good := []string{pod("", ""), "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n",
		"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: s}\nspec: {tls: [{}]}\n",
		"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {minReplicas: 2}\n",
		strings.Replace(pod("", ""), "  replicas: 2\n", "", 1), strings.Replace(pod("", ""), "api:1.2", "api@sha256:00", 1)}
	for _, text := range good {
		if v := judge(t, set, text); len(v) > 0 {
			t.Errorf("%s\n%v", text, v)
		}
	}
	for _, g := range set {
		cases := bad[g.GetName()]
		if len(cases) == 0 {
			t.Errorf("%s has no case", g.GetName())
		}
		for _, c := range cases {
			if v := judge(t, []*rendererv1.Guardrail{g}, c[0]); len(v) != 1 || v[0].GetPath() != c[1] || v[0].GetMessage() != g.GetMessage() {
				t.Errorf("%s: %v, want the path %s", g.GetName(), v, c[1])
			}
		}
	}
}

func judge(t *testing.T, set []*rendererv1.Guardrail, text string) []*rendererv1.Verdict {
	t.Helper()
	var o struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
	}
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	ref := &rendererv1.ObjectRef{ApiVersion: o.APIVersion, Kind: o.Kind, Name: o.Metadata.Name, File: "o.yaml"}
	got, err := guardrail.Evaluate(t.Context(), request(set...), &rendererv1.Bundle{Files: map[string][]byte{"o.yaml": []byte(text)}, Objects: []*rendererv1.ObjectRef{ref}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
