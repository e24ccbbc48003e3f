package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

func (t *tow) gitShowCmd() *cobra.Command {
	var g gitPlace
	var names bool
	cmd := &cobra.Command{
		Use: "show WHERE COMMIT", Short: "Show a commit and what it changed", Args: exactArgs("an environment such as shop/dev, or a repository", "a commit"),
		Long:    "Shows a commit's author, time and message, and what it changed against the one before. Values of Secrets are masked.\n\n" + gitWhere + "\n\n" + gitCommits,
		Example: "  tow git show shop/dev 7\n  tow git show shop/dev 1f0c9ab --names-only\n  tow git show default 1f0c9ab -o yaml",
	}
	g.bind(t, cmd, true)
	cmd.Flags().BoolVar(&names, "names-only", false, "list the changed files without their differences")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, c, parent, commits, err := t.gitAsk(ctx, g, args[0], args[1])
		if err != nil {
			return err
		}
		m, err := c.gitService().GetCommit(ctx, &catalogv1.GetCommitRequest{Parent: parent, Part: g.part, Commit: commits[0], NamesOnly: names})
		if err != nil {
			return err
		}
		if done, err := p.structured(m, m.GetId()); done {
			return err
		}
		return t.showCommit(p, m, names)
	})
	return cmd
}

// gitAsk reads what the commands have in common: the place, and commits of it.
func (t *tow) gitAsk(ctx context.Context, g gitPlace, where string, commits ...string) (p *printer, c *client, parent string, ids []string, err error) {
	if p, err = t.printer(g.format); err != nil {
		return nil, nil, "", nil, err
	}
	if parent, err = gitParent(where); err != nil {
		return nil, nil, "", nil, err
	}
	if c, err = t.api(); err != nil {
		return nil, nil, "", nil, err
	}
	for _, arg := range commits {
		id := ""
		if arg != "" {
			if id, err = commitID(ctx, c, parent, g.part, arg); err != nil {
				return nil, nil, "", nil, err
			}
		}
		ids = append(ids, id)
	}
	return p, c, parent, ids, nil
}

func (t *tow) showCommit(p *printer, m *committerv1.Commit, names bool) error {
	deployment := deploymentOf(m)
	if deployment == "-" {
		deployment = ""
	}
	var trailers []string
	for key, value := range m.GetTrailers() {
		trailers = append(trailers, key+": "+value)
	}
	slices.Sort(trailers)
	message, _, _ := strings.Cut(m.GetMessage(), "\nTowpath-")
	err := p.fields("Commit", m.GetId(), "Deployment", deployment, "By", byWhom(m), "Author", m.GetAuthor(), "Committer", m.GetCommitter(),
		"When", p.when(m.GetTime()), "Signature", m.GetSignature(), "Message", strings.TrimSpace(message), "Trailers", strings.Join(trailers, "\n"))
	if err != nil {
		return err
	}
	if m.GetChanges() == nil {
		t.notef("what it changed is not known: the Git host does not give the commit before it")
		return nil
	}
	t.printf("\n")
	return t.showComparison(p, m.GetChanges(), names)
}

// showComparison writes what differs: the files alone, or with their differences.
func (t *tow) showComparison(p *printer, c *committerv1.Comparison, names bool) error {
	if c.GetTotal() == 0 {
		t.notef("nothing differs")
		return nil
	}
	for _, f := range c.GetFiles() {
		switch {
		case names:
			t.printf("%s %s\n", changeMark(f.GetAction()), clean(f.GetPath()))
		case f.GetDiffOmitted():
			t.printf("%s\n", p.paint(bold, changeMark(f.GetAction())+" "+clean(f.GetPath())+" (no text, or too much to show)"))
		case f.GetDiff() == "":
			t.printf("%s\n", p.paint(bold, changeMark(f.GetAction())+" "+clean(f.GetPath())))
		default:
			t.printf("%s", p.diff(f.GetDiff()))
		}
	}
	if more := int(c.GetTotal()) - len(c.GetFiles()); more > 0 {
		t.notef("and %d more files; give --path to see some of them", more)
	}
	return nil
}

func changeMark(a committerv1.ChangedFile_Action) string {
	switch a {
	case committerv1.ChangedFile_ACTION_ADD:
		return "A"
	case committerv1.ChangedFile_ACTION_DELETE:
		return "D"
	default:
		return "M"
	}
}

func (t *tow) gitDiffCmd() *cobra.Command {
	var g gitPlace
	var path string
	var names bool
	cmd := &cobra.Command{
		Use: "diff WHERE BASE [HEAD]", Short: "Show what differs between two commits",
		Args: rangeArgs(2, "an environment such as shop/dev, or a repository", "the older commit", "the newer commit"),
		Long: "Shows the files that differ between two commits, the second being the branch's tip when it is left out. Values of Secrets are\nmasked.\n\n" +
			gitWhere + "\n\n" + gitCommits,
		Example: "  tow git diff shop/dev 5 7\n  tow git diff shop/dev 1f0c9ab --path api.yaml\n  tow git diff default 1f0c9ab 77ab012 --names-only",
	}
	g.bind(t, cmd, true)
	cmd.Flags().StringVar(&path, "path", "", "only what is below this path of the folder")
	cmd.Flags().BoolVar(&names, "names-only", false, "list the files that differ without their differences")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, c, parent, commits, err := t.gitAsk(ctx, g, args[0], append(slices.Clone(args[1:]), "")[:2]...)
		if err != nil {
			return err
		}
		m, err := c.gitService().CompareCommits(ctx, &catalogv1.CompareCommitsRequest{
			Parent: parent, Part: g.part, Base: commits[0], Head: commits[1], Path: path, NamesOnly: names,
		})
		if err != nil {
			return err
		}
		var files []string
		for _, f := range m.GetFiles() {
			files = append(files, f.GetPath())
		}
		if done, err := p.structured(m, files...); done {
			return err
		}
		return t.showComparison(p, m, names)
	})
	return cmd
}

func (t *tow) gitListCmd() *cobra.Command {
	var g gitPlace
	var at string
	cmd := &cobra.Command{
		Use: "ls WHERE [FOLDER]", Short: "List files", Args: rangeArgs(1, "an environment such as shop/dev, or a repository", "a folder"),
		Long:    "Lists the files of an environment or repository, as they are or as they were at a commit.\n\n" + gitWhere + "\n\n" + gitCommits,
		Example: "  tow git ls shop/dev\n  tow git ls shop/dev --at 7\n  tow git ls default environments/dev -o json",
	}
	g.bind(t, cmd, true)
	cmd.Flags().StringVar(&at, "at", "", "the commit; the branch's tip when left out")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, c, parent, commits, err := t.gitAsk(ctx, g, args[0], at)
		if err != nil {
			return err
		}
		folder := strings.Trim(append(slices.Clone(args[1:]), "")[0], "/")
		m, err := c.gitService().GetTree(ctx, &catalogv1.GetTreeRequest{Parent: parent, Part: g.part, Commit: commits[0], Path: folder, NamesOnly: true})
		if err != nil {
			return err
		}
		var files []string
		for _, f := range m.GetFiles() {
			files = append(files, f.GetPath())
		}
		if done, err := p.structured(m, files...); done {
			return err
		}
		if len(files) == 0 {
			t.notef("no files there")
		}
		return printTable(p, m.GetFiles(), []column[*committerv1.File]{
			{"FILE", false, func(_ *printer, f *committerv1.File) string { return f.GetPath() }},
			{"ID", true, func(_ *printer, f *committerv1.File) string { return f.GetId() }},
		})
	})
	return cmd
}

func (t *tow) gitCatCmd() *cobra.Command {
	var g gitPlace
	var at string
	cmd := &cobra.Command{
		Use: "cat WHERE FILE", Short: "Write a file", Args: exactArgs("an environment such as shop/dev, or a repository", "a file"),
		Long:    "Writes a file to standard output, as it is or as it was at a commit. Values of Secrets are masked.\n\n" + gitWhere + "\n\n" + gitCommits,
		Example: "  tow git cat shop/dev api.yaml\n  tow git cat shop/dev api.yaml --at 7",
	}
	g.bind(t, cmd, false)
	cmd.Flags().StringVar(&at, "at", "", "the commit; the branch's tip when left out")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		_, c, parent, commits, err := t.gitAsk(ctx, g, args[0], at)
		if err != nil {
			return err
		}
		m, err := c.gitService().GetFile(ctx, &catalogv1.GetFileRequest{Parent: parent, Part: g.part, Commit: commits[0], Path: args[1]})
		if err != nil {
			return err
		}
		content := m.GetFile().GetContent()
		if t.OutTerminal { // what somebody committed must not steer the terminal
			content = []byte(clean(string(content)))
		}
		_, err = t.Stdout.Write(content)
		return err
	})
	return cmd
}
