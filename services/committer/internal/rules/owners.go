package rules

import (
	"path"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Owners knows which environment owns which folder of a branch. Two environments never share a folder and none lies inside
// another's: a write replaces a whole folder, so it would delete the other's files. Names that differ only in capitals are the
// same folder on some systems and count as the same. The zero value is empty and ready.
type Owners struct {
	owner  map[string]string // folded path -> environment
	inside map[string]int    // folded folder -> owned paths below it
	paths  map[string]string // environment -> folded path
}

// Set makes the environment the owner of the folder p, and of no other; p "" gives up what it owned.
func (o *Owners) Set(environment, p string) {
	if o.owner == nil {
		o.owner, o.inside, o.paths = map[string]string{}, map[string]int{}, map[string]string{}
	}
	p = strings.ToLower(p)
	if old, ok := o.paths[environment]; ok {
		if old == p {
			return
		}
		o.count(old, -1)
		delete(o.paths, environment)
		if o.owner[old] == environment {
			delete(o.owner, old)
		}
	}
	if p == "" {
		return
	}
	o.paths[environment], o.owner[p] = p, environment
	o.count(p, 1)
}

func (o *Owners) count(p string, by int) {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if o.inside[dir] += by; o.inside[dir] == 0 {
			delete(o.inside, dir)
		}
	}
}

// Check says whether the environment may own the folder p. The error is errs.Invalid with REASON_INVALID_PATH.
func (o *Owners) Check(environment, p string) error {
	folded := strings.ToLower(p)
	if folded == Folder || strings.HasPrefix(folded, Folder+"/") {
		return pathTaken(p, "lies in "+Folder+", which is Towpath's own; choose another folder")
	}
	for dir := folded; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if by, ok := o.owner[dir]; ok && by != environment {
			return pathTaken(p, "belongs to "+by+"; choose another folder")
		}
	}
	others := o.inside[folded]
	if own, ok := o.paths[environment]; ok && strings.HasPrefix(own, folded+"/") {
		others--
	}
	if others > 0 {
		return pathTaken(p, "has the folders of other environments in it; choose another folder")
	}
	return nil
}

func pathTaken(p, problem string) error {
	e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH, "the environment cannot live at %q", p)
	e.Fields = []errs.Field{{Path: "path", Problem: problem}}
	return e.With("path", p)
}
