package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/kube"
	"github.com/towpath-dev/towpath/services/renderer/placeholder"
	"github.com/towpath-dev/towpath/services/renderer/score"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

const (
	// maxExpanded is how large one string may become when its placeholders are replaced, in bytes.
	maxExpanded = 1 << 20
	// maxExpandedTotal is how much all replacements may insert: a few bytes of input can ask for a large output many times.
	maxExpandedTotal = 16 << 20
)

// expand replaces the placeholders of a text as they are meant in a scope. The error is REASON_UNRESOLVED_PLACEHOLDER.
func (r *run) expand(text string, sc *scope) (string, error) {
	size := len(text)
	return placeholder.Expand(text, func(ref placeholder.Ref) (string, error) {
		v, problem := r.resolve(ref, sc)
		if problem != "" {
			r.unresolved++
			return "", errs.New(errs.Invalid, errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, "${%s}: %s", ref.Text, problem).With("placeholder", ref.Text)
		}
		out := valueText(v)
		r.expanded += len(out)
		if size += len(out); size > maxExpanded || r.expanded > maxExpandedTotal {
			return "", errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "grows beyond the limit when its placeholders are replaced: %d bytes, %d for all values together", maxExpanded, maxExpandedTotal)
		}
		return out, nil
	})
}

// resolve gives what a reference means, or says why it means nothing.
func (r *run) resolve(ref placeholder.Ref, sc *scope) (any, string) {
	switch {
	case r.unresolved > kube.MaxProblems || r.expanded > maxExpandedTotal:
		return nil, "is one of too many problems"
	case ref.Path[0] == placeholder.Metadata && len(ref.Path) > 1:
		return walk(sc.metadata, ref.Path[1:], "metadata")
	case ref.Path[0] == placeholder.Resources && len(ref.Path) > 1:
		name := ref.Path[1]
		uid, ok := sc.uids[name]
		if !ok {
			return nil, fmt.Sprintf("there is no resource %q%s", name, score.Suggest(name, slices.Sorted(maps.Keys(sc.uids))))
		}
		res := r.graph.byUID[uid]
		if len(ref.Path) == 2 {
			return uid, ""
		}
		if res.typ == "environment" {
			return r.variable(ref.Path[2:])
		}
		if r.pending(res) {
			return "pending", ""
		}
		return walk(res.outputs, ref.Path[2:], "the resource "+name+" ("+res.typ+")")
	default:
		return nil, "expected ${metadata.<key>} or ${resources.<name>.<output>}"
	}
}

// variable gives a value of the environment. A key may hold dots.
func (r *run) variable(parts []string) (any, string) {
	key := strings.Join(parts, ".")
	if v, ok := r.input.GetVariables()[key]; ok {
		return v, ""
	}
	if ref := r.input.GetSecretVariables()[key]; ref != nil {
		text, _ := definition.EncodeSecret(ref.GetName(), ref.GetKey()) // checkInput has tried it
		return text, ""
	}
	app, env := r.input.GetApplication(), r.input.GetEnvironment()
	return nil, fmt.Sprintf("the environment %s/%s has no variable %q%s; set it with: tow set %s=VALUE -e %s/%s",
		app, env, key, score.Suggest(key, r.variableKeys()), key, app, env)
}

func (r *run) variableKeys() []string {
	keys := slices.Collect(maps.Keys(r.input.GetVariables()))
	keys = slices.AppendSeq(keys, maps.Keys(r.input.GetSecretVariables()))
	slices.Sort(keys)
	return keys
}

// walk steps into maps.
func walk(at any, keys []string, name string) (any, string) {
	for _, key := range keys {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Sprintf("%s is no map and has no %q", name, key)
		}
		next, ok := m[key]
		if !ok {
			known := slices.Sorted(maps.Keys(m))
			return nil, fmt.Sprintf("%s has no %q%s (it has: %s)", name, key, score.Suggest(key, known), strings.Join(known, ", "))
		}
		at, name = next, name+"."+key
	}
	return at, ""
}

// valueText gives a string as it is and any other value as JSON, whose maps have their keys sorted.
func valueText(v any) string { return definition.ValueText(v) }

// expandParams replaces the placeholders of a resource's params, at any depth.
func (r *run) expandParams(res *resource, v any, where string, problems *kube.Problems) any {
	switch v := v.(type) {
	case string:
		out, err := r.expand(v, r.graph.scopes[res.paramsScope])
		if err != nil {
			*problems = append(*problems, kube.Problem{Reason: errs.ReasonOf(err), Path: where, Text: messageOf(err)})
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out[k] = r.expandParams(res, v[k], where+"."+k, problems)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = r.expandParams(res, e, fmt.Sprintf("%s.%d", where, i), problems)
		}
		return out
	default:
		return v
	}
}

func messageOf(err error) string {
	if e, ok := err.(*errs.Error); ok { //nolint:errorlint // expand's own error
		return e.Msg
	}
	return err.Error()
}

// located adds to a definition's error where the resource is declared.
func located(err error, res *resource) error {
	if e, ok := err.(*errs.Error); ok { //nolint:errorlint // Make's own error, never wrapped
		e.Fields = append(e.Fields, errs.Field{Path: res.declared, Problem: "asks for this resource"})
	}
	return err
}
