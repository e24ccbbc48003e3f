package rules

import (
	"path"
	"regexp"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

// DefaultPathTemplate is where an environment stands in its branch when the repository does not say.
const DefaultPathTemplate = "environments/{environment}/{application}"

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// CheckPathTemplate checks a repository's path template: a clean relative path that may hold {application}, {environment} and
// {environment_type}, and nothing of .git or .towpath, which belong to Git and to Towpath's own state.
func CheckPathTemplate(field, template string) error {
	for _, m := range placeholder.FindAllStringSubmatch(template, -1) {
		switch m[1] {
		case "application", "environment", "environment_type":
		default:
			return errs.InvalidField(field, "has the unknown placeholder {%s}; use {application}, {environment} or {environment_type}", m[1])
		}
	}
	plain := placeholder.ReplaceAllString(template, "x")
	if strings.ContainsAny(plain, "{}") {
		return errs.InvalidField(field, "%q has a brace that does not close; a placeholder is {application}, {environment} or {environment_type}", template)
	}
	return checkPath(field, plain)
}

// EnvironmentPath gives the folder of an environment by a template that was checked.
func EnvironmentPath(template, application, environment, environmentType string) string {
	if template == "" {
		template = DefaultPathTemplate
	}
	return strings.NewReplacer("{application}", application, "{environment}", environment, "{environment_type}", environmentType).Replace(template)
}

func checkPath(field, p string) error {
	if p == "" || p == "." {
		return errs.InvalidField(field, "is the branch's root; give a folder such as %s", DefaultPathTemplate)
	}
	if strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || path.Clean(p) != p {
		return errs.InvalidField(field, "%q is not a clean relative path; write it without slashes at its ends, \"//\", \".\" and \"..\"", p)
	}
	for segment := range strings.SplitSeq(p, "/") {
		switch low := strings.ToLower(segment); {
		case low == "..", low == ".git", low == ".towpath":
			return errs.InvalidField(field, "has the folder %q, which is not for environments; choose another", segment)
		case strings.ContainsAny(segment, "\\:*?\"<>|\x00\n\r\t "):
			return errs.InvalidField(field, "the folder %q has a character that not every machine can write; use letters, digits, \"-\", \"_\" and \".\"", segment)
		}
	}
	return nil
}

// Ancestors gives all folders above p, the nearest last: "a/b/c" has "a" and "a/b".
func Ancestors(p string) []string {
	var out []string
	for i := range len(p) {
		if p[i] == '/' {
			out = append(out, p[:i])
		}
	}
	return out
}
