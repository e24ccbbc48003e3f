package drift

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncmark"
)

// checkMarks refuses annotations about syncing that mean nothing: a typing mistake must not be a setting that is silently missing.
func checkMarks(u *unstructured.Unstructured) error {
	_, err := syncmark.Read(u.GetAnnotations())
	if err == nil {
		err = syncmark.CheckRemoval(u.GetAnnotations())
	}
	if err != nil {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED, "%s %s: %s", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// marksOf reads the marks of a declared object, which were checked when it was read.
func marksOf(u *unstructured.Unstructured) syncmark.Marks {
	m, err := syncmark.Read(u.GetAnnotations())
	if err != nil {
		return syncmark.Marks{}
	}
	return m
}

// takeHooks takes the hooks out of what is declared, and what is to be left out: neither is a part of what the environment is.
func takeHooks(objs map[objectKey]*tracked) (hooks, skipped map[objectKey]*tracked) {
	hooks, skipped = map[objectKey]*tracked{}, map[objectKey]*tracked{}
	maps.DeleteFunc(objs, func(k objectKey, t *tracked) bool {
		switch m := marksOf(t.declared()); {
		case m.Skip:
			skipped[k] = t
		case m.IsHook():
			hooks[k] = t
		default:
			return false
		}
		return true
	})
	return hooks, skipped
}

// isHookRun reports whether a live object is a hook that a sync has run.
func isHookRun(u *unstructured.Unstructured) bool { return u.GetAnnotations()[syncmark.HookRun] != "" }
