package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// foreignService gives the API of what is about Git alone.
func (c *client) foreignService() catalogv1.GitServiceClient {
	return catalogv1.NewGitServiceClient(c.conn)
}

type foreignChange struct {
	env string
	*catalogv1.ForeignChange
}

var foreignColumns = []column[foreignChange]{
	{"ENVIRONMENT", false, func(_ *printer, f foreignChange) string { return short(f.env) }},
	{"FOLDER", false, func(_ *printer, f foreignChange) string { return f.GetPath() }},
	{"BY", false, func(_ *printer, f foreignChange) string { return cmp.Or(f.GetAuthor(), "-") }},
	{"COMMIT", false, func(_ *printer, f foreignChange) string { return shortHash(f.GetForeignCommit()) }},
	{"SUBJECT", false, func(p *printer, f foreignChange) string { return p.value(f.GetSubject()) }},
	{"WHEN", false, func(p *printer, f foreignChange) string { return p.when(cmp.Or(f.GetTime(), f.GetNoticeTime())) }},
	{"STATE", false, func(_ *printer, f foreignChange) string { return foreignState(f.GetState()) }},
	{"DRAFT", false, func(_ *printer, f foreignChange) string { return cmp.Or(short(f.GetDraft()), "-") }},
}

func foreignState(s catalogv1.ForeignChange_State) string {
	switch s {
	case catalogv1.ForeignChange_STATE_HELD:
		return "waits for a decision"
	case catalogv1.ForeignChange_STATE_DECIDED:
		return "decided"
	default:
		return "told"
	}
}

func (t *tow) foreignCmd() *cobra.Command {
	return t.group("foreign", "Look at what others changed in Git, and decide about it", `A foreign change is a commit of somebody else in a folder that Towpath owns: an edit of a manifest, a removed folder, a branch that
was set back. What it means for deployments is the policy of the environment's type or repository (--foreign-policy): the next
deployment writes over it, deployments wait until somebody decides, or it also becomes a draft at once. Files outside of these
folders are nobody's business and are always kept.`,
		"  tow foreign list\n  tow foreign show shop/dev\n  tow foreign adopt shop/dev",
		t.foreignListCmd(), t.foreignShowCmd(),
		t.foreignDecideCmd("overwrite", "Let deployments write over it", "The next deployment of the environment writes over what others changed; one that waits goes on at once.",
			catalogv1.ResolveForeignChangeRequest_DECISION_OVERWRITE, "deployments may write over %s"),
		t.foreignDecideCmd("restore", "Put back what Towpath wrote", "Makes a commit that puts the folder back to what Towpath wrote last, without a deployment.",
			catalogv1.ResolveForeignChangeRequest_DECISION_RESTORE, "%s is put back"),
		t.foreignDecideCmd("adopt", "Make a draft of it", `Makes a draft that keeps the change: fields that a Score document or a variable decides are set there for this environment, all
others by patches of the rendered objects. Deploying the draft brings it in by Towpath's way; until then it stands in Git.`,
			catalogv1.ResolveForeignChangeRequest_DECISION_ADOPT, "%s is kept by a draft"))
}

func (t *tow) foreignListCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "list [APP/ENV]", Short: "List what others changed in Git", Args: atMostOne("an environment such as shop/dev"), Aliases: []string{"ls"},
		Long:    "Lists the folders that others changed, of one environment or of all: who, in which commit, and whether deployments wait for it.",
		Example: "  tow foreign list\n  tow foreign list shop/dev -o json",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		envs, err := t.environmentsOf(ctx, args)
		if err != nil {
			return err
		}
		var all []foreignChange
		shown := &catalogv1.ListEnvironmentsResponse{}
		for _, e := range envs {
			if len(e.GetForeignChanges()) > 0 {
				shown.Environments = append(shown.Environments, e)
			}
			for _, f := range e.GetForeignChanges() {
				all = append(all, foreignChange{e.GetName(), f})
			}
		}
		if len(all) == 0 && (format == "table" || format == "wide") {
			t.notef("nobody but Towpath changed a folder, as far as is known")
		}
		var names []string
		for _, f := range all {
			names = append(names, f.env)
		}
		if done, err := p.structured(shown, names...); done {
			return err
		}
		return printTable(p, all, foreignColumns)
	})
	return cmd
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("%d arguments; give %s, or nothing", len(args), what)
		}
		return nil
	}
}

// environmentsOf gives the named environment, or all.
func (t *tow) environmentsOf(ctx context.Context, args []string) ([]environment, error) {
	if len(args) == 0 {
		return t.listEnvironments(ctx, applications+"/-")
	}
	name, err := envName(args[0])
	if err != nil {
		return nil, err
	}
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	e, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
	return []environment{e}, err
}

func (t *tow) foreignShowCmd() *cobra.Command {
	var format, path string
	var files bool
	cmd := &cobra.Command{
		Use: "show APP/ENV", Short: "Show what others changed in Git", Args: exactArgs("an environment such as shop/dev"),
		Long: `Shows who changed the environment's folder in which commit, the fields that differ from what Towpath wrote, and what a draft would
keep of it. --files shows the files' differences instead of the fields.`,
		Example: "  tow foreign show shop/dev\n  tow foreign show shop/dev --files",
	}
	t.outputFlag(cmd, &format)
	cmd.Flags().StringVar(&path, "path", "", "the folder, where others changed several")
	complete(cmd, "path", t.completeForeignFolders)
	cmd.Flags().BoolVar(&files, "files", false, "show the differences of the files")
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		d, err := c.foreignService().GetForeignChange(ctx, &catalogv1.GetForeignChangeRequest{Name: name, Path: path})
		if err != nil {
			return err
		}
		if done, err := p.structured(d, name); done {
			return err
		}
		return p.foreign(name, d, files)
	})
	return cmd
}

func (p *printer) foreign(env string, d *catalogv1.ForeignChangeDetail, files bool) error {
	f := d.GetChange()
	found := f.GetFoundTree()
	if found == "" {
		found = "nothing"
	}
	if err := p.fields("Environment", short(env), "Folder", f.GetPath(), "Repository", short(f.GetRepository())+", branch "+f.GetBranch(),
		"By", cmp.Or(f.GetAuthor(), "nobody knows"), "Commit", f.GetForeignCommit(), "Subject", f.GetSubject(), "When", stamp(f.GetTime()),
		"Noticed", stamp(f.GetNoticeTime()), "Expected", f.GetExpectedTree(), "Found", found, "State", foreignState(f.GetState()),
		"Draft", short(f.GetDraft()), "Said", strings.Join(f.GetNotAdopted(), "\n")); err != nil {
		return err
	}
	var b strings.Builder
	if files {
		for _, c := range d.GetFiles() {
			b.WriteString("\n" + p.diff(c.GetDiff()))
		}
	} else if d.GetText() != "" {
		b.WriteString("\n" + p.differences(d.GetText()))
	}
	if ops := overlayLines(d.GetAdoption().GetOverlayOperations()); len(ops)+len(d.GetAdoption().GetVariables()) > 0 {
		fmt.Fprintf(&b, "\nA draft would set:\n")
		for _, line := range append(ops, variableLines(d.GetAdoption().GetVariables())...) {
			fmt.Fprintf(&b, "  %s\n", clean(line))
		}
	}
	if len(d.GetNotAdoptable()) > 0 {
		fmt.Fprintf(&b, "\nA draft cannot keep:\n")
		for _, line := range d.GetNotAdoptable() {
			fmt.Fprintf(&b, "  %s\n", clean(line))
		}
	}
	_, err := fmt.Fprint(p.out, b.String())
	return err
}

func (t *tow) foreignDecideCmd(verb, title, long string, decision catalogv1.ResolveForeignChangeRequest_Decision, said string) *cobra.Command {
	var format, path, message, found string
	cmd := &cobra.Command{
		Use: verb + " APP/ENV", Short: title, Args: exactArgs("an environment such as shop/dev"), Long: long,
		Example: "  tow foreign " + verb + " shop/dev",
	}
	t.outputFlag(cmd, &format)
	cmd.Flags().StringVar(&path, "path", "", "the folder, where others changed several")
	complete(cmd, "path", t.completeForeignFolders)
	cmd.Flags().StringVar(&found, "found", "", "the tree that you looked at; refused where another one stands there by now")
	if decision != catalogv1.ResolveForeignChangeRequest_DECISION_ADOPT {
		cmd.Flags().StringVarP(&message, "message", "m", "", "why, for the commit")
	}
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		f, err := c.foreignService().ResolveForeignChange(ctx, &catalogv1.ResolveForeignChangeRequest{
			Name: name, Path: path, Decision: decision, FoundTree: found, Message: message,
		})
		if err != nil {
			return err
		}
		if done, err := p.structured(f, name); done {
			return err
		}
		t.printf(said+"\n", f.GetPath())
		if f.GetDraft() != "" && decision == catalogv1.ResolveForeignChangeRequest_DECISION_ADOPT {
			t.printf("look at it and bring it in: tow draft deploy %s --plan, then without --plan\n", short(f.GetDraft()))
			for _, line := range f.GetNotAdopted() {
				t.notef("not kept: %s", clean(line))
			}
		}
		return nil
	})
	return cmd
}

// foreignLines tell of what others changed in an environment's folders.
func foreignLines(m environment) string {
	var out []string
	for _, f := range m.GetForeignChanges() {
		line := "Git differs from what was rendered: " + cmp.Or(f.GetAuthor(), "somebody") + " changed " + f.GetPath()
		if f.GetForeignCommit() != "" {
			line += " in " + shortHash(f.GetForeignCommit())
		}
		switch f.GetState() {
		case catalogv1.ForeignChange_STATE_HELD:
			line += "; deployments wait (tow foreign show " + short(m.GetName()) + ")"
		case catalogv1.ForeignChange_STATE_DECIDED:
			line += "; decided"
		default:
			line += "; the next deployment writes over it"
		}
		out = append(out, clean(line))
	}
	return strings.Join(out, "\n")
}

var foreignPolicies = map[string]committerv1.ForeignPolicy{
	"overwrite": committerv1.ForeignPolicy_FOREIGN_POLICY_OVERWRITE, "hold": committerv1.ForeignPolicy_FOREIGN_POLICY_HOLD,
	"adopt": committerv1.ForeignPolicy_FOREIGN_POLICY_ADOPT, "": committerv1.ForeignPolicy_FOREIGN_POLICY_UNSPECIFIED,
}

// foreignPolicyField is the flag for what happens when somebody else changes an owned folder.
func foreignPolicyField[T any](fs *pflag.FlagSet, unset string, set func(m T, v committerv1.ForeignPolicy)) field[T] {
	v := fs.String("foreign-policy", "", "what happens when somebody else changes a folder that Towpath owns: overwrite, hold or adopt; "+unset+" when empty")
	return field[T]{"foreign-policy", "foreign_policy", func(m T) error {
		policy, ok := foreignPolicies[strings.ToLower(*v)]
		if !ok {
			return usagef("--foreign-policy %q is none; give overwrite, hold or adopt", *v)
		}
		set(m, policy)
		return nil
	}}
}

func foreignPolicyText(p committerv1.ForeignPolicy) string {
	for text, v := range foreignPolicies {
		if v == p && text != "" {
			return text
		}
	}
	return "-"
}

// foreignText tells of the event that somebody changed a folder; s gives its fields.
func foreignText(s func(string) string) []string {
	commit := cmp.Or(s("foreignCommit"), s("commit"))
	parts := []string{"commit", shortHash(commit), "changed", s("path")}
	if s("author") != "" {
		parts = append(parts, "by", s("author"))
	}
	return parts
}

// draftSize is how many changes a draft has: of the set, and of its environment alone.
func draftSize(d draft) int {
	return len(d.GetOperations()) + len(d.GetOverlayOperations()) + len(d.GetVariables())
}

// noteForeign says beside the drift of one environment that Git itself is not what was rendered.
func (t *tow) noteForeign(ctx context.Context, c *client, env, format string) error {
	if env == "" || format != "table" && format != "wide" {
		return nil
	}
	name, err := envName(env)
	if err != nil {
		return err
	}
	m, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
	if err != nil {
		return err
	}
	if lines := foreignLines(m); lines != "" {
		t.notef("%s", lines)
	}
	return nil
}
