package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

var (
	kindPattern     = regexp.MustCompile(`^(\*|[A-Za-z][A-Za-z0-9]{0,62})$`)
	groupPattern    = regexp.MustCompile(`^(\*|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$`)
	splitPattern    = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	workloadPattern = regexp.MustCompile(`^[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?$`)
)

// CheckSplits checks a repository's splits by themselves.
func CheckSplits(field string, r *catalogv1.Repository) error {
	ids, places := map[string]bool{}, map[string]string{}
	for i, split := range r.GetSplits() {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !splitPattern.MatchString(split.GetId()) || len(split.GetId()) > MaxAppID:
			return errs.InvalidField(at+".id", "%s is no id; use up to %d lower-case letters, digits and hyphens, beginning with a letter", quote(split.GetId()), MaxAppID)
		case ids[split.GetId()]:
			return errs.InvalidField(at+".id", "%s is there twice; give each split an id of its own", quote(split.GetId()))
		case split.GetRepository() == r.GetName():
			return errs.InvalidField(at+".repository", "is %s itself; name another repository", r.GetName())
		case places[split.GetRepository()] != "":
			return errs.InvalidField(at+".repository", "%s has the split %q already, and both would be written to the same folder; put all that goes there into one split",
				split.GetRepository(), places[split.GetRepository()])
		}
		ids[split.GetId()], places[split.GetRepository()] = true, split.GetId()
		if err := checkSelector(at+".select", split.GetSelect()); err != nil {
			return err
		}
	}
	return nil
}

func checkSelector(field string, s *committerv1.FileSelector) error {
	if len(s.GetKinds())+len(s.GetWorkloads()) == 0 {
		return errs.InvalidField(field, "picks nothing; name kinds such as postgresql.cnpg.io/*, or workloads")
	}
	for i, k := range s.GetKinds() {
		group, kind, ok := strings.Cut(k, "/")
		if !ok || !groupPattern.MatchString(group) || !kindPattern.MatchString(kind) {
			return errs.InvalidField(fmt.Sprintf("%s.kinds[%d]", field, i), "%s is no kind with its group; write apps/Deployment, postgresql.cnpg.io/* for all of a group, or /ConfigMap for the core group", quote(k))
		}
		if group == "*" && kind == "*" {
			return errs.InvalidField(fmt.Sprintf("%s.kinds[%d]", field, i), "\"*/*\" picks every file; let the environments follow the other repository instead")
		}
	}
	for i, w := range s.GetWorkloads() {
		if !workloadPattern.MatchString(w) || strings.Trim(w, "*") == "" {
			return errs.InvalidField(fmt.Sprintf("%s.workloads[%d]", field, i), "%s is no workload's name; \"*\" may stand for a part of it", quote(w))
		}
	}
	return nil
}

// CheckSplitPlaces checks that a split's folder is not the main one, above it or below it, as far as can be told without an
// environment. Placing one checks it again.
func CheckSplitPlaces(field string, l Layout) error {
	_, err := l.Place(sampleNames)
	if err == nil {
		return nil
	}
	return errs.InvalidField(field, "would put a share of an environment into the same folder as the rest, or into one inside of the other; "+
		"give the other repository another URL, branch or path_template").Because(err)
}

// Sorter tells which part of a place each file of a bundle goes to.
type Sorter struct {
	place   *catalogv1.Place
	objects map[string][]*rendererv1.ObjectRef
}

// NewSorter makes a Sorter for a bundle of those objects.
func NewSorter(p *catalogv1.Place, objects []*rendererv1.ObjectRef) Sorter {
	s := Sorter{p, map[string][]*rendererv1.ObjectRef{}}
	if len(p.GetParts()) == 0 {
		return s
	}
	for _, o := range objects {
		s.objects[o.GetFile()] = append(s.objects[o.GetFile()], o)
	}
	return s
}

// Part gives the id of the part that a file goes to, empty for the main place; false when the bundle has no object of that file.
func (s Sorter) Part(file string) (string, bool) {
	objects := s.objects[file]
	if len(objects) == 0 {
		return "", false
	}
	for _, part := range s.place.GetParts() {
		if slices.ContainsFunc(objects, func(o *rendererv1.ObjectRef) bool { return picks(part.GetSelect(), o) }) {
			return part.GetId(), true
		}
	}
	return "", true
}

func picks(s *committerv1.FileSelector, o *rendererv1.ObjectRef) bool {
	group, _, grouped := strings.Cut(o.GetApiVersion(), "/")
	if !grouped {
		group = ""
	}
	for _, k := range s.GetKinds() {
		g, kind, _ := strings.Cut(k, "/")
		if (g == "*" || g == group) && (kind == "*" || kind == o.GetKind()) {
			return true
		}
	}
	return o.GetWorkload() != "" && slices.ContainsFunc(s.GetWorkloads(), func(w string) bool { return glob(w, o.GetWorkload()) })
}

// glob matches a name with a pattern in which "*" stands for any sequence of characters.
func glob(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	for {
		next, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(name, next)
		}
		i := strings.Index(name, next)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(next):], more
	}
}

// MaxChildren is from how many entries of a directory on a commit becomes slow: Git rewrites a directory as a whole.
const MaxChildren = 1000
