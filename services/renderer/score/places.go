package score

import (
	"errors"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Places knows where in the Score files the values of workloads stand. What is found wrong only when an environment is rendered,
// such as a variable that is not set, names the workload and the path; with the places it names file, line and column too.
type Places struct {
	documents map[string]*node
	texts     map[string][]byte
}

var reference = lazyre.New(`^\$\{[^}]*\}`)

// Locate gives an error whose fields name file, line and column of what they call "workloads.<name> <path>", as far as the files
// hold it. Any other error is given back as it is.
func (p *Places) Locate(err error) error {
	var e *errs.Error
	if p == nil || len(p.documents) == 0 || !errors.As(err, &e) {
		return err
	}
	located := *e
	located.Fields = slices.Clone(e.Fields)
	for i, f := range located.Fields {
		workload, where, _ := strings.Cut(strings.TrimPrefix(f.Path, "workloads."), " ")
		if doc := p.documents[workload]; doc != nil && strings.HasPrefix(f.Path, "workloads.") {
			at := doc.place(where)
			if ref := reference.FindString(f.Problem); ref != "" {
				at = (&problems{texts: p.texts}).find(at, ref)
			}
			located.Fields[i].Path = strings.TrimSpace(at.String() + " " + where)
		}
	}
	return &located
}

// place gives where a path leads, or where the last part of it that is there does.
func (n *node) place(where string) pos {
	at := n.pos
	if where == "" {
		return at
	}
	steps, _, _ := cutProperty(where + "=")
	for _, step := range steps {
		next := n.get(step)
		if n.kind == listKind {
			for i, item := range n.list {
				if path("").index(i) == path(step) {
					next = item
				}
			}
		}
		if next == nil {
			return at
		}
		n, at = next, next.pos
	}
	return at
}

// at gives where a document begins, which may not have been read.
func (n *node) at(f *rendererv1.ScoreFile) pos {
	if n == nil {
		return pos{file: f.GetFilename(), line: 1, col: 1}
	}
	return n.pos
}
