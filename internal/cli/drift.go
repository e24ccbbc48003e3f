package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

type finding = *driftv1.Finding

// objectOf names the object of a finding as kubectl does.
func objectOf(f finding) string { return f.GetObjectKind() + "/" + f.GetObjectName() }

// findingColumns show findings; that of the environment comes first where several are shown.
func findingColumns(all bool) []column[finding] {
	columns := []column[finding]{
		{"ID", false, func(_ *printer, f finding) string { return last(f.GetName()) }},
		{"KIND", false, func(_ *printer, f finding) string { return findingKind(f.GetKind()) }},
		{"OBJECT", false, func(_ *printer, f finding) string { return objectOf(f) }},
		{"FIELD", false, func(_ *printer, f finding) string { return f.GetField() }},
		{"GIT SAYS", false, func(p *printer, f finding) string { return p.value(valueText(f.GetDesired())) }},
		{"CLUSTER HAS", false, func(p *printer, f finding) string { return p.value(valueText(f.GetLive())) }},
		{"BY", false, func(_ *printer, f finding) string { return f.GetManager() }},
		{"STANDING", true, func(_ *printer, f finding) string { return standingWord(f) }},
		{"PERSON", true, func(_ *printer, f finding) string { return f.GetActor() }},
		{"OPERATION", true, func(_ *printer, f finding) string { return f.GetOperation() }},
		{"EDITED", false, func(p *printer, f finding) string { return p.when(f.GetEditTime()) }},
		{"FOUND", true, func(p *printer, f finding) string { return p.when(f.GetDetectTime()) }},
	}
	if !all {
		return columns
	}
	env := column[finding]{"ENVIRONMENT", false, func(_ *printer, f finding) string { return short(envOf(f.GetName())) }}
	return append([]column[finding]{env}, columns...)
}

// value shortens a value for a table.
func (p *printer) value(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	if p.format == "wide" {
		return s
	}
	return clip(s, 30)
}

func (t *tow) driftCmd() *cobra.Command {
	return t.group("drift", "Find and settle what was changed past Towpath", `Drift is what the cluster has and Git does not say: a field that somebody changed, added or removed by hand. Each difference is
a finding with an id that stays the same for the same place, and with the field manager and time that the cluster recorded. What somebody else changed in the repository is found, listed
and settled the same way. Each is settled by one decision: put it back (revert), take it over (accept), or say that it does not
count (ignore).`,
		"  tow drift list -e shop/dev\n  tow drift revert -e shop/dev --plan",
		t.driftListCmd(), t.driftShowCmd(), t.driftRevertCmd(), t.driftAcceptCmd(), t.driftIgnoreCmd(), t.driftRulesCmd(), t.driftHistoryCmd(),
		t.driftWatchCmd())
}

// scopeFlags choose one environment or all.
type scopeFlags struct {
	env string
	all bool
}

func (f *scopeFlags) bind(t *tow, cmd *cobra.Command) {
	t.envFlagVar(cmd, &f.env, "the environment, such as shop/dev")
	cmd.Flags().BoolVarP(&f.all, "all", "A", false, "all environments")
	cmd.MarkFlagsMutuallyExclusive("env", "all")
}

func (f *scopeFlags) parent() (string, error) {
	if f.all {
		return anyEnvironment, nil
	}
	if f.env == "" {
		return "", usagef("which environment? give -e, such as -e shop/dev, or -A for all")
	}
	return envName(f.env)
}

func (t *tow) driftListCmd() *cobra.Command {
	var scope scopeFlags
	var format, standing string
	cmd := &cobra.Command{
		Use: "list -e APP/ENV | -A", Short: "List open findings", Args: noArgs, Aliases: []string{"ls"},
		Long: `Lists the open findings of one environment or of all, in the cluster and in Git: what Git says, what the cluster has, and who did it
when. --standing lists what is ignored by a rule, or delegated: what a controller is entitled to by evidence, such as replicas by an
autoscaler.`,
		Example: "  tow drift list -e shop/dev\n  tow drift list -A -o json\n  tow drift list -e shop/dev --standing all -o wide",
	}
	scope.bind(t, cmd)
	cmd.Flags().StringVar(&standing, "standing", "open", "which: open, ignored, delegated, all")
	complete(cmd, "standing", cobra.FixedCompletions([]string{"open", "ignored", "delegated", "all"}, cobra.ShellCompDirectiveNoFileComp))
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		parent, err := scope.parent()
		if err != nil {
			return err
		}
		of, err := standings(standing)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		all, err := findingsOf(ctx, c, parent, of)
		if err != nil {
			return err
		}
		if len(all) == 0 && (format == "table" || format == "wide") {
			t.notef("%s", strings.Replace("no "+standing+" findings", "no all ", "no ", 1))
		}
		if err := t.noteForeign(ctx, c, scope.env, format); err != nil {
			return err
		}
		return printList(p, &driftv1.ListFindingsResponse{Findings: all}, all, findingColumns(scope.all))
	})
	return cmd
}

func (t *tow) driftShowCmd() *cobra.Command {
	var env, format string
	cmd := &cobra.Command{
		Use: "show ID -e APP/ENV", Short: "Show a finding in full", Args: exactArgs("the id of a finding"),
		Long: `Shows one finding: the field, what Git says and what the cluster has, which field manager did it when, and how that is known. With the
id of a record, as tow drift history lists them, it shows also how the finding ended and who decided.`,
		Example: "  tow drift show 5f1c2a9be07d4413 -e shop/dev",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.completeFindings)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := findingName(env, args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if strings.Contains(last(name), "-") {
			return showRecord(ctx, p, c, strings.Replace(name, "/findings/", "/findingRecords/", 1))
		}
		f, err := c.getFinding(ctx, name)
		if err != nil {
			return err
		}
		if done, err := p.structured(f, f.GetName()); done {
			return err
		}
		return p.finding(f)
	})
	return cmd
}

func (p *printer) finding(f finding) error {
	desired, live := valueText(f.GetDesired()), valueText(f.GetLive())
	if f.GetDesired() == nil {
		desired = "nothing"
	}
	if f.GetLive() == nil {
		live = "nothing"
	}
	edited := stamp(f.GetEditTime())
	if edited != "" {
		edited += " (" + ago(p.now, f.GetEditTime().AsTime()) + ")"
	}
	return p.fields("Finding", last(f.GetName()), "Environment", short(envOf(f.GetName())), "Kind", findingKind(f.GetKind()),
		"Object", f.GetApiVersion()+" "+objectOf(f), "Namespace", f.GetNamespace(), "Field", f.GetField(),
		"Git says", desired, "Cluster has", live, "Manager", f.GetManager(), "Operation", f.GetOperation(),
		"Edited", edited, "Known by", f.GetAttribution(), "Found", stamp(f.GetDetectTime()),
		"Gone", stamp(f.GetResolveTime()), "How", f.GetResolution(), "Standing", standingWord(f), "Person", f.GetActor(),
		"Program", f.GetUserAgent(), "Rule", cmp.Or(f.GetIgnoreRule(), f.GetRule()))
}

func (t *tow) driftRevertCmd() *cobra.Command {
	var of pickedFindings
	var format string
	var yes, plan bool
	cmd := &cobra.Command{
		Use: "revert [ID...] -e APP/ENV", Short: "Put the cluster back to what Git says", Args: cobra.ArbitraryArgs,
		Long: `Puts back the named findings, those of an object, or all of the environment's cluster, and waits until they are gone. Git is not
touched, but for a finding in Git that is named: then what Towpath wrote is put back by a commit. --plan lists what would be put
back. In a terminal it asks first; without one it needs --yes.`,
		Example: `  tow drift revert -e shop/dev --plan
  tow drift revert 5f1c2a9be07d4413 -e shop/dev --yes`,
	}
	of.bind(t, cmd)
	cmd.Flags().BoolVar(&plan, "plan", false, "list what would be put back, and change nothing")
	yesFlag(cmd, &yes)
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envFlag(of.env)
		if err != nil {
			return err
		}
		if !plan && !yes && !t.InTerminal { // said before anything is asked
			return t.confirm(false, "put back findings of %s", short(name))
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		parent, names, err := of.names(ctx, c, args)
		if err != nil {
			return err
		}
		return t.revertAll(ctx, p, c, &driftv1.RevertFindingsRequest{Parent: parent, Names: names}, plan, yes)
	})
	return cmd
}

func (t *tow) revert(ctx context.Context, p *printer, req *driftv1.RevertFindingsRequest, plan, yes bool) error {
	c, err := t.api()
	if err != nil {
		return err
	}
	if plan || !yes {
		req.ValidateOnly = true
		would, err := c.drift.RevertFindings(ctx, req)
		if err != nil {
			return err
		}
		req.ValidateOnly = false
		found := would.GetReverted()
		if plan || len(found) == 0 {
			return t.printReverted(p, would, "would be put back")
		}
		if err := printTable(&printer{out: t.Stderr, format: "table", colour: p.colour, now: p.now}, found, findingColumns(false)); err != nil {
			return err
		}
		if err := t.confirm(false, "put back %s of %s", plural(len(found), "finding"), short(req.GetParent())); err != nil {
			return err
		}
		req.Names = nil
		for _, f := range found { // what was shown, and nothing that came since
			req.Names = append(req.Names, f.GetName())
		}
	}
	done, err := c.drift.RevertFindings(ctx, req)
	if err != nil {
		return err
	}
	return t.printReverted(p, done, "put back")
}

func (t *tow) printReverted(p *printer, r *driftv1.RevertFindingsResponse, verb string) error {
	var names []string
	for _, f := range r.GetReverted() {
		names = append(names, f.GetName())
	}
	if done, err := p.structured(r, names...); done {
		return err
	}
	if len(names) == 0 {
		t.printf("nothing to put back\n")
		return nil
	}
	for _, f := range r.GetReverted() {
		t.printf("%s: %s\n", verb, strings.Join(nonEmpty(objectOf(f), f.GetField()), " "))
	}
	t.printf("%s %s\n", plural(len(names), "finding"), verb)
	return nil
}

func (t *tow) driftWatchCmd() *cobra.Command {
	var scope scopeFlags
	var format string
	cmd := &cobra.Command{
		Use: "watch -e APP/ENV | -A", Short: "Show findings as they come and go", Args: noArgs,
		Long:    "Shows the open findings and then each one that comes or goes, one a line, until Ctrl-C. With -o json each line is an object.",
		Example: "  tow drift watch -e shop/dev\n  tow drift watch -A -o json",
	}
	scope.bind(t, cmd)
	lineFormatFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		if err := checkLineFormat(format); err != nil {
			return err
		}
		parent, err := scope.parent()
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		open, token := openFindings{}, ""
		return t.reconnecting(ctx, func(ctx context.Context) (bool, error) {
			stream, err := c.drift.WatchFindings(ctx, &driftv1.WatchFindingsRequest{Parent: parent, ResumeToken: token})
			for got := false; ; got = true {
				var r *driftv1.WatchFindingsResponse
				if err == nil {
					r, err = stream.Recv()
				}
				if errs.Is(err, errs.OutOfRange) && token != "" { // the server is another one: begin anew
					token = ""
					stream, err = c.drift.WatchFindings(ctx, &driftv1.WatchFindingsRequest{Parent: parent})
					continue
				}
				if err != nil {
					return got, err
				}
				token = cmp.Or(r.GetResumeToken(), token)
				if r.GetFinding() == nil || !open.news(r.GetFinding()) {
					continue
				}
				if err := p.findingLine(r.GetFinding()); err != nil {
					return true, err
				}
			}
		})
	})
	return cmd
}

// openFindings remembers what was shown, because a watch that is made again begins with all open findings.
type openFindings map[string]string

func (o openFindings) news(f finding) bool {
	if f.GetResolveTime() != nil {
		delete(o, f.GetName())
		return true
	}
	now := valueText(f.GetDesired()) + "\x00" + valueText(f.GetLive()) + "\x00" + f.GetKind().String()
	if before, known := o[f.GetName()]; known && before == now {
		return false
	}
	o[f.GetName()] = now
	return true
}

func (p *printer) findingLine(f finding) error {
	if p.format == "json" {
		return p.line(f)
	}
	what := p.painted(findingKind(f.GetKind()))
	at := f.GetDetectTime()
	if f.GetResolveTime() != nil {
		what, at = p.paint(green, "GONE")+" ("+f.GetResolution()+")", f.GetResolveTime()
	}
	_, err := fmt.Fprintf(p.out, "%s  %s  %s  %s %s  %s -> %s  by %s\n", stamp(at), last(f.GetName()), what, short(envOf(f.GetName()))+" "+objectOf(f),
		f.GetField(), p.value(valueText(f.GetDesired())), p.value(valueText(f.GetLive())), clean(f.GetManager()))
	return err
}
