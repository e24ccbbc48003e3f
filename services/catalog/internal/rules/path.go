package rules

import (
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/towpath-dev/towpath/internal/errs"
)

// DefaultPathTemplate is where an environment stands in its branch when the repository does not say.
const DefaultPathTemplate = "environments/{environment}/{application}"

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// CheckPathTemplate checks a repository's path template: a clean relative path that may hold placeholders, and nothing of .git or
// .towpath, which belong to Git and to Towpath's own state.
func CheckPathTemplate(field, template string) error {
	if err := checkPlaceholders(field, template); err != nil {
		return err
	}
	return checkPath(field, placeholder.ReplaceAllString(template, "x"))
}

func checkPath(field, p string) error {
	if p == "" || p == "." {
		return errs.InvalidField(field, "is the branch's root; give a folder such as %s", DefaultPathTemplate)
	}
	if strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || path.Clean(p) != p {
		return errs.InvalidField(field, "%q is not a clean relative path; write it without slashes at its ends, \"//\", \".\" and \"..\"", p)
	}
	if !utf8.ValidString(p) || !norm.NFC.IsNormalString(p) || strings.ContainsFunc(p, invisible) {
		return errs.InvalidField(field, "%q has characters that look like others or like nothing; write it in Unicode's composed form (NFC), without invisible characters", p)
	}
	for segment := range strings.SplitSeq(p, "/") {
		switch low := strings.ToLower(segment); {
		case low == "..", low == ".git", low == ".towpath", strings.HasPrefix(low, "git~"), low != strings.TrimRight(low, "."):
			return errs.InvalidField(field, "has the folder %q, which is not for environments; choose another", segment)
		case strings.ContainsAny(segment, "\\:*?\"<>|\x00\n\r\t "):
			return errs.InvalidField(field, "the folder %q has a character that not every machine can write; use letters, digits, \"-\", \"_\" and \".\"", segment)
		}
	}
	return nil
}

func invisible(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

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
