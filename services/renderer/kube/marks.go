package kube

import (
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/origin"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// The functions here mark values with their origin. Each gives the value itself when nothing is traced, and joins the parts of a
// path only when something is: rendering without tracing pays a comparison for each.

// score marks what stands in the workload's document at a path, given in parts.
func (b *builder) score(v any, path ...string) any {
	if b.in.Trace == nil {
		return v
	}
	return b.markScore(v, "", strings.Join(path, "."))
}

// scoreText marks what a text of the document became when its placeholders were replaced.
func (b *builder) scoreText(v any, written string, path ...string) any {
	if b.in.Trace == nil {
		return v
	}
	return b.markScore(v, written, strings.Join(path, "."))
}

func (b *builder) markScore(v any, written, path string) any {
	return b.in.Trace.Mark(v, func() *origin.Origin {
		o := &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: b.in.Workload, Path: path}
		if written != "" && b.in.Parts != nil {
			o.Parts = b.in.Parts(written)
		}
		return o
	})
}

// because marks what stands in the document with a sentence about what became of it.
func (b *builder) because(v any, note string, path ...string) any {
	if b.in.Trace == nil {
		return v
	}
	joined := strings.Join(path, ".")
	return b.in.Trace.Mark(v, func() *origin.Origin {
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: b.in.Workload, Path: joined, Note: note}
	})
}

// annotated marks what one of the document's annotations says.
func (b *builder) annotated(v any, annotation string) any {
	if b.in.Trace == nil {
		return v
	}
	return b.markScore(v, "", annotationPath(annotation))
}

// ofType marks what a field of the environment type's defaults says.
func (b *builder) ofType(v any, field, note string) any { return markType(b.in.Trace, v, field, note) }

// rule marks a rule of Towpath's own that deserves a sentence.
func (b *builder) rule(v any, note string) any {
	return mark(b.in.Trace, v, rendererv1.Origin_SOURCE_TOWPATH, "", note)
}

// made marks what an output of a resource says.
func (b *builder) made(v any, resource, output string) any {
	if b.in.Trace == nil {
		return v
	}
	return b.in.Trace.Mark(v, func() *origin.Origin {
		return &origin.Origin{Source: rendererv1.Origin_SOURCE_RESOURCE_OUTPUT, Resource: resource, Path: output}
	})
}

func markType(t *origin.Tracer, v any, field, note string) any {
	return mark(t, v, rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE, field, note)
}

func mark(t *origin.Tracer, v any, source rendererv1.Origin_Source, path, note string) any {
	if t == nil {
		return v
	}
	return t.Mark(v, func() *origin.Origin { return &origin.Origin{Source: source, Path: path, Note: note} })
}

// MarkMeta marks metadata that Meta has made: the names of application, environment and namespace, and the environment type's labels.
// name gives the origin of what the object is called after.
func (p Place) MarkMeta(t *origin.Tracer, meta map[string]any, name func() *origin.Origin) {
	if !t.On() {
		return
	}
	meta["namespace"] = mark(t, meta["namespace"], rendererv1.Origin_SOURCE_ENVIRONMENT, "namespace", "")
	if name != nil {
		meta["name"] = t.Mark(meta["name"], name)
	}
	labels, _ := meta["labels"].(map[string]any)
	p.markLabels(t, labels, name)
}

func (p Place) markLabels(t *origin.Tracer, labels map[string]any, name func() *origin.Origin) {
	for k, v := range labels {
		switch k {
		case LabelName, LabelWorkload:
			if name != nil {
				labels[k] = t.Mark(v, name)
			}
		case LabelInstance:
			labels[k] = mark(t, v, rendererv1.Origin_SOURCE_ENVIRONMENT, "name", "made of application and environment")
		case LabelApplication:
			labels[k] = mark(t, v, rendererv1.Origin_SOURCE_ENVIRONMENT, "application", "")
		case LabelEnvironment:
			labels[k] = mark(t, v, rendererv1.Origin_SOURCE_ENVIRONMENT, "environment", "")
		default:
			if _, given := p.Labels[k]; given {
				labels[k] = markType(t, v, "labels."+escape(k), "")
			}
		}
	}
}

// nameOrigin is where the workload's name stands.
func (b *builder) nameOrigin() *origin.Origin {
	return &origin.Origin{Source: rendererv1.Origin_SOURCE_SCORE, Workload: b.in.Workload, Path: "metadata.name"}
}

func annotationPath(annotation string) string { return "metadata.annotations." + escape(annotation) }
