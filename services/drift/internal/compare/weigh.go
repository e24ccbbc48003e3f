package compare

import (
	"slices"
	"strings"
	"time"
)

// WithBaseline gives the same declaration with another baseline.
func (p *Prepared) WithBaseline(b Baseline) *Prepared {
	return &Prepared{kind: p.kind, desired: p.desired, baseline: b}
}

// Doubtful says that the result holds something which nobody is known to have written and another baseline may explain.
func (r Result) Doubtful() bool {
	return len(r.Unverified) > 0 || slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Doubtful })
}

// Weigh gives the result with what is doubtful in it only as far as second has it too. second is the comparison of the same two
// objects with another baseline of the same declaration: what either baseline explains is the server's own work. What somebody
// wrote stands, whatever a baseline says.
func (r Result) Weigh(second Result) Result {
	places := slices.Clone(r.Unverified)
	for _, f := range r.Findings {
		if f.Doubtful {
			places = append(places, f.Path)
		}
	}
	// Elements roll up differently with another baseline, so one place may lie within the other.
	shared := func(path string) bool {
		return slices.ContainsFunc(places, func(p string) bool { return within(path, p) || within(p, path) })
	}
	r = r.WithoutDoubt()
	for _, f := range second.Findings {
		if f.Doubtful && shared(f.Path) {
			r.Findings = append(r.Findings, f)
		}
	}
	for _, p := range second.Unverified {
		if shared(p) {
			r.Unverified = append(r.Unverified, p)
		}
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return r
}

// WithoutDoubt leaves out what is doubtful, while it is being found out.
func (r Result) WithoutDoubt() Result {
	r.Unverified = nil
	r.Findings = slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Doubtful })
	return r
}

// within says whether a path is another one or lies below it.
func within(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// since tells of removals the time before which they cannot have happened: when we last wrote the object's fields, but not
// before the object was made.
func (w *walker) since(findings []Finding) {
	var at time.Time
	known := false
	for i := range findings {
		if !findings[i].Time.IsZero() {
			continue
		}
		if !known {
			at, known = w.lastOwnWrite(), true
		}
		findings[i].Since = at
	}
}

func (w *walker) lastOwnWrite() time.Time {
	made, _ := w.liveMeta["creationTimestamp"].(string)
	at, err := time.Parse(time.RFC3339, made)
	if err != nil {
		at = time.Time{}
	}
	if !w.ownersRead {
		w.owners, w.ownersRead = readOwners(w.liveMeta, w.isOurs), true
	}
	for i := range w.owners {
		if o := &w.owners[i]; o.ours && o.applied() && o.at.After(at) {
			at = o.at
		}
	}
	return at.UTC()
}
