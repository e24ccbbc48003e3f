package kube

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/origin"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// AccountName gives the name of a workload's ServiceAccount: the workload's, but every namespace has an account "default" that is not
// ours.
func AccountName(workload string) string {
	if workload == "default" {
		return "workload-default"
	}
	return workload
}

// account puts into a pod which account it runs as, and with which secrets its images are pulled.
func (b *builder) account(pod map[string]any) {
	if rules := b.in.Defaults.GetServiceAccount(); rules != nil {
		pod["serviceAccountName"] = b.ofType(AccountName(b.in.Workload), "service_account", "an account for each workload")
		if rules.GetMountToken() {
			pod["automountServiceAccountToken"] = b.ofType(true, "service_account.mount_token", "")
		}
	}
	var secrets []any
	for i, name := range b.in.Defaults.GetImagePullSecrets() {
		secrets = append(secrets, b.ofType(map[string]any{"name": name}, "image_pull_secrets."+strconv.Itoa(i), ""))
	}
	if len(secrets) > 0 {
		pod["imagePullSecrets"] = secrets
	}
}

func (b *builder) serviceAccount() {
	rules := b.in.Defaults.GetServiceAccount()
	if rules == nil {
		return
	}
	b.object("v1", "ServiceAccount", AccountName(b.in.Workload), map[string]any{
		"automountServiceAccountToken": b.ofType(rules.GetMountToken(), "service_account.mount_token", ""),
	})
	if len(rules.GetAnnotations()) > 0 {
		annotations := map[string]any{}
		for k, v := range rules.GetAnnotations() {
			annotations[k] = b.ofType(v, "service_account.annotations."+escape(k), "")
		}
		meta, _ := b.objects[len(b.objects)-1]["metadata"].(map[string]any)
		meta["annotations"] = annotations
	}
}

// disruptionBudget keeps pods running while nodes are drained. One pod alone gets none: its budget would either mean nothing or keep
// the node from ever being drained.
func (b *builder) disruptionBudget() {
	rules := b.in.Defaults.GetDisruptionBudget()
	if rules == nil || !slices.Contains(scalable, b.kind) || b.scale.replicas < 2 && !(b.scale.auto && b.in.Defaults.GetAutoscaling().GetMaxReplicas() > 1) {
		return
	}
	spec := map[string]any{
		"selector":                   map[string]any{"matchLabels": b.selector()},
		"unhealthyPodEvictionPolicy": b.rule("AlwaysAllow", "a pod that is not ready does not keep a node from being drained"),
	}
	switch away := rules.GetMaxUnavailable(); {
	case away == "":
		spec["maxUnavailable"] = b.ofType(1, "disruption_budget", "")
	case strings.HasSuffix(away, "%"):
		spec["maxUnavailable"] = b.ofType(away, "disruption_budget.max_unavailable", "")
	default:
		n, _ := strconv.Atoi(away) // CheckDefaults has seen to it
		spec["maxUnavailable"] = b.ofType(n, "disruption_budget.max_unavailable", "")
	}
	b.object("policy/v1", "PodDisruptionBudget", b.in.Workload, map[string]any{"spec": spec})
}

func (b *builder) autoscaler() {
	rules := b.in.Defaults.GetAutoscaling()
	if !b.scale.auto {
		return
	}
	field := "replicas"
	if rules.GetMinReplicas() > 0 {
		field = "autoscaling.min_replicas"
	}
	cpu, memory := int(rules.GetCpuPercent()), int(rules.GetMemoryPercent())
	if cpu == 0 && memory == 0 {
		cpu = 80
	}
	var metrics []any
	if cpu > 0 {
		metrics = append(metrics, b.metric("cpu", cpu, "autoscaling.cpu_percent"))
	}
	if memory > 0 {
		metrics = append(metrics, b.metric("memory", memory, "autoscaling.memory_percent"))
	}
	b.object("autoscaling/v2", "HorizontalPodAutoscaler", b.in.Workload, map[string]any{"spec": map[string]any{
		"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": b.kind, "name": b.score(b.mainName, "metadata.name")},
		"minReplicas":    b.ofType(b.scale.replicas, field, ""),
		"maxReplicas":    b.ofType(int(rules.GetMaxReplicas()), "autoscaling.max_replicas", ""),
		"metrics":        metrics,
	}})
}

// metric aims at a use of what is requested; a container that requests nothing would keep the autoscaler from ever acting.
func (b *builder) metric(resource string, percent int, field string) any {
	all := child(b.in.Doc, "containers")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		own := child(child(all, name), "resources")
		if text(child(own, "requests"), resource) == "" && text(child(own, "limits"), resource) == "" &&
			defaultOf(b.in.Defaults.GetRequests(), resource) == "" && defaultOf(b.in.Defaults.GetLimits(), resource) == "" {
			b.warn("cannot be scaled by its use of %s: containers.%s requests none; add containers.%s.resources.requests.%s", resource, name, name, resource)
		}
	}
	return b.ofType(map[string]any{"type": "Resource", "resource": map[string]any{
		"name": resource, "target": map[string]any{"type": "Utilization", "averageUtilization": percent},
	}}, field, "")
}

// compute makes requests and limits: the document's, and the environment type's where it names none. Score writes a thousand as K,
// Kubernetes as k.
func (b *builder) compute(own map[string]any, where string) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"limits", "requests"} {
		amounts := map[string]any{}
		for name, v := range child(own, key) {
			amount, _ := v.(string)
			amounts[name] = b.score(thousands(amount), where, key, name)
		}
		b.defaultAmounts(amounts, own, key)
		if len(amounts) > 0 {
			out[key] = amounts
		}
	}
	return out
}

// defaultAmounts adds what the environment type says. A default must not make a document invalid: it never requests more than the
// document's limit, and never limits to less than what the document requests.
func (b *builder) defaultAmounts(amounts, own map[string]any, key string) {
	defaults, other := b.in.Defaults.GetLimits(), "requests"
	if key == "requests" {
		defaults, other = b.in.Defaults.GetRequests(), "limits"
	}
	if defaults == nil {
		return
	}
	for _, name := range []string{"cpu", "memory"} {
		given := defaultOf(defaults, name)
		if _, named := amounts[name]; named || given == "" {
			continue
		}
		field, note := key+"."+name, ""
		switch theirs := text(child(own, other), name); {
		case key == "requests" && larger(given, theirs):
			given, note = theirs, "the default, "+given+", is more than the limit that the workload names"
		case key == "limits" && larger(theirs, given):
			given, note = theirs, "the default, "+given+", is less than what the workload requests"
		}
		amounts[name] = b.ofType(thousands(given), field, note)
	}
}

func defaultOf(a *rendererv1.ComputeAmounts, name string) string {
	if name == "cpu" {
		return a.GetCpu()
	}
	return a.GetMemory()
}

func thousands(amount string) string {
	if number, ok := strings.CutSuffix(amount, "K"); ok {
		return number + "k"
	}
	return amount
}

// policyName is the name of the NetworkPolicy for all pods of an environment.
const policyName = "towpath-environment"

// Environment makes what an environment's type adds once for all workloads of the environment: who may reach the pods, and where they
// may go. Pods of what resource definitions make are held to it as well.
func Environment(place Place, defaults *rendererv1.EnvironmentDefaults, t *origin.Tracer) []map[string]any {
	rules := defaults.GetNetwork()
	if !rules.GetIsolate() && len(rules.GetEgressCidrs()) == 0 {
		return nil
	}
	same := func() map[string]any { return map[string]any{"podSelector": map[string]any{}} }
	spec, types := map[string]any{"podSelector": map[string]any{}}, []any{}
	if rules.GetIsolate() {
		types = append(types, "Ingress")
		spec["ingress"] = markType(t, []any{map[string]any{"from": []any{same()}}}, "network.isolate", "pods of the same namespace may come in")
	}
	if cidrs := rules.GetEgressCidrs(); len(cidrs) > 0 {
		types = append(types, "Egress")
		to := []any{}
		for i, cidr := range cidrs {
			to = append(to, markType(t, map[string]any{"ipBlock": map[string]any{"cidr": cidr}}, "network.egress_cidrs."+strconv.Itoa(i), ""))
		}
		dns := []any{map[string]any{"port": 53, "protocol": "UDP"}, map[string]any{"port": 53, "protocol": "TCP"}}
		spec["egress"] = markType(t, []any{
			map[string]any{"to": []any{same()}},
			map[string]any{"to": []any{map[string]any{"namespaceSelector": map[string]any{}}}, "ports": dns},
			map[string]any{"to": to},
		}, "network.egress_cidrs", "pods may go to the same namespace, to DNS, and to these ranges")
	}
	spec["policyTypes"] = markType(t, types, "network", "")
	meta := place.Meta(policyName, policyName, "")
	place.MarkMeta(t, meta, nil)
	return []map[string]any{{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}}
}

// routePolicy lets in what comes by a route, where nobody but the environment's own pods may come in else.
func (b *builder) routePolicy() {
	rules := b.in.Defaults.GetNetwork()
	if !rules.GetIsolate() || len(b.in.Routes) == 0 {
		return
	}
	var ports []any
	seen := map[string]bool{}
	for _, p := range Ports(b.in.Doc) {
		if !slices.Contains(b.in.Routes, p.Name) && !slices.Contains(b.in.Routes, strconv.Itoa(p.Port)) {
			continue
		}
		if key := p.Protocol + strconv.Itoa(p.TargetPort); !seen[key] {
			seen[key] = true
			ports = append(ports, b.because(map[string]any{"port": b.targetPort(p), "protocol": p.Protocol}, "a route leads here", "service.ports", p.Name))
		}
	}
	if len(ports) == 0 {
		return
	}
	rule := map[string]any{"ports": ports}
	var from []any
	for i, ns := range rules.GetIngressNamespaces() {
		from = append(from, b.ofType(map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": ns}}},
			"network.ingress_namespaces."+strconv.Itoa(i), ""))
	}
	if len(from) > 0 {
		rule["from"] = from
	}
	b.object("networking.k8s.io/v1", "NetworkPolicy", b.in.Workload, map[string]any{"spec": map[string]any{
		"podSelector": map[string]any{"matchLabels": b.selector()},
		"policyTypes": b.ofType([]any{"Ingress"}, "network.isolate", ""),
		"ingress":     []any{rule},
	}})
}
