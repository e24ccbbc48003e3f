package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Placeholders of a layout's URL, branch and folder.
var placeholders = []string{"application", "environment", "environment_type", "team", "hash"}

const placeholderList = "{application}, {environment}, {environment_type}, {team} or {hash}"

// Names are what a layout's placeholders stand for in one environment.
type Names struct {
	Env Env
	// Type is the id of the environment's type.
	Type string
	// Owner is the application's; its last part is the team.
	Owner string
}

// sampleNames fill a template where it is checked and no environment is at hand. They differ from one another, so that two
// templates which differ come out different.
var sampleNames = Names{Env: Env{App: "shop", ID: "dev"}, Type: "development", Owner: "teams/checkout"}

// Hash gives the two hexadecimal digits that {hash} stands for. They hang on the environment's name alone, so that they never
// change, and spread any number of environments evenly over 256 folders.
func (n Names) Hash() string {
	sum := sha256.Sum256([]byte(n.Env.Name()))
	return hex.EncodeToString(sum[:1])
}

// Fill puts an environment's names into a template that was checked. What they put in are ids, or a team that Team has checked,
// so none of them can add a slash or leave its folder.
func (n Names) Fill(template string) string {
	team, _ := Team(n.Owner)
	return strings.NewReplacer("{application}", n.Env.App, "{environment}", n.Env.ID, "{environment_type}", n.Type, "{team}", team, "{hash}", n.Hash()).
		Replace(template)
}

// Sample fills a template with names that stand for any.
func Sample(template string) string { return sampleNames.Fill(template) }

var teamPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

// Team gives the team of an application's owner: its last part in lower case, such as "checkout" of "teams/checkout". It is part
// of URLs, branches and folders, so an owner whose last part cannot be there has none.
func Team(owner string) (string, bool) {
	team := strings.ToLower(owner[strings.LastIndexByte(owner, '/')+1:])
	if len(team) > MaxID || !teamPattern.MatchString(team) || strings.Contains(team, "..") || strings.HasSuffix(team, ".lock") || strings.HasSuffix(team, ".git") {
		return "", false
	}
	return team, true
}

// needTeam is the error of an environment whose layout needs a team that its application does not have.
func (n Names) needTeam(template string) error {
	if !strings.Contains(template, "{team}") {
		return nil
	}
	if n.Owner == "" {
		return errs.InvalidField("application.owner", "is empty, and the layout of %s needs a team in %s; set the owner first: tow app update %s --owner teams/NAME",
			n.Env.Name(), quote(template), n.Env.App)
	}
	if _, ok := Team(n.Owner); !ok {
		return errs.InvalidField("application.owner", "%s does not end with a team that can be part of a URL, branch and folder, and the layout of %s needs one in %s; "+
			"give one of letters, digits, \"-\", \"_\" and \".\": tow app update %s --owner teams/NAME", quote(n.Owner), n.Env.Name(), quote(template), n.Env.App)
	}
	return nil
}

func checkPlaceholders(field, template string) error {
	for _, m := range placeholder.FindAllStringSubmatch(template, -1) {
		if !slices.Contains(placeholders, m[1]) {
			return errs.InvalidField(field, "has the unknown placeholder {%s}; use %s", m[1], placeholderList)
		}
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(template, "x"), "{}") {
		return errs.InvalidField(field, "%q has a brace that does not close; a placeholder is %s", template, placeholderList)
	}
	return nil
}

// CheckURLTemplate checks the placeholders of a clone URL. They may be in its path only: a host, user or port that comes from a
// name would send credentials to whoever may choose names. Whether it is a clone URL is to be checked with Sample.
func CheckURLTemplate(field, raw string) error {
	if err := checkPlaceholders(field, raw); err != nil {
		return err
	}
	if at := strings.IndexByte(raw, '{'); at >= 0 && at < pathOf(raw) {
		return errs.InvalidField(field, "has a placeholder before its path; scheme and host are the same for all environments, as in https://git.example.com/{team}/{application}.git")
	}
	return nil
}

// pathOf gives where the path of a clone URL begins, also of git@host:path.
func pathOf(raw string) int {
	if _, rest, ok := strings.Cut(raw, "://"); ok {
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			return len(raw) - len(rest) + slash + 1
		}
		return len(raw)
	}
	if colon := strings.IndexByte(raw, ':'); colon >= 0 {
		return colon + 1
	}
	return len(raw)
}

// CheckBranchTemplate checks a branch that may have placeholders, by the rules of git check-ref-format.
func CheckBranchTemplate(field, template string) error {
	if err := checkPlaceholders(field, template); err != nil {
		return err
	}
	if branch := Sample(template); !isBranch(branch) {
		return errs.InvalidField(field, "%s is no name for a Git branch; use letters, digits, \"-\", \"_\", \".\" and single slashes between them", quote(template))
	}
	return nil
}

func isBranch(branch string) bool {
	if branch == "" || branch == "@" || len(branch) > 240 || branch[0] == '-' || strings.ContainsAny(branch, " ~^:?*[\\{}") || strings.Contains(branch, "..") {
		return false
	}
	if strings.ContainsFunc(branch, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return false
	}
	for part := range strings.SplitSeq(branch, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// Layout is how environments are laid out: the repository that they follow, and those of its splits by their names.
type Layout struct {
	Main   *catalogv1.Repository
	Splits map[string]*catalogv1.Repository
}

// Place gives where the layout puts an environment.
func (l Layout) Place(n Names) (*catalogv1.Place, error) {
	url, branch, path, err := n.fillAll(l.Main)
	if err != nil {
		return nil, err
	}
	p := &catalogv1.Place{Repository: l.Main.GetName(), Url: url, Branch: branch, Path: path}
	for _, split := range l.Main.GetSplits() {
		if url, branch, path, err = n.fillAll(l.Splits[split.GetRepository()]); err != nil {
			return nil, err
		}
		p.Parts = append(p.Parts, &catalogv1.PartPlace{
			Id: split.GetId(), Repository: split.GetRepository(), Url: url, Branch: branch, Path: path, Select: split.GetSelect(),
		})
	}
	if a, b, ok := Overlap(Locations(p)); ok {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PATH, "%s would be written to %s and %s, which contain one another; change the folder of %s or %s",
			n.Env.Name(), a, b, a.Repository, b.Repository).With("path", a.Path)
	}
	return p, nil
}

func (n Names) fillAll(r *catalogv1.Repository) (url, branch, path string, err error) {
	template := r.GetPathTemplate()
	if template == "" {
		template = DefaultPathTemplate
	}
	for _, t := range []string{r.GetUrl(), r.GetBranch(), template} {
		if err := n.needTeam(t); err != nil {
			return "", "", "", err
		}
	}
	return n.Fill(r.GetUrl()), n.Fill(r.GetBranch()), n.Fill(template), nil
}

// Fold gives the form in which two folders are the same on a file system that ignores capitals and Unicode's forms.
func Fold(path string) string {
	for i := range len(path) {
		if path[i] >= 0x80 {
			return norm.NFC.String(cases.Fold().String(norm.NFC.String(path)))
		}
	}
	return strings.ToLower(path)
}
