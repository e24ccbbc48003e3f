package rules

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// maxMember is the longest name of a member, in bytes.
const maxMember = 320

var kubeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// CheckScopes checks where a role is to hold. Whether it exists does not matter: a role may be there before the application.
func CheckScopes(field string, scopes []string) error {
	seen := map[string]bool{}
	var bad []errs.Field
	for i, s := range scopes {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !auth.ValidScope(s):
			bad = append(bad, errs.Field{Path: at, Problem: fmt.Sprintf(
				"%q is no scope; give applications/{application} or environmentTypes/{environment_type}, or none for everywhere", s)})
		case seen[s]:
			bad = append(bad, errs.Field{Path: at, Problem: s + " is there twice; name each scope once"})
		}
		seen[s] = true
	}
	return anyOf(bad)
}

// CheckMembers checks whom a role is given.
func CheckMembers(field string, members []string) error {
	seen := map[string]bool{}
	var bad []errs.Field
	for i, m := range members {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !isMember(m):
			bad = append(bad, errs.Field{Path: at, Problem: fmt.Sprintf(
				"%q is no member; give users/{user}, groups/{group} or serviceAccounts/{namespace}/{name}; a token has its role itself", m)})
		case seen[m]:
			bad = append(bad, errs.Field{Path: at, Problem: m + " is there twice; name each member once"})
		}
		seen[m] = true
	}
	return anyOf(bad)
}

func anyOf(bad []errs.Field) error {
	if len(bad) > 0 {
		return errs.InvalidFields(bad...)
	}
	return nil
}

func isMember(m string) bool {
	kind, name, _ := strings.Cut(m, "/")
	if name == "" || len(m) > maxMember || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return false
	}
	switch kind {
	case "users":
		return !strings.Contains(name, "/")
	case "groups":
		return true
	case "serviceAccounts":
		namespace, account, ok := strings.Cut(name, "/")
		return ok && kubeName.MatchString(namespace) && kubeName.MatchString(account)
	}
	return false
}
