package cli

import (
	"context"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

const gitWhere = `WHERE is an environment such as shop/dev, of which the commands show its own folder only, also after it was removed, or a
repository such as default, of which they show everything to those who may read every application.`

const gitCommits = `A commit is given by its id, by the first 7 or more digits of one of the newest, or by the number of the deployment that made it.`

func (t *tow) gitCmd() *cobra.Command {
	return t.group("git", "Look at what is in Git", "Shows commits, files and differences as Git has them, without a clone.\n\n"+gitWhere,
		"  tow git log shop/dev\n  tow git show shop/dev 7\n  tow git ls default environments",
		t.gitLogCmd(), t.gitShowCmd(), t.gitListCmd(), t.gitCatCmd(), t.gitDiffCmd(), t.gitCredentialCmd())
}

func (c *client) gitService() catalogv1.GitServiceClient {
	return catalogv1.NewGitServiceClient(c.conn)
}

// gitPlace is what all of the commands are told: where to look.
type gitPlace struct{ part, format string }

func (g *gitPlace) bind(t *tow, cmd *cobra.Command, formats bool) {
	cmd.Flags().StringVar(&g.part, "part", "", "a part of the environment that is written to a place of its own")
	g.format = "table"
	if formats {
		t.outputFlag(cmd, &g.format)
	}
	cmd.ValidArgsFunction = completeOnce(t.completeGitPlaces)
}

// completeGitPlaces gives environments and repositories.
func (t *tow) completeGitPlaces(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	envs, _ := t.environments().completer(t)(cmd, args, prefix)
	repos, d := t.repositories().completer(t)(cmd, args, prefix)
	return append(envs, repos...), d
}

// gitParent makes the full name of an environment or a repository.
func gitParent(arg string) (string, error) {
	if strings.Contains(arg, "/") && !strings.HasPrefix(arg, repositories+"/") {
		return envName(arg)
	}
	return repoName(arg)
}

func (t *tow) gitLogCmd() *cobra.Command {
	var g gitPlace
	var path string
	var limit int32
	cmd := &cobra.Command{
		Use: "log WHERE", Short: "List commits", Args: exactArgs("an environment such as shop/dev, or a repository"),
		Long:    "Lists the commits that changed an environment's folder, or a repository's, newest first.\n\n" + gitWhere,
		Example: "  tow git log shop/dev\n  tow git log shop/dev --path api.yaml -o wide\n  tow git log default --limit 100",
	}
	g.bind(t, cmd, true)
	cmd.Flags().StringVar(&path, "path", "", "only commits that change something below this path of the folder")
	cmd.Flags().Int32Var(&limit, "limit", 20, "show at most so many; 0 for all")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(g.format)
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit is negative; give 0 for all, or more")
		}
		parent, err := gitParent(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		list, err := listCommits(ctx, c, &catalogv1.ListCommitsRequest{Parent: parent, Part: g.part, Path: path}, int(limit))
		if err != nil {
			return err
		}
		if len(list.GetCommits()) == 0 && (g.format == "table" || g.format == "wide") {
			t.notef("no commit of %s yet", short(parent))
		}
		ids := make([]string, len(list.GetCommits()))
		for i, m := range list.GetCommits() {
			ids[i] = m.GetId()
		}
		if done, err := p.structured(list, ids...); done {
			return err
		}
		return printTable(p, list.GetCommits(), commitColumns)
	})
	return cmd
}

// listCommits collects pages until there are enough commits; 0 for all. A page may be empty and not the last one.
func listCommits(ctx context.Context, c *client, r *catalogv1.ListCommitsRequest, limit int) (*catalogv1.ListCommitsResponse, error) {
	out := &catalogv1.ListCommitsResponse{}
	for {
		r.PageSize = 1000
		if limit > 0 {
			r.PageSize = int32(min(limit-len(out.GetCommits()), 1000)) //nolint:gosec // at most 1000
		}
		page, err := c.gitService().ListCommits(ctx, r)
		if err != nil {
			return nil, err
		}
		out.Commits = append(out.Commits, page.GetCommits()...)
		r.PageToken, out.NextPageToken = page.GetNextPageToken(), page.GetNextPageToken()
		if r.GetPageToken() == "" || limit > 0 && len(out.GetCommits()) >= limit {
			return out, nil
		}
	}
}

var commitColumns = []column[*committerv1.Commit]{
	{"COMMIT", false, func(p *printer, m *committerv1.Commit) string {
		if p.format == "wide" {
			return m.GetId()
		}
		return shortHash(m.GetId())
	}},
	{"WHEN", false, func(p *printer, m *committerv1.Commit) string { return p.when(m.GetTime()) }},
	{"DEPLOYMENT", false, func(_ *printer, m *committerv1.Commit) string { return deploymentOf(m) }},
	{"BY", false, func(_ *printer, m *committerv1.Commit) string { return byWhom(m) }},
	{"AUTHOR", true, func(_ *printer, m *committerv1.Commit) string { return m.GetAuthor() }},
	{"SIGNED", true, func(_ *printer, m *committerv1.Commit) string { return m.GetSignature() }},
	{"MESSAGE", false, func(_ *printer, m *committerv1.Commit) string { return clip(m.GetSubject(), 60) }},
}

// deploymentOf gives the deployment that made a commit, "-" for a person's own.
func deploymentOf(m *committerv1.Commit) string {
	if name := m.GetTrailers()["Towpath-Deployment"]; name != "" {
		return short(name)
	}
	return "-"
}

// byWhom gives who asked for the deployment, or who wrote the commit by hand.
func byWhom(m *committerv1.Commit) string {
	if actor := m.GetTrailers()["Towpath-Actor"]; actor != "" {
		return actor
	}
	name, _, _ := strings.Cut(m.GetAuthor(), " <")
	return name
}

var (
	wholeID  = regexp.MustCompile(`^[0-9a-f]{40}$`)
	partOfID = regexp.MustCompile(`^[0-9a-f]{7,39}$`)
	isNumber = regexp.MustCompile(`^[0-9]{1,6}$`)
)

// newest is how many commits are looked through for one that is given by its first digits.
const newest = 1000

// commitID finds the commit that somebody means.
func commitID(ctx context.Context, c *client, parent, part, arg string) (string, error) {
	arg = strings.TrimPrefix(arg, "#")
	switch {
	case wholeID.MatchString(arg):
		return arg, nil
	case isNumber.MatchString(arg) && strings.HasPrefix(parent, applications+"/"):
		d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: parent + "/" + deployments + "/" + arg})
		if err != nil {
			return "", err
		}
		if d.GetCommit() == "" {
			return "", usagef("deployment %s made no commit; choose another of `tow history -e %s`", short(d.GetName()), short(parent))
		}
		return d.GetCommit(), nil
	case !partOfID.MatchString(arg):
		return "", usagef("%q is no commit; give its id, 7 or more of its digits, or a deployment's number", arg)
	}
	list, err := listCommits(ctx, c, &catalogv1.ListCommitsRequest{Parent: parent, Part: part}, newest)
	if err != nil {
		return "", err
	}
	found := ""
	for _, m := range list.GetCommits() {
		if !strings.HasPrefix(m.GetId(), arg) {
			continue
		}
		if found != "" {
			return "", usagef("%s is the beginning of several commits; give more digits", arg)
		}
		found = m.GetId()
	}
	if found == "" {
		return "", usagef("none of the newest commits of %s begins with %s; give the whole id of an older one", short(parent), arg)
	}
	return found, nil
}
