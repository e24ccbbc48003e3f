package git

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Limits of a path in bytes: what common file systems allow for a name, and a length that every checkout can hold.
const (
	MaxPathName   = 255
	MaxPathLength = 1024
)

// ValidatePath says whether Towpath may write this path: relative, clean, with slashes, in Unicode's composed form (NFC), and
// nothing that any operating system's checkout would take for Git's own folder. The error is errs.Invalid with
// REASON_INVALID_PATH and the path in its metadata.
func ValidatePath(path string) error {
	if problem := pathProblem(path); problem != "" {
		return invalidPath(path, problem)
	}
	return nil
}

// ValidateFiles checks the paths of a bundle: each by ValidatePath, and together: no name twice with other capitals, and no
// file where another file needs a folder. Errors as ValidatePath's, for the first wrong path in sorted order.
func ValidateFiles(files map[string][]byte) error {
	seen := make(map[string]string, len(files)) // folded prefix -> prefix as first written
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if err := ValidatePath(p); err != nil {
			return err
		}
		for i := 0; i <= len(p); i++ {
			if i < len(p) && p[i] != '/' {
				continue
			}
			prefix := p[:i]
			if _, isFile := files[prefix]; isFile && i < len(p) {
				return invalidPath(p, "needs a folder where the bundle has the file "+prefix)
			}
			folded := fold(prefix)
			if other, ok := seen[folded]; ok && other != prefix {
				return invalidPath(p, "differs from "+other+" only in capitals, which some file systems cannot hold; rename one")
			}
			seen[folded] = prefix
		}
	}
	return nil
}

// ValidateBranch says whether the name can be a branch (git check-ref-format). The error is errs.Invalid.
func ValidateBranch(branch string) error {
	if problem := branchProblem(branch); problem != "" {
		return errs.InvalidField("branch", "%q %s", branch, problem)
	}
	return nil
}

func invalidPath(path, problem string) error {
	e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH, "the path is not valid")
	e.Fields = []errs.Field{{Path: path, Problem: problem}}
	return e.With("path", path)
}

func pathProblem(path string) string {
	switch {
	case path == "":
		return "is empty; give a path"
	case len(path) > MaxPathLength:
		return "is longer than 1,024 bytes; shorten it"
	case path[0] == '/' || path[len(path)-1] == '/':
		return "begins or ends with a slash; leave it out"
	case !utf8.ValidString(path):
		return "is not UTF-8; rename it"
	case strings.Contains(path, `\`):
		return "has a backslash; use slashes"
	case !norm.NFC.IsNormalString(path):
		return "is not in Unicode's composed form (NFC); normalise it"
	}
	for _, r := range path {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return "has a control or invisible character; leave it out"
		}
	}
	for name := range strings.SplitSeq(path, "/") {
		if problem := nameProblem(name); problem != "" {
			return problem
		}
	}
	return ""
}

func nameProblem(name string) string {
	switch {
	case name == "":
		return "has an empty name between two slashes; clean it"
	case name == "." || name == "..":
		return "has the name " + name + "; clean it"
	case len(name) > MaxPathName:
		return "has a name longer than 255 bytes; shorten it"
	case isDotGit(name):
		return "has the name " + name + ", which some systems take for Git's own folder; rename it"
	}
	return ""
}

// isDotGit finds the names that a file system may open as ".git": any capitals; on NTFS trailing dots and spaces, a stream
// after a colon, and the short name git~1. Characters that HFS+ ignores never get here: pathProblem refuses them.
func isDotGit(name string) bool {
	name, _, _ = strings.Cut(name, ":")
	name = fold(strings.TrimRight(name, ". "))
	if name == ".git" {
		return true
	}
	digits, ok := strings.CutPrefix(name, "git~")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// fold gives the form in which two names are equal on a file system that ignores case.
func fold(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.String(cases.Fold().String(s))
		}
	}
	return strings.ToLower(s)
}

func branchProblem(branch string) string {
	switch {
	case branch == "":
		return "is empty; name a branch"
	case len(branch) > 200:
		return "is longer than 200 bytes; shorten it"
	case branch == "HEAD" || branch == "@" || strings.HasPrefix(branch, "-") || strings.HasPrefix(branch, "refs/"):
		return "is not a branch's short name"
	case strings.Contains(branch, "..") || strings.Contains(branch, "@{") || strings.HasSuffix(branch, "."):
		return `has "..", "@{" or a dot at its end, which Git refuses`
	case !utf8.ValidString(branch) || strings.ContainsAny(branch, " ~^:?*[\\\x7f"):
		return "has a character that Git refuses"
	}
	for _, r := range branch {
		if unicode.IsControl(r) {
			return "has a control character"
		}
	}
	for part := range strings.SplitSeq(branch, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return `has a part that is empty, begins with a dot or ends in ".lock"`
		}
	}
	return ""
}
