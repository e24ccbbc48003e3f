package forge

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// team is how reviewers that are teams begin.
const team = "team:"

// cut shortens text to at most size bytes with the end, at the border of a character.
func cut(text string, size int, end string) string {
	if len(text) <= size {
		return text
	}
	text = text[:size-len(end)]
	for !utf8.ValidString(text[max(0, len(text)-utf8.UTFMax):]) && text != "" {
		text = text[:len(text)-1]
	}
	return text + end
}

// unique keeps the order and drops empty and double ones.
func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// without gives the names that are not among the known ones; services do not tell upper from lower case in names.
func without(names []string, known map[string]bool) []string {
	var out []string
	for _, n := range names {
		if !known[strings.ToLower(n)] {
			out = append(out, n)
		}
	}
	return out
}

// reviewers tells users from teams.
func reviewers(names []string) (users, teams []string) {
	for _, n := range names {
		if t, ok := strings.CutPrefix(n, team); ok {
			teams = append(teams, t)
		} else {
			users = append(users, n)
		}
	}
	return users, teams
}

// waits joins what a pull request waits for; empty parts are left out.
func waits(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

// approvals says how many approvals are missing; empty when none is.
func approvals(have, want int) string {
	switch {
	case have >= want:
		return ""
	case want == 1:
		return "an approval"
	default:
		return fmt.Sprintf("approvals (%d of %d)", have, want)
	}
}

// first gives the first time that is set.
func first(times ...*time.Time) time.Time {
	for _, t := range times {
		if t != nil && !t.IsZero() {
			return t.UTC()
		}
	}
	return time.Time{}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
