package forge

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// callTimeout bounds one method of Client, with all its requests.
const callTimeout = 30 * time.Second

// label is on every pull request of Towpath.
const label = "towpath"

// The limits of the services, or below: a body that no service takes would fail a deployment for its description.
const (
	maxTitle = 250
	maxBody  = 60_000
)

// Client speaks with one project of one service. It may be used by several goroutines. No method tries again by itself.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
	dial func(ctx context.Context, c *Client) (service, error)
}

// pulls is what a service does with pull requests. Find gives only open ones between branches of the project itself.
type pulls interface {
	find(ctx context.Context, head, base string) (*PullRequest, error)
	create(ctx context.Context, p Proposal) (*PullRequest, []string, error)
	update(ctx context.Context, number int64, p Proposal) ([]string, error)
	get(ctx context.Context, number int64) (*PullRequest, error)
	shut(ctx context.Context, number int64, comment string) error
}

// project is what else a service does.
type project interface {
	merge(ctx context.Context, number int64, m Merge) error
	schedule(ctx context.Context, number int64, m Merge) error // to be merged by the service, when it may
	deleteBranch(ctx context.Context, branch string) error
	inspect(ctx context.Context, branch string) (*Access, error)
}

// service is a client of one service, made for one call. Its errors are those of the SDK; Client makes ours of them.
type service interface {
	pulls
	project
}

var dials = map[Kind]func(context.Context, *Client) (service, error){Gitea: dialGitea, GitHub: dialGitHub, GitLab: dialGitLab}

// New makes a client. It does no input or output. The error is errs.Invalid and names the field.
func New(cfg Config) (*Client, error) {
	dial, known := dials[cfg.Kind]
	if !known {
		return nil, errs.InvalidField("forge.kind", "%q is not known; give github, gitlab or gitea (also for Forgejo)", cfg.Kind)
	}
	base, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.Fragment != "" {
		return nil, errs.InvalidField("forge.url", "is not the base URL of a service; give one such as https://git.example.com")
	}
	if base.User != nil {
		return nil, errs.InvalidField("forge.url", "holds credentials; put them into the credentials folder and name them in forge.credentials")
	}
	cfg.Project = strings.TrimSuffix(strings.Trim(cfg.Project, "/"), ".git")
	if err := checkProject(cfg.Kind, cfg.Project); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, base: base, dial: dial, http: newHTTPClient(cfg.HTTPClient)}, nil
}

func checkProject(kind Kind, project string) error {
	parts := strings.Split(project, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || strings.ContainsFunc(p, func(r rune) bool {
			return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`?#%\`, r)
		}) {
			return errs.InvalidField("forge.project", "%q is not the path of a project; give one such as team/deployments", project)
		}
	}
	if len(parts) < 2 || len(parts) > 2 && kind != GitLab {
		return errs.InvalidField("forge.project", "%q is not owner/name; only GitLab has groups in groups", project)
	}
	return nil
}

// owner and name of the project, for services that know no subgroups.
func (c *Client) owner() string { owner, _, _ := strings.Cut(c.cfg.Project, "/"); return owner }
func (c *Client) name() string  { _, name, _ := strings.Cut(c.cfg.Project, "/"); return name }

// Find gives the open pull request from head to base, nil when there is none. An empty base stands for any.
func (c *Client) Find(ctx context.Context, head, base string) (pr *PullRequest, err error) {
	err = c.call(ctx, "look for a pull request", func(ctx context.Context, s service) error {
		pr, err = s.find(ctx, head, base)
		return err
	})
	return pr, err
}

// Create opens a pull request, or gives the one that is open for this head and base already. Labels and reviewers that did not
// work are told as warnings, in sentences without a full stop.
func (c *Client) Create(ctx context.Context, p Proposal) (pr *PullRequest, warnings []string, err error) {
	if p, err = p.complete(); err != nil {
		return nil, nil, err
	}
	if pr, err = c.Find(ctx, p.Head, p.Base); pr != nil || err != nil {
		return pr, nil, err
	}
	err = c.call(ctx, "open a pull request", func(ctx context.Context, s service) error {
		pr, warnings, err = s.create(ctx, p)
		return err
	})
	if err == nil {
		return pr, warnings, nil
	}
	// Another process may have been faster between the two calls, or an answer got lost.
	if found, ferr := c.Find(ctx, p.Head, p.Base); ferr == nil && found != nil {
		return found, nil, nil
	}
	return nil, nil, err
}

// Update brings title and body up to date, and adds labels and reviewers that are missing. What people have added stays, and
// nobody is asked twice. Head and base of the proposal are not looked at.
func (c *Client) Update(ctx context.Context, number int64, p Proposal) (warnings []string, err error) {
	if p, err = p.text(); err != nil {
		return nil, err
	}
	err = c.call(ctx, "change the pull request", func(ctx context.Context, s service) error {
		warnings, err = s.update(ctx, number, p)
		return err
	})
	return warnings, err
}

// Get gives a pull request with what it waits for. That may take some requests more than Find.
func (c *Client) Get(ctx context.Context, number int64) (pr *PullRequest, err error) {
	err = c.call(ctx, "read the pull request", func(ctx context.Context, s service) error {
		pr, err = s.get(ctx, number)
		return err
	})
	return pr, err
}

// Merge merges now. One that is merged already is no error. The kinds of errors: errs.Precondition when the service does not
// allow it, with metadata "waits_for"; errs.Conflict when its head is another one than was seen. A token that could override
// the branch's protection is not used to do so.
func (c *Client) Merge(ctx context.Context, number int64, m Merge) error {
	if err := m.complete(); err != nil {
		return err
	}
	err := c.call(ctx, "merge the pull request", func(ctx context.Context, s service) error { return s.merge(ctx, number, m) })
	if err == nil || outOfReach(err) {
		return err
	}
	pr, gerr := c.Get(ctx, number)
	if gerr != nil {
		return err
	}
	return judge(err, pr, m)
}

// AutoMerge merges now when the service allows it, else asks the service to do so as soon as it may. Merged tells which. Where
// the service cannot be asked, the error is that of Merge.
func (c *Client) AutoMerge(ctx context.Context, number int64, m Merge) (merged bool, err error) {
	if err := m.complete(); err != nil {
		return false, err
	}
	err = c.Merge(ctx, number, m)
	if err == nil {
		return true, nil
	}
	if !errs.Is(err, errs.Precondition) {
		return false, err
	}
	serr := c.call(ctx, "have the pull request merged later", func(ctx context.Context, s service) error { return s.schedule(ctx, number, m) })
	switch {
	case serr == nil:
		return false, nil
	case outOfReach(serr):
		return false, serr
	default:
		return false, annotate(err, "auto_merge", errs.Message(serr))
	}
}

// Close closes a pull request without a merge, and says why in a comment. One that is closed already is no error; a token that
// may not comment closes without.
func (c *Client) Close(ctx context.Context, number int64, comment string) error {
	return c.call(ctx, "close the pull request", func(ctx context.Context, s service) error { return s.shut(ctx, number, comment) })
}

// DeleteBranch deletes a branch; one that is gone is no error.
func (c *Client) DeleteBranch(ctx context.Context, branch string) error {
	err := c.call(ctx, "delete the branch", func(ctx context.Context, s service) error { return s.deleteBranch(ctx, branch) })
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// Inspect tells what the token may do and what the service demands of a branch. It changes nothing.
func (c *Client) Inspect(ctx context.Context, branch string) (a *Access, err error) {
	err = c.call(ctx, "read the project", func(ctx context.Context, s service) error {
		a, err = s.inspect(ctx, branch)
		return err
	})
	return a, err
}

// complete checks a proposal and makes its text fit.
func (p Proposal) complete() (Proposal, error) {
	for field, branch := range map[string]string{"head": p.Head, "base": p.Base} {
		if branch == "" || strings.HasPrefix(branch, "-") || strings.ContainsFunc(branch, unicode.IsControl) || strings.Contains(branch, ":") {
			return p, errs.InvalidField(field, "%q is not the name of a branch", branch)
		}
	}
	if p.Head == p.Base {
		return p, errs.InvalidField("head", "is the base itself; give another branch")
	}
	return p.text()
}

func (p Proposal) text() (Proposal, error) {
	p.Title = strings.Join(strings.Fields(p.Title), " ")
	if p.Title == "" {
		return p, errs.InvalidField("title", "is empty; give one line")
	}
	p.Title = cut(p.Title, maxTitle, "...")
	p.Body = cut(p.Body, maxBody, "\n\n(cut: the rest does not fit here)\n")
	p.Labels = unique(append([]string{label}, p.Labels...))
	p.Reviewers = unique(p.Reviewers)
	return p, nil
}

func (m *Merge) complete() error {
	switch m.Method {
	case "":
		m.Method = MergeCommit
	case MergeCommit, Squash, Rebase:
	default:
		return errs.InvalidField("merge_method", "%q is not known; give merge, squash or rebase", m.Method)
	}
	return nil
}

// judge says what a failed merge means, from what the service says of the pull request now. A merge that somebody else did, or
// whose answer got lost, has worked.
func judge(err error, pr *PullRequest, m Merge) error {
	switch {
	case pr.State == Merged:
		return nil
	case pr.State == Closed:
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_PULL_REQUEST_CLOSED,
			"pull request %d is closed; open it again, or deploy again for a new one", pr.Number).With("waits_for", "somebody who opens it again")
	case m.HeadCommit != "" && pr.HeadCommit != "" && pr.HeadCommit != m.HeadCommit:
		return errHeadMoved(pr, m).Because(err)
	case errs.Is(err, errs.Precondition) || errs.Is(err, errs.Conflict):
		return errNotMergeable(pr, err)
	default:
		return err
	}
}
