package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The names of the allow rules, as Finding.Rule has them.
const (
	ruleReplicas   = "autoscaler"
	ruleResources  = "vertical-autoscaler"
	ruleAggregated = "aggregated-role"
	ruleCABundle   = "ca-injector"
	ruleAllocated  = "server-allocated"
	ruleController = "controller-annotation"
	ruleFinalizer  = "controller-finalizer"
	ruleEngine     = "engine-mark"
)

// systemManagers are the control plane's own field managers.
var systemManagers = []string{"kube-controller-manager", "kube-scheduler", "cloud-controller-manager", "kube-apiserver"}

// allocated lists by kind what the API server fills in by itself and nobody needs to declare; it leaves no owner. A "[*]"
// stands for one item.
var allocated = map[string][]string{
	"/Service": {"spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy", "spec.healthCheckNodePort", "spec.ports[*].nodePort",
		"metadata.finalizers[=service.kubernetes.io/load-balancer-cleanup]"},
	"/Pod":                      {"spec.nodeName"}, // by the scheduler's binding, which leaves no owner
	"/PersistentVolumeClaim":    {"spec.storageClassName", "metadata.finalizers[=kubernetes.io/pvc-protection]"},
	"/PersistentVolume":         {"metadata.finalizers[=kubernetes.io/pv-protection]"},
	"/Namespace":                {"spec.finalizers"},
	"networking.k8s.io/Ingress": {"spec.ingressClassName"},
	"batch/Job": {"spec.selector", "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]", "spec.template.metadata.labels[batch.kubernetes.io/job-name]",
		"spec.template.metadata.labels[controller-uid]", "spec.template.metadata.labels[job-name]",
		"metadata.labels[batch.kubernetes.io/controller-uid]", "metadata.labels[batch.kubernetes.io/job-name]", "metadata.labels[controller-uid]", "metadata.labels[job-name]",
		"metadata.annotations[batch.kubernetes.io/job-tracking]"},
}

// bound lists by kind what controllers of the control plane fill in, who own it by name.
var bound = map[string][]string{
	"/Service":               {"metadata.finalizers[=service.kubernetes.io/load-balancer-cleanup]"},
	"/PersistentVolumeClaim": {"spec.volumeName", "metadata.finalizers[=kubernetes.io/pvc-protection]"},
	"/PersistentVolume":      {"spec.claimRef", "metadata.finalizers[=kubernetes.io/pv-protection]"},
	"/ServiceAccount":        {"secrets[*]", "secrets[*].name"},
}

// tokenData are the keys that the token controller writes into a Secret of type kubernetes.io/service-account-token.
var tokenData = []string{"data[ca.crt]", "data[namespace]", "data[token]", "metadata.annotations[kubernetes.io/service-account.uid]"}

// controllerAnnotations may be set by these managers; nil means that the API server computes the value, whoever writes.
var controllerAnnotations = map[string][]string{
	"deployment.kubernetes.io/revision":                systemManagers,
	"deprecated.daemonset.template.generation":         nil,
	"pv.kubernetes.io/bind-completed":                  systemManagers,
	"pv.kubernetes.io/bound-by-controller":             systemManagers,
	"volume.kubernetes.io/storage-provisioner":         systemManagers,
	"volume.beta.kubernetes.io/storage-provisioner":    systemManagers,
	"volume.kubernetes.io/selected-node":               systemManagers,
	"endpoints.kubernetes.io/last-change-trigger-time": systemManagers,
}

// injectors are who may write a caBundle, by the annotation on the object that asks for it.
var injectors = map[string][]string{
	"cert-manager.io/inject-ca-from":             {"cert-manager-cainjector", "cainjector"},
	"cert-manager.io/inject-ca-from-secret":      {"cert-manager-cainjector", "cainjector"},
	"cert-manager.io/inject-apiserver-ca":        {"cert-manager-cainjector", "cainjector"},
	"service.beta.openshift.io/inject-cabundle":  {"service-ca-operator"},
	"service.alpha.openshift.io/inject-cabundle": {"service-ca-operator"},
}

// engineMarks prefix the labels and annotations that a sync engine puts on everything it applies.
var engineMarks = []string{"towpath.dev/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "argocd.argoproj.io/", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"}

// allowed says which rule entitles the owners to the place where the walk stands, and by which evidence; empty for none.
// Whoever is not named in a rule is drift: no rule goes by what a manager's name looks like alone.
func (w *walker) allowed(l any, own ownership) (rule, note string) {
	path := render(w.path)
	last := w.path[len(w.path)-1]
	switch {
	case path == "spec.replicas":
		return w.scaled(l, own)
	case last.name == "caBundle":
		return w.injected(own)
	case w.isAggregated() && own.onlyForeign(aggregators):
		return ruleAggregated, "the cluster collects the rules that the aggregationRule selects"
	case last.kind == keyStep && (last.name == "cpu" || last.name == "memory"):
		return w.sized(l, last.name, own)
	case w.isAllocated(path, own) && !slices.ContainsFunc(own.ours, (*owner).applied):
		return ruleAllocated, "the API server or its controllers set it"
	case strings.HasPrefix(path, "metadata.finalizers[="):
		return w.finalizer(last, own)
	case len(w.path) == 3 && w.path[0].name == "metadata" && last.kind == keyStep:
		if who, ok := controllerAnnotations[last.name]; ok && w.path[1].name == "annotations" {
			if who == nil || len(own.foreign) > 0 && onlyFrom(own.foreign, who) {
				return ruleController, "its controller keeps it"
			}
		} else if w.path[1].name == "annotations" && strings.Contains(last.name, "/") && w.writeStatus(own.foreign) {
			return ruleController, "its manager also writes the status"
		}
		if len(own.foreign)+len(own.era) == 0 && len(own.ours) > 0 && slices.ContainsFunc(engineMarks, func(p string) bool { return strings.HasPrefix(last.name, p) }) {
			return ruleEngine, "the sync engine marks its objects"
		}
	}
	return "", ""
}

// scaled allows replicas when they came through the scale subresource and an autoscaler has this object as its target and
// the value in its range. A person's "kubectl scale" without an autoscaler is drift.
func (w *walker) scaled(l any, own ownership) (rule, note string) {
	n, ok := number(l)
	if !ok || len(own.foreign) == 0 && !own.nobody() || slices.ContainsFunc(own.foreign, func(o *owner) bool { return o.subresource != "scale" }) {
		return "", ""
	}
	for _, a := range w.evidence.Autoscalers {
		if a.TargetKind == w.kind.gvk.Kind && a.TargetName == w.name && n >= float64(a.Min) && n <= float64(a.Max) {
			return ruleReplicas, fmt.Sprintf("%s scales it between %d and %d", a.Name, a.Min, a.Max)
		}
	}
	return "", ""
}

// nobody says that the place has no owner. So it is with replicas that were once scaled to none: a Scale of zero has no field for
// them, and the API server forgets who scales from then on.
func (o ownership) nobody() bool { return len(o.foreign)+len(o.era)+len(o.ours) == 0 }

// aggregators write the rules of a ClusterRole that has an aggregationRule.
var aggregators = []string{"clusterrole-aggregation-controller", "kube-controller-manager"}

// isAggregated says that the walk stands at the rules of a ClusterRole that the control plane fills in.
func (w *walker) isAggregated() bool {
	rule, _ := w.live["aggregationRule"].(map[string]any)
	return len(rule) > 0 && w.path[0].name == "rules" && w.kind.gvk.Kind == "ClusterRole" && w.kind.gvk.Group == "rbac.authorization.k8s.io"
}

// verticalManagers are the programs of the vertical pod autoscaler.
var verticalManagers = []string{"vpa-updater", "vpa-admission-controller", "updater", "admission-controller"}

// sized allows what a container asks for, when a program of the vertical pod autoscaler wrote it, one of those targets this
// object, does not leave the container alone, and the value is in its range. Upstream's changes pods and never what made them, so
// on a Deployment somebody else's change is drift also where there is one.
func (w *walker) sized(l any, what string, own ownership) (rule, note string) {
	container := w.containerHere()
	if container == "" || !own.onlyForeign(verticalManagers) {
		return "", ""
	}
	best := (*VerticalAutoscaler)(nil)
	for i := range w.evidence.Verticals {
		v := &w.evidence.Verticals[i]
		if v.TargetKind != w.kind.gvk.Kind || v.TargetName != w.name || v.Container != "*" && v.Container != container {
			continue
		}
		if best == nil || best.Container == "*" {
			best = v
		}
	}
	if best == nil || best.Off {
		return "", ""
	}
	low, high := best.MinCPU, best.MaxCPU
	if what == "memory" {
		low, high = best.MinMemory, best.MaxMemory
	}
	if !quantityWithin(l, low, high) {
		return "", ""
	}
	return ruleResources, best.Name + " sizes container " + container
}

// containerHere gives the container in whose resources the walk stands; empty when it stands elsewhere.
func (w *walker) containerHere() string {
	if len(w.path) < 5 || w.path[len(w.path)-3].name != "resources" {
		return ""
	}
	item := w.path[len(w.path)-4]
	m, ok := item.item.(map[string]any)
	if !ok || item.kind != itemStep {
		return ""
	}
	name, _ := m["name"].(string)
	return name
}

func (w *walker) injected(own ownership) (rule, note string) {
	annotations, _ := w.liveMeta["annotations"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(injectors)) {
		if _, asked := annotations[name]; asked && len(own.foreign) > 0 && onlyFrom(own.foreign, injectors[name]) {
			return ruleCABundle, "the object asks for it with " + name
		}
	}
	return "", ""
}

// finalizer allows a finalizer of a controller: somebody who also writes this object's status, which people do not.
func (w *walker) finalizer(last step, own ownership) (rule, note string) {
	name, _ := last.item.(string)
	if !strings.Contains(name, "/") || !w.writeStatus(own.foreign) {
		return "", ""
	}
	return ruleFinalizer, "its manager also writes the status"
}

// writeStatus says that all of these owners also write the status of this object, as its controller does and people do not.
func (w *walker) writeStatus(owners []*owner) bool {
	return len(owners) > 0 && !slices.ContainsFunc(owners, func(f *owner) bool {
		return !slices.ContainsFunc(w.owners, func(o owner) bool { return o.subresource == "status" && o.manager == f.manager })
	})
}

// onlyForeign says that somebody foreign owns the place and all of them are among the named.
func (o ownership) onlyForeign(names []string) bool {
	return len(o.foreign) > 0 && onlyFrom(o.foreign, names)
}

func (w *walker) isAllocated(path string, own ownership) bool {
	listed := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return matchesItem(pattern, path) })
	}
	name := w.kind.gvk.Group + "/" + w.kind.gvk.Kind
	if len(own.foreign) == 0 && (listed(allocated[name]) || name == "/Pod" && isTokenVolume(path)) {
		return true
	}
	if !onlyFrom(own.foreign, systemManagers) {
		return false
	}
	return listed(bound[name]) || name == "/Secret" && w.live["type"] == "kubernetes.io/service-account-token" && listed(tokenData)
}

// isTokenVolume says that a place of a Pod is the volume of its service account's token, which admission adds under a random name.
func isTokenVolume(path string) bool {
	return strings.HasPrefix(path, "spec.volumes[name=kube-api-access-") ||
		strings.Contains(path, ".volumeMounts[mountPath=/var/run/secrets/kubernetes.io/serviceaccount]")
}

// matchesItem compares a path with a pattern that may hold one "[*]".
func matchesItem(pattern, path string) bool {
	head, tail, wild := strings.Cut(pattern, "[*]")
	if !wild {
		return pattern == path
	}
	return strings.HasPrefix(path, head+"[") && strings.HasSuffix(path, "]"+tail) && len(path) > len(head)+len(tail)+1
}

func onlyFrom(owners []*owner, names []string) bool {
	return !slices.ContainsFunc(owners, func(o *owner) bool { return !slices.Contains(names, o.manager) })
}
