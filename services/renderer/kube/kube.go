// Package kube turns one validated Score document into Kubernetes objects: what runs it (a Deployment, or another kind that it asks
// for), a Service, a ConfigMap per container with files, and what the environment's type adds. It is pure: same document, same objects. It knows nothing of resource definitions:
// what placeholders mean and what stands behind a volume is told to it.
//
// Objects are plain maps, because what is not set must not be written: typed structs write status, zero times and empty
// maps, and every such leaf would be drift sooner or later.
package kube

import (
	"fmt"
	"maps"
	"slices"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/origin"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Labels and annotations of Towpath. Selectors are made of LabelName and LabelInstance alone, which never change for a
// workload of an environment: a Deployment's selector is immutable.
const (
	LabelName        = "app.kubernetes.io/name"
	LabelInstance    = "app.kubernetes.io/instance"
	LabelManagedBy   = "app.kubernetes.io/managed-by"
	LabelApplication = "towpath.dev/application"
	LabelEnvironment = "towpath.dev/environment"
	LabelWorkload    = "towpath.dev/workload"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "towpath"
	// AnnotationPrefix begins the annotations of a Score document that are meant for Towpath and not copied to pods.
	AnnotationPrefix = "towpath.dev/"
	// AnnotationKind asks for another kind than Deployment: StatefulSet, DaemonSet, Job or CronJob.
	AnnotationKind = "towpath.dev/kind"
	// AnnotationReplicas says how many replicas the workload has, instead of the environment type's default.
	AnnotationReplicas = "towpath.dev/replicas"
	// AnnotationUser says as which user (a number above 0) the containers run, their files' group included. Kubernetes needs it
	// in a restricted environment for images that name their user by a word or not at all.
	AnnotationUser = "towpath.dev/run-as-user"
	// AnnotationFiles is put on pods: a checksum of the files, so that a changed file rolls the pods.
	AnnotationFiles = "towpath.dev/files-checksum"
	// AnnotationSecrets is put on pods: a checksum of what Git says of the secrets that they read, ciphertexts and places in stores,
	// so that a secret with another value rolls the pods.
	AnnotationSecrets = "towpath.dev/secrets-checksum"
)

// maxReplicas keeps a typing mistake from filling a cluster.
const maxReplicas = 1000

// Volume is what stands behind a volume's source.
type Volume struct {
	// Name is a DNS label, different for different volumes.
	Name string
	// Source is the pod's volume source, such as {"emptyDir": {}}.
	Source map[string]any
	// Exclusive says that only the pods of one node can have it.
	Exclusive bool
	// Claim is the spec of a PersistentVolumeClaim of which each pod gets its own, instead of a Source.
	Claim map[string]any
}

// claim is a volume of which each pod gets its own.
type claim struct {
	spec map[string]any
	// source is the volume's source, where the place in the document that mounts it.
	source, where string
}

// Input is what a workload's objects depend on.
type Input struct {
	// Workload is the name; Doc its canonical, validated document.
	Workload string
	Doc      map[string]any
	Place    Place
	Defaults *rendererv1.EnvironmentDefaults
	// Expand replaces placeholders; the outcome may hold secret references.
	Expand func(text string) (string, error)
	// Volume gives what stands behind an expanded volume source.
	Volume func(source string) (Volume, bool)
	// Routes are the ports of the workload's Service, by name or number, that objects of the environment lead to from outside of it.
	Routes []string
	// Trace marks the leaves of the objects with where they come from; nil marks nothing.
	Trace *origin.Tracer
	// Parts tells what the placeholders of a text stand for, in their order. It is asked only when Trace is set, and may be nil.
	Parts func(text string) []*origin.Origin
	// SecretFiles makes the Secret that holds files with secrets in their text: texts with references by key. The object's metadata
	// has annotations at the most. Its error says why there is no such Secret; without the function nothing makes one.
	SecretFiles func(base string, texts map[string]string) (name string, object map[string]any, err error)
	// SecretVersion gives what changes when a secret is given another value in Git, such as its ciphertext; empty when nothing in Git
	// says so.
	SecretVersion func(definition.Secret) string
}

// Place is where objects belong.
type Place struct {
	Application, Environment, Namespace string
	// Instance is the value of LabelInstance.
	Instance string
	// Labels are the environment type's, for every object.
	Labels map[string]string
}

// labels gives the labels of an object. The workload may be empty.
func (p Place) labels(name, workload string) map[string]any {
	out := map[string]any{}
	for k, v := range p.Labels {
		out[k] = v
	}
	out[LabelName], out[LabelInstance], out[LabelManagedBy] = name, p.Instance, ManagedBy
	out[LabelApplication], out[LabelEnvironment] = p.Application, p.Environment
	if workload != "" {
		out[LabelWorkload] = workload
	}
	return out
}

// Meta makes the metadata of an object.
func (p Place) Meta(object, name, workload string) map[string]any {
	return map[string]any{"name": object, "namespace": p.Namespace, "labels": p.labels(name, workload)}
}

// builder makes the objects of one workload and collects what is wrong.
type builder struct {
	in       Input
	problems Problems
	warnings []string
	volumes  map[string]map[string]any
	// sources tells which volume source a name in volumes stands for.
	sources map[string]string
	// mounted are the paths of the container at hand that have something mounted.
	mounted map[string]bool
	// exclusive says that a volume cannot be in two pods at once, as a rolling update would need it.
	exclusive bool
	objects   []map[string]any
	checksum  []byte
	// kind is what the workload becomes, mainName the name of that object.
	kind, mainName string
	scale          scale
	// claims are volumes of which each pod gets its own, by name.
	claims map[string]claim
	// secrets are the versions of the secrets that the pod reads, of those that have one.
	secrets map[definition.Secret]string
	// marks are the annotations about its sync, which all of its objects get.
	marks map[string]string
}

// Build makes the objects of a workload in a fixed order, and warnings: what a person should know though nothing is wrong.
// Everything that is wrong is in the problems.
func Build(in Input) (objects []map[string]any, warnings []string, problems Problems) {
	b := &builder{in: in, mainName: in.Workload, volumes: map[string]map[string]any{}, sources: map[string]string{}}
	b.settings()
	containers, inits := b.containers()
	b.main(containers, inits)
	b.service()
	b.serviceAccount()
	b.disruptionBudget()
	b.autoscaler()
	b.routePolicy()
	return b.objects, b.warnings, b.problems
}

func (b *builder) annotations() map[string]any {
	return child(child(b.in.Doc, "metadata"), "annotations")
}

func (b *builder) selector() map[string]any {
	out := map[string]any{LabelName: b.in.Workload, LabelInstance: b.in.Place.Instance}
	if b.in.Trace.On() {
		b.in.Place.markLabels(b.in.Trace, out, b.nameOrigin)
	}
	return out
}

func (b *builder) object(apiVersion, kind, name string, body map[string]any) {
	meta := b.marked(b.in.Place.Meta(name, b.in.Workload, b.in.Workload))
	b.in.Place.MarkMeta(b.in.Trace, meta, b.nameOrigin)
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
	if kind == b.kind && b.in.Trace.On() {
		if _, asked := b.asked(AnnotationKind); asked {
			o["kind"] = b.annotated(kind, AnnotationKind)
		}
	}
	maps.Copy(o, body)
	b.objects = append(b.objects, o)
}

func (b *builder) service() {
	ports := b.servicePorts()
	if len(ports) == 0 {
		return
	}
	b.object("v1", "Service", ServiceName(b.in.Workload), map[string]any{"spec": map[string]any{"selector": b.selector(), "ports": ports}})
}

// servicePorts makes the ports of the workload's Service.
func (b *builder) servicePorts() []any {
	var list []any
	for _, p := range Ports(b.in.Doc) {
		at := "service.ports." + p.Name
		port := map[string]any{"name": b.score(p.Name, at), "port": b.score(p.Port, at, "port")}
		if p.Protocol != "TCP" {
			port["protocol"] = b.score(p.Protocol, at, "protocol")
		}
		port["targetPort"] = b.targetPort(p)
		list = append(list, port)
	}
	return list
}

// targetPort gives the port that a program listens on.
func (b *builder) targetPort(p definition.Port) any {
	if p.TargetPort != p.Port {
		return b.score(p.TargetPort, "service.ports", p.Name, "targetPort")
	}
	return b.score(p.TargetPort, "service.ports", p.Name, "port")
}

// ServiceName gives the name of a workload's Service: the workload's, unless that begins with a digit, which the name of a
// Service cannot.
func ServiceName(workload string) string {
	if workload != "" && workload[0] <= '9' {
		return definition.Shorten("w-"+workload, 63)
	}
	return workload
}

// Ports gives the ports of a document's service by name, defaults filled in.
func Ports(doc map[string]any) []definition.Port {
	ports := child(child(doc, "service"), "ports")
	var out []definition.Port
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		p, _ := ports[name].(map[string]any)
		port := definition.Port{Name: name, Protocol: text(p, "protocol")}
		number, _ := p["port"].(float64)
		port.Port, port.TargetPort = int(number), int(number)
		if target, ok := p["targetPort"].(float64); ok {
			port.TargetPort = int(target)
		}
		if port.Protocol == "" {
			port.Protocol = "TCP"
		}
		out = append(out, port)
	}
	return out
}

func (b *builder) warn(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf("workload %s: ", b.in.Workload)+fmt.Sprintf(format, args...))
}

// expand replaces placeholders; what does not resolve is a problem of the place.
func (b *builder) expand(s, where string) string {
	out, err := b.in.Expand(s)
	if err != nil {
		b.problems = append(b.problems, Problem{Reason: errs.ReasonOf(err), Path: b.path(where), Text: err.(*errs.Error).Msg}) //nolint:errorlint,forcetypeassert // Expand's contract
	}
	return out
}

func (b *builder) invalid(where, format string, args ...any) {
	b.problem(errorsv1.Reason_REASON_INVALID_SCORE, where, format, args...)
}

func (b *builder) problem(reason errs.Reason, where, format string, args ...any) {
	b.problems = append(b.problems, Problem{Reason: reason, Path: b.path(where), Text: fmt.Sprintf(format, args...)})
}

func (b *builder) path(where string) string { return "workloads." + b.in.Workload + " " + where }
