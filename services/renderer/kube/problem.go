package kube

import (
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/score"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// Problem is one wrong place found while rendering.
type Problem struct {
	Reason errs.Reason
	Path   string
	Text   string
}

// MaxProblems is how many problems an error lists.
const MaxProblems = 100

// Problems is what is wrong with the workloads of a set.
type Problems []Problem

// Err makes one error of all problems; the first decides the reason. It is nil when there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	kind, msg := errs.Invalid, "the workloads cannot be rendered"
	switch p[0].Reason {
	case errorsv1.Reason_REASON_PLAINTEXT_SECRET, errorsv1.Reason_REASON_DEFINITION_FAILED, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED:
		kind = errs.Precondition
	case errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER:
		msg = "placeholders refer to nothing"
	}
	e := errs.New(kind, p[0].Reason, "%s", msg)
	for i, each := range p {
		if i == MaxProblems {
			e.Fields = append(e.Fields, errs.Field{Path: "workloads", Problem: "there are further problems that are not listed: correct these first"})
			break
		}
		e.Fields = append(e.Fields, errs.Field{Path: each.Path, Problem: each.Text})
	}
	return e
}

// child gives a map inside a map, nil when there is none.
func child(m map[string]any, key string) map[string]any {
	out, _ := m[key].(map[string]any)
	return out
}

// text gives a string inside a map, empty when there is none.
func text(m map[string]any, key string) string {
	out, _ := m[key].(string)
	return out
}

// escape makes a key a part of a path.
func escape(key string) string { return score.EscapeKey(key) }
