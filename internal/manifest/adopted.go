package manifest

import "maps"

// AsItIs is the annotation by which an object of an overlay asks to be rendered as it is, without the labels that every other object gets.
// It is not rendered itself. Adopted objects have it: what runs already is not changed because Towpath looks after it from now on.
const AsItIs = "towpath.dev/as-it-is"

// IsAsItIs reports whether an object's metadata asks to be rendered as it is.
func IsAsItIs(meta map[string]any) bool {
	annotations, _ := meta["annotations"].(map[string]any)
	return annotations[AsItIs] == "true"
}

// MarkAsItIs gives the object with the annotation. The object is not changed.
func MarkAsItIs(object map[string]any) map[string]any {
	return annotated(object, func(annotations map[string]any) { annotations[AsItIs] = "true" })
}

// AsItWas gives the object without the annotation, in a namespace. The object is not changed.
func AsItWas(object map[string]any, namespace string) map[string]any {
	out := annotated(object, func(annotations map[string]any) { delete(annotations, AsItIs) })
	meta, _ := out["metadata"].(map[string]any)
	meta["namespace"] = namespace
	return out
}

func annotated(object map[string]any, change func(map[string]any)) map[string]any {
	out := maps.Clone(object)
	given, _ := object["metadata"].(map[string]any)
	meta := maps.Clone(given)
	if meta == nil {
		meta = map[string]any{}
	}
	old, _ := meta["annotations"].(map[string]any)
	annotations := maps.Clone(old)
	if annotations == nil {
		annotations = map[string]any{}
	}
	change(annotations)
	delete(meta, "annotations")
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	out["metadata"] = meta
	return out
}
