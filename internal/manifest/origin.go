package manifest

import (
	"strings"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Names are the words in which origins are told.
type Names struct {
	Application, Environment, EnvironmentType string
	// Variable gives what a variable is called, such as "variable LOG_LEVEL of shop/dev (version 3, by ada)"; nil for its name and
	// the environment's alone.
	Variable func(key string) string
}

func (n Names) environment() string { return n.Application + "/" + n.Environment }

func (n Names) variable(key string) string {
	if n.Variable != nil {
		return n.Variable(key)
	}
	return "variable " + key + " of " + n.environment()
}

// Line tells of one field what it is and where that comes from, in one line.
func (n Names) Line(f *rendererv1.FieldOrigin) string {
	return label(f.GetPath()) + " = " + Show(f.GetValue().AsInterface()) + ": " + n.Origin(f.GetOrigin())
}

// label is what a field is called: a variable by its name, anything else by its path.
func label(path string) string {
	head, isValue := strings.CutSuffix(path, "].value")
	if at := strings.LastIndex(head, ".env[name="); isValue && at >= 0 {
		return head[at+len(".env[name="):]
	}
	return path
}

// Origin tells where a value comes from.
func (n Names) Origin(o *rendererv1.Origin) string {
	var b strings.Builder
	b.WriteString(n.place(o))
	if len(o.GetParts()) > 0 {
		b.WriteString(", made of ")
		for i, part := range o.GetParts() {
			if i > 0 {
				b.WriteString("; ")
			}
			b.WriteString(n.Origin(part))
		}
	}
	if t := o.GetThrough(); t != nil {
		b.WriteString(", through " + n.Origin(t))
	}
	if o.GetNote() != "" {
		b.WriteString(" (" + o.GetNote() + ")")
	}
	return oneLine(b.String())
}

func (n Names) place(o *rendererv1.Origin) string {
	switch o.GetSource() {
	case rendererv1.Origin_SOURCE_TOWPATH:
		return "Towpath's own rules"
	case rendererv1.Origin_SOURCE_SCORE:
		return "workloads." + o.GetWorkload() + " " + o.GetPath()
	case rendererv1.Origin_SOURCE_SHARED_RESOURCE:
		return "shared resources." + o.GetPath()
	case rendererv1.Origin_SOURCE_OVERLAY:
		return "overlay of " + n.environment() + ", " + o.GetPath()
	case rendererv1.Origin_SOURCE_VARIABLE:
		return n.variable(o.GetPath())
	case rendererv1.Origin_SOURCE_RESOURCE_OUTPUT:
		return output(o)
	case rendererv1.Origin_SOURCE_DEFINITION:
		out := "resource definition " + o.GetDefinition()
		if o.GetPath() != "" {
			out += " " + o.GetPath()
		}
		return out + " of " + o.GetResource()
	case rendererv1.Origin_SOURCE_ENVIRONMENT_TYPE:
		if n.EnvironmentType == "" {
			return "defaults of the environment type, " + o.GetPath()
		}
		return "environment type " + n.EnvironmentType + ", " + o.GetPath()
	case rendererv1.Origin_SOURCE_ENVIRONMENT:
		if o.GetPath() == "" {
			return "environment " + n.environment()
		}
		return o.GetPath() + " of the environment " + n.environment()
	case rendererv1.Origin_SOURCE_UNSPECIFIED:
	}
	return "not known"
}

func output(o *rendererv1.Origin) string {
	out := "resource " + o.GetResource()
	if o.GetPath() != "" {
		out = "output " + o.GetPath() + " of " + o.GetResource()
	}
	if o.GetDefinition() != "" {
		out += " by " + o.GetDefinition()
	}
	return out
}

// VariablesOf gives the keys of the variables that an origin has anywhere, each once, in their order.
func VariablesOf(o *rendererv1.Origin, seen map[string]bool) (out []string) {
	if o == nil {
		return nil
	}
	if o.GetSource() == rendererv1.Origin_SOURCE_VARIABLE && !seen[o.GetPath()] {
		seen[o.GetPath()] = true
		out = append(out, o.GetPath())
	}
	for _, part := range append(o.GetParts()[:len(o.GetParts()):len(o.GetParts())], o.GetThrough()) {
		out = append(out, VariablesOf(part, seen)...)
	}
	return out
}
