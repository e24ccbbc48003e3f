package kube

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/syncmark"
	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// maxRevisioned is how long the name of a StatefulSet may be: Kubernetes appends a revision of ten characters to it and puts that
// into a label of 63 characters. A longer one is taken by the API server and then never gets a pod.
const maxRevisioned = 52

// scale is how many pods a Deployment or a StatefulSet has.
type scale struct {
	// replicas are the fixed number, or the least one when an autoscaler decides.
	replicas int
	auto     bool
}

// main makes the object that runs the workload.
func (b *builder) main(containers, inits []any) {
	template := b.template(containers, inits)
	switch b.kind {
	case kindStatefulSet:
		b.statefulSet(template)
	case kindDaemonSet:
		b.daemonSet(template)
	case kindJob:
		b.job(template)
	case kindCronJob:
		b.cronJob(template)
	default:
		b.deployment(template)
	}
	if b.kind != kindStatefulSet {
		for _, name := range slices.Sorted(maps.Keys(b.claims)) {
			b.invalid(b.claims[name].where, "is a claim for each pod, which only a StatefulSet can have: set %s to StatefulSet, or give the volume the param perPod: false", AnnotationKind)
		}
	}
}

func (b *builder) deployment(template map[string]any) {
	spec := map[string]any{"selector": map[string]any{"matchLabels": b.selector()}, "template": template}
	b.scaleInto(spec)
	if b.exclusive {
		spec["strategy"] = b.rule(map[string]any{"type": "Recreate"}, "a volume that one node alone can mount keeps a new pod from starting beside an old one")
	}
	b.object("apps/v1", kindDeployment, b.in.Workload, map[string]any{"spec": spec})
}

func (b *builder) statefulSet(template map[string]any) {
	headless := definition.Shorten(ServiceName(b.in.Workload)+"-pods", 63)
	spec := map[string]any{
		"selector": map[string]any{"matchLabels": b.selector()}, "template": template,
		"serviceName": b.rule(headless, "a headless Service gives each pod a name of its own"),
	}
	b.scaleInto(spec)
	var templates []any
	for _, name := range slices.Sorted(maps.Keys(b.claims)) {
		c := b.claims[name]
		templates = append(templates, map[string]any{"metadata": map[string]any{"name": b.score(name, c.where)}, "spec": b.made(c.spec, c.source, "claimSpec")})
	}
	if len(templates) > 0 {
		spec["volumeClaimTemplates"] = templates
	}
	b.mainName = definition.Shorten(b.in.Workload, maxRevisioned)
	b.object("apps/v1", kindStatefulSet, b.mainName, map[string]any{"spec": spec})
	service := map[string]any{"clusterIP": "None", "publishNotReadyAddresses": true, "selector": b.selector()}
	if ports := b.servicePorts(); len(ports) > 0 {
		service["ports"] = ports
	}
	b.object("v1", "Service", headless, map[string]any{"spec": service})
}

func (b *builder) daemonSet(template map[string]any) {
	if b.exclusive {
		b.warn("runs on every node and mounts a ReadWriteOnce volume: pods on different nodes cannot all mount it")
	}
	b.object("apps/v1", kindDaemonSet, b.in.Workload, map[string]any{"spec": map[string]any{
		"selector": map[string]any{"matchLabels": b.selector()}, "template": template,
	}})
}

// scaleInto decides how many pods there are. An autoscaler's number is not written: the next apply would take it back, and drift
// would report what the autoscaler does.
func (b *builder) scaleInto(spec map[string]any) {
	asked, given := b.asked(AnnotationReplicas)
	auto := b.in.Defaults.GetAutoscaling()
	switch {
	case given:
		b.count(spec, "replicas", AnnotationReplicas, 0, maxReplicas)
		b.scale.replicas, _ = strconv.Atoi(asked)
	case auto != nil && !b.exclusive:
		b.scale = scale{replicas: leastReplicas(b.in.Defaults), auto: true}
		return
	default:
		n := int(b.in.Defaults.GetReplicas())
		b.scale.replicas = max(n, 1)
		spec["replicas"] = b.scale.replicas
		if n > 0 {
			spec["replicas"] = b.ofType(n, "replicas", "")
		}
		if auto != nil {
			b.warn("is not scaled by its use: its volume is one that the pods of one node alone can mount")
		}
	}
	if b.exclusive && b.scale.replicas > 1 {
		b.warn("has %d replicas that share a ReadWriteOnce volume: pods on different nodes cannot all mount it", b.scale.replicas)
	}
}

// template makes what a pod is made of.
func (b *builder) template(containers, inits []any) map[string]any {
	pod := map[string]any{
		"automountServiceAccountToken": b.rule(false, "a program that does not talk to Kubernetes needs no token for it"),
		"enableServiceLinks":           b.rule(false, "variables for every Service of the namespace would depend on the order in which pods start"),
		"containers":                   containers,
	}
	if len(inits) > 0 {
		pod["initContainers"] = inits
	}
	if len(b.volumes) > 0 {
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(b.volumes)) {
			if source, ok := b.sources[name]; ok {
				list = append(list, b.made(b.volumes[name], source, "source"))
				continue
			}
			list = append(list, b.volumes[name])
		}
		pod["volumes"] = list
	}
	if security := b.podSecurity(); len(security) > 0 {
		pod["securityContext"] = security
	}
	b.seconds(pod, "terminationGracePeriodSeconds", AnnotationGracePeriod)
	b.account(pod)
	labels := b.in.Place.labels(b.in.Workload, b.in.Workload)
	for k := range b.in.Place.Labels {
		delete(labels, k) // a changed label of the environment type must not restart every pod
	}
	if b.in.Trace.On() {
		b.in.Place.markLabels(b.in.Trace, labels, b.nameOrigin)
	}
	meta := map[string]any{"labels": labels}
	if annotations := b.podAnnotations(); len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	return map[string]any{"metadata": meta, "spec": pod}
}

// podSecurity makes the pod's security context: what the environment type asks for, and the user that the document names.
func (b *builder) podSecurity() map[string]any {
	out := map[string]any{}
	if b.in.Defaults.GetRestricted() {
		out["runAsNonRoot"] = b.ofType(true, "restricted", "")
		out["seccompProfile"] = b.ofType(map[string]any{"type": "RuntimeDefault"}, "restricted", "")
	}
	asked, given := b.asked(AnnotationUser)
	if !given || asked == "" {
		return out
	}
	user, err := strconv.ParseUint(asked, 10, 31)
	if err != nil || user == 0 {
		b.wrong(AnnotationUser, "%q is not a user: expected a whole number from 1 to 2147483647", asked)
	}
	for _, key := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
		out[key] = b.annotated(int64(user), AnnotationUser)
	}
	return out
}

// podAnnotations copies the document's annotations, but not those that speak to Towpath.
func (b *builder) podAnnotations() map[string]any {
	out := map[string]any{}
	for k, v := range b.annotations() {
		if (!strings.HasPrefix(k, AnnotationPrefix) || k == AnnotationRun) && !syncmark.Known(k) {
			out[k] = b.annotated(v, k)
		}
	}
	if b.checksum != nil {
		out[AnnotationFiles] = b.rule(fmt.Sprintf("%x", b.checksum), "a changed file makes new pods")
	}
	if len(b.secrets) > 0 {
		out[AnnotationSecrets] = b.rule(b.secretsChecksum(), "a secret with another value in Git makes new pods")
	}
	return out
}
