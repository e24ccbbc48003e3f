package rules

import (
	"regexp"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Object is what a selector asks about one object of a bundle.
type Object struct {
	// Group is the API group, empty for the core group.
	Group string
	// Kind is the kind.
	Kind string
	// Workload is the workload that asked for it; empty for what several share.
	Workload string
}

// Selector picks files by the objects in them. A file is picked when any of the terms holds of any of its objects.
type Selector struct {
	// Kinds are of the form group/kind, "*" standing for any; the core group is empty.
	Kinds []string
	// Workloads are names, "*" standing for any sequence of characters. They never pick what belongs to no workload.
	Workloads []string
}

// Picks tells whether a file with these objects is picked.
func (s Selector) Picks(objects []Object) bool {
	for _, o := range objects {
		for _, k := range s.Kinds {
			group, kind, ok := strings.Cut(k, "/")
			if ok && (group == "*" || group == o.Group) && (kind == "*" || kind == o.Kind) {
				return true
			}
		}
		for _, w := range s.Workloads {
			if o.Workload != "" && matches(w, o.Workload) {
				return true
			}
		}
	}
	return false
}

// matches compares a name with a pattern in which "*" stands for any sequence of characters.
func matches(pattern, name string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		piece, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, piece)
		}
		at := strings.Index(name, piece)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(piece):], next
	}
}

// Split shares a bundle out: share i is what selector i picks and none before it does, and the last share is the rest. Every file
// is in exactly one share. objects are the files' objects by path; a file without any belongs to the rest.
func Split(files map[string][]byte, objects map[string][]Object, selectors []Selector) []map[string][]byte {
	shares := make([]map[string][]byte, len(selectors)+1)
	for i := range shares {
		shares[i] = map[string][]byte{}
	}
	for path, data := range files {
		to := len(selectors)
		for i, s := range selectors {
			if s.Picks(objects[path]) {
				to = i
				break
			}
		}
		shares[to][path] = data
	}
	return shares
}

var partPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckPart says whether a part's id can be one: it becomes part of a file name. field is where it stands, for the error.
func CheckPart(field, id string) error {
	if !partPattern.MatchString(id) {
		return errs.InvalidField(field+".id", "is not 1 to 63 lower-case letters, digits and hyphens")
	}
	return nil
}

// PartState tells in the main place's state file where a part of the environment stands.
type PartState struct {
	// ID is the part's.
	ID string `json:"id"`
	// Repository is the repository's resource name, URL its address, Branch the branch and Path the folder.
	Repository string `json:"repository"`
	URL        string `json:"url"`
	Branch     string `json:"branch"`
	Path       string `json:"path"`
	// Commit is the part's commit; empty when it is the one that wrote this file.
	Commit string `json:"commit,omitempty"`
	// Tree is the tree id at Path; empty when there is nothing.
	Tree string `json:"tree"`
	// FilesChanged is the number of files that the part's commit added, changed or removed.
	FilesChanged int32 `json:"files_changed"`
}

// PlaceName names one place of an environment: the environment's resource name for the main place, with "@" and the part's id
// behind it for a part. Folders are owned by places: a write replaces its whole folder, so not even two places of one environment
// can share one.
func (d Deployment) PlaceName() string {
	if d.Part == "" {
		return d.EnvironmentName()
	}
	return d.EnvironmentName() + "@" + d.Part
}

// EnvironmentOf gives the environment's resource name of a place.
func EnvironmentOf(place string) string {
	name, _, _ := strings.Cut(place, "@")
	return name
}

// Overlap tells whether one of two folders is the other one or lies in it. Names that differ only in capitals count as the same.
func Overlap(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}
