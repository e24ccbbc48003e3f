package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxVersions is how many workloads a version names; the rest is counted.
const maxVersions = 5

// Version tells in short what a state runs, for lists: the tag of the workloads' images, by workload where they differ. Of a
// workload with several containers the one called main counts, else the first by name.
func Version(s State) string {
	doc, err := Effective(s)
	if err != nil { // an overlay that does not apply any more
		doc = DocumentOf(s.Set)
	}
	var parts []string
	tags := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(doc.Workloads())) {
		tag := imageTag(mainImage(doc.Workloads()[name]))
		if tag == "" {
			continue
		}
		tags[tag] = true
		parts = append(parts, name+" "+tag)
	}
	if len(tags) == 1 {
		for tag := range tags {
			return tag
		}
	}
	if more := len(parts) - maxVersions; more > 0 {
		parts = append(parts[:maxVersions], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

func mainImage(workload any) string {
	w, _ := workload.(map[string]any)
	containers, _ := w["containers"].(map[string]any)
	name := "main"
	if _, ok := containers[name]; !ok && len(containers) > 0 {
		name = slices.Min(slices.Collect(maps.Keys(containers)))
	}
	c, _ := containers[name].(map[string]any)
	image, _ := c["image"].(string)
	return image
}

// imageTag gives the tag of an image, the beginning of its digest where it has none, and "latest" where it has neither.
func imageTag(image string) string {
	name, digest, pinned := strings.Cut(image, "@")
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch _, tag, tagged := strings.Cut(last, ":"); {
	case image == "":
		return ""
	case tagged:
		return tag
	case pinned:
		hex := digest[strings.IndexByte(digest, ':')+1:]
		return hex[:min(12, len(hex))]
	}
	return "latest"
}
