package rules

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Location is one folder of a place.
type Location struct {
	// Part is the id of the part that stands there, empty for the main place.
	Part string
	// Repository is the name of the repository.
	Repository        string
	URL, Branch, Path string
}

// String tells it to people.
func (l Location) String() string {
	return fmt.Sprintf("%s, branch %s, folder %s", l.Repository, l.Branch, l.Path)
}

// branch gives the branch of a remote in one spelling. Two repository resources of the same remote and branch have the same.
func (l Location) branch() string { return NormalURL(l.URL) + "\x00" + l.Branch }

// same reports whether two locations are the same folder, as any file system sees it.
func (l Location) same(m Location) bool {
	return l.branch() == m.branch() && Fold(l.Path) == Fold(m.Path)
}

// Locations gives all folders of a place, the main one first.
func Locations(p *catalogv1.Place) []Location {
	if p == nil {
		return nil
	}
	out := []Location{{Repository: p.GetRepository(), URL: p.GetUrl(), Branch: p.GetBranch(), Path: p.GetPath()}}
	for _, part := range p.GetParts() {
		out = append(out, Location{part.GetId(), part.GetRepository(), part.GetUrl(), part.GetBranch(), part.GetPath()})
	}
	return out
}

// Without gives the locations that are in none of the others.
func Without(all, others []Location) []Location {
	return slices.DeleteFunc(slices.Clone(all), func(l Location) bool { return slices.ContainsFunc(others, l.same) })
}

// Overlap finds two locations of which one is or contains the other.
func Overlap(all []Location) (a, b Location, found bool) {
	type placed struct {
		key string
		at  Location
	}
	keyed := make([]placed, len(all))
	for i, l := range all {
		keyed[i] = placed{l.branch() + "\x00" + Fold(l.Path) + "/", l}
	}
	// In this order whatever is inside of a folder comes right behind it.
	slices.SortStableFunc(keyed, func(a, b placed) int { return cmp.Compare(a.key, b.key) })
	for i := 1; i < len(keyed); i++ {
		if strings.HasPrefix(keyed[i].key, keyed[i-1].key) {
			return keyed[i-1].at, keyed[i].at, true
		}
	}
	return a, b, false
}

// NormalURL gives one spelling of the usual ones of a clone URL, also of the same repository over SSH and HTTPS.
func NormalURL(raw string) string {
	if host, path, ok := strings.Cut(raw, ":"); ok && !strings.Contains(raw, "://") && !strings.Contains(host, "/") {
		raw = "ssh://" + host + "/" + strings.TrimLeft(path, "/")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.Scheme, u.Host, u.User, u.RawQuery, u.Fragment = strings.ToLower(u.Scheme), strings.ToLower(u.Host), nil, "", ""
	if u.Scheme == "ssh" || u.Scheme == "git+ssh" {
		u.Scheme, u.Host = "https", u.Hostname()
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git")
	return u.String()
}

// SamePlace reports whether two places are the same, with the same share of files in each part.
func SamePlace(a, b *catalogv1.Place) bool {
	if len(a.GetParts()) != len(b.GetParts()) || !Locations(a)[0].same(Locations(b)[0]) {
		return false
	}
	for i, p := range a.GetParts() {
		q := b.GetParts()[i]
		if p.GetId() != q.GetId() || !Locations(a)[i+1].same(Locations(b)[i+1]) || !proto.Equal(p.GetSelect(), q.GetSelect()) {
			return false
		}
	}
	return true
}

// CheckMove checks that an environment can go from one place to another in one step: the old place is removed behind the new one
// is written, so that neither may contain the other.
func CheckMove(env Env, from, to *catalogv1.Place) error {
	if SamePlace(from, to) {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s stands where its layout puts it: %s; change the layout first, as with `tow repo update`",
			env.Name(), Locations(from)[0]).With("state", "SAME_PLACE")
	}
	old, entered := Locations(from), Without(Locations(to), Locations(from))
	left := Without(old, Locations(to))
	for _, l := range entered {
		if a, b, ok := Overlap(append(slices.Clone(left), l)); ok {
			return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH,
				"%s stands in %s and would be moved to %s: one is inside of the other, and the old one is removed; move it somewhere else first", env.Name(), a, b).
				With("path", l.Path)
		}
	}
	for _, l := range Locations(to) {
		for _, o := range old {
			if l.same(o) && l.Path != o.Path {
				return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH,
					"%s stands in %s and would be moved to %s, which many file systems take for the same folder; choose another name", env.Name(), o, l).With("path", l.Path)
			}
		}
	}
	return nil
}

// PlaceLine tells a place to people in one line.
func PlaceLine(p *catalogv1.Place) string {
	if p == nil {
		return ""
	}
	line := Locations(p)[0].String()
	for _, l := range Locations(p)[1:] {
		line += "; " + l.Part + " in " + l.String()
	}
	return line
}

// Standing finds two environments that a layout would put into one another's folders.
type Standing struct {
	Env string
	At  *catalogv1.Place
}

// CheckTogether checks that no two environments get the same folder, or one inside of another's.
func CheckTogether(field string, all []Standing) error {
	var locations []Location
	owner := map[Location]string{}
	for _, e := range all {
		for _, l := range Locations(e.At) {
			if other, twice := owner[l]; twice {
				return together(field, other, e.Env, l, l)
			}
			owner[l] = e.Env
			locations = append(locations, l)
		}
	}
	if a, b, ok := Overlap(locations); ok {
		return together(field, owner[a], owner[b], a, b)
	}
	return nil
}

func together(field, one, other string, a, b Location) error {
	e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH,
		"would put %s into %s and %s into %s; add a placeholder that tells them apart, such as {application} and {environment}", one, a, other, b)
	e.Fields = []errs.Field{{Path: field, Problem: e.Msg}}
	return e.With("owner", one).With("other", other).With("path", b.Path)
}
