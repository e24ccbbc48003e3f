package rules

import (
	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
)

// ManifestDiff is how the objects of an environment change, as a plan tells it.
type ManifestDiff struct {
	Objects []*catalogv1.ObjectChange
	Fields  []*catalogv1.FieldChange
	// All is false when there are more differences than a plan tells.
	All bool
	// Text is all of it for people.
	Text string
}

// CompareObjects tells what happens to the objects of an environment whose files change, and for those that stay, field by field.
// refs are what the renderer says of its files; they add which workload an object is for.
func CompareObjects(before, after map[string][]byte, refs []*rendererv1.ObjectRef) ManifestDiff {
	diff := manifest.Compare(before, after, refs)
	out := ManifestDiff{All: !diff.GetTruncated(), Text: diff.GetText()}
	actions := map[rendererv1.ObjectDiff_Action]catalogv1.FileChange_Action{
		rendererv1.ObjectDiff_ACTION_ADD: catalogv1.FileChange_ACTION_ADD, rendererv1.ObjectDiff_ACTION_DELETE: catalogv1.FileChange_ACTION_DELETE,
		rendererv1.ObjectDiff_ACTION_MODIFY: catalogv1.FileChange_ACTION_MODIFY,
	}
	for _, o := range diff.GetObjects() {
		out.Objects = append(out.Objects, &catalogv1.ObjectChange{Object: o.GetObject(), Action: actions[o.GetAction()]})
		for _, f := range o.GetFields() {
			out.Fields = append(out.Fields, &catalogv1.FieldChange{Object: o.GetObject(), Field: f.GetPath(), Before: f.GetBefore(), After: f.GetAfter()})
		}
	}
	return out
}

// text gives a value that is text, else nothing.
func text(v any) string {
	s, _ := v.(string)
	return s
}
