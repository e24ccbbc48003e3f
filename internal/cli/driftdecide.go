package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

type (
	findingRecord = *catalogv1.FindingRecord
	ignoreRule    = *driftv1.IgnoreRule
)

// findingService gives the API of what was found and decided.
func (c *client) findingService() catalogv1.FindingServiceClient {
	return catalogv1.NewFindingServiceClient(c.conn)
}

// openInGit gives the open findings in Git of a parent: they are in the catalog's records, drift knows clusters only.
func openInGit(ctx context.Context, c *client, parent string) ([]finding, error) {
	return pages(ctx, func(ctx context.Context, size int32, token string) ([]finding, string, error) {
		l, err := c.findingService().ListFindingRecords(ctx, &catalogv1.ListFindingRecordsRequest{
			Parent: parent, PageSize: size, PageToken: token, Filter: `open = true AND where = GIT`,
		})
		var out []finding
		for _, r := range l.GetFindingRecords() {
			out = append(out, r.GetFinding())
		}
		return out, l.GetNextPageToken(), err
	})
}

// standings reads --standing.
func standings(word string) ([]driftv1.Finding_Standing, error) {
	switch word {
	case "", "open":
		return nil, nil
	case "ignored":
		return []driftv1.Finding_Standing{driftv1.Finding_STANDING_IGNORED}, nil
	case "delegated":
		return []driftv1.Finding_Standing{driftv1.Finding_STANDING_DELEGATED}, nil
	case "all":
		return []driftv1.Finding_Standing{driftv1.Finding_STANDING_OPEN, driftv1.Finding_STANDING_IGNORED, driftv1.Finding_STANDING_DELEGATED}, nil
	}
	return nil, usagef("--standing %q is none; give open, ignored, delegated or all", word)
}

// findingsOf lists the findings in cluster and Git that count as asked for.
func findingsOf(ctx context.Context, c *client, parent string, of []driftv1.Finding_Standing) ([]finding, error) {
	all, err := pages(ctx, func(ctx context.Context, size int32, token string) ([]finding, string, error) {
		l, err := c.drift.ListFindings(ctx, &driftv1.ListFindingsRequest{Parent: parent, PageSize: size, PageToken: token, Standings: of})
		return l.GetFindings(), l.GetNextPageToken(), err
	})
	if err != nil || len(of) == 1 {
		return all, err
	}
	git, err := openInGit(ctx, c, parent)
	return append(all, git...), err
}

// ofObject gives the names of the open findings of an object, Service/web.
func ofObject(ctx context.Context, c *client, env, object string) ([]string, error) {
	kind, name, ok := strings.Cut(object, "/")
	if !ok || kind == "" || name == "" {
		return nil, usagef("--object %q is none; write it as Service/web", object)
	}
	all, err := findingsOf(ctx, c, env, nil)
	var out []string
	for _, f := range all {
		if strings.EqualFold(f.GetObjectKind(), kind) && f.GetObjectName() == name {
			out = append(out, f.GetName())
		}
	}
	if err == nil && len(out) == 0 {
		err = usagef("%s has no open findings of %s; see `tow drift list -e %s`", short(env), object, short(env))
	}
	return out, err
}

// pickedFindings are the findings that a command is about.
type pickedFindings struct{ env, object string }

func (f *pickedFindings) bind(t *tow, cmd *cobra.Command) {
	t.envFlagVar(cmd, &f.env, "the environment, such as shop/dev")
	cmd.Flags().StringVar(&f.object, "object", "", "all findings of an object, such as Service/web")
	cmd.ValidArgsFunction = t.completeFindings
}

// names gives the environment and the findings that are named.
func (f *pickedFindings) names(ctx context.Context, c *client, args []string) (env string, names []string, err error) {
	if env, err = envFlag(f.env); err != nil {
		return "", nil, err
	}
	if f.object != "" {
		if len(args) > 0 {
			return "", nil, usagef("give the ids of findings or --object, not both")
		}
		names, err = ofObject(ctx, c, env, f.object)
		return env, names, err
	}
	for _, a := range args {
		name, err := findingName(f.env, a)
		if err != nil {
			return "", nil, err
		}
		names = append(names, name)
	}
	return env, names, nil
}

func (t *tow) driftAcceptCmd() *cobra.Command {
	var of pickedFindings
	var format, draft, message string
	var plan bool
	cmd := &cobra.Command{
		Use: "accept [ID...] -e APP/ENV", Short: "Make a draft that says what the cluster has", Args: cobra.ArbitraryArgs,
		Long: `Takes the named findings, or all that can be, over into what is declared: into the workload or variable that the field comes from,
else as a patch of the object in the environment's overlay. It makes a draft; deploying it ends the findings. --plan says where each
would be written. Of a finding in Git it keeps what was changed there.`,
		Example: `  tow drift accept -e shop/dev --plan
  tow drift accept 5f1c2a9be07d4413 -e shop/dev -m "the port is needed"
  tow draft deploy shop/drift-dev-0a1b2c3d4e5f`,
	}
	of.bind(t, cmd)
	cmd.Flags().StringVar(&draft, "draft", "", "the draft's id; made up when left out")
	cmd.Flags().StringVarP(&message, "message", "m", "", "why")
	cmd.Flags().BoolVar(&plan, "plan", false, "say where each finding would be written, and make no draft")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		env, names, err := of.names(ctx, c, args)
		if err != nil {
			return err
		}
		r, err := c.findingService().AcceptFindings(ctx, &catalogv1.AcceptFindingsRequest{
			Parent: env, Names: names, DraftId: draft, Message: message, ValidateOnly: plan,
		})
		if err != nil {
			return err
		}
		if done, err := p.structured(r, r.GetDraft()); done {
			return err
		}
		for _, f := range r.GetFindings() {
			if f.GetProblem() != "" {
				t.printf("%s: not taken over: %s\n", last(f.GetName()), f.GetProblem())
			} else {
				t.printf("%s: %s\n", last(f.GetName()), f.GetPlace())
			}
		}
		if r.GetDraft() != "" {
			t.printf("draft %s; deploy it with: tow draft deploy %s\n", short(r.GetDraft()), short(r.GetDraft()))
		}
		return nil
	})
	return cmd
}

// ruleFlags are what an ignore rule is made of.
type ruleFlags struct {
	kind, object, field, manager string
	owner, reason                string
	lasts                        time.Duration
}

func (f *ruleFlags) bind(cmd *cobra.Command) {
	for _, s := range []struct {
		to          *string
		name, usage string
	}{
		{&f.kind, "kind", "a rule for objects of this kind, such as Deployment.apps"},
		{&f.object, "name", "a rule for objects of this name"},
		{&f.field, "field", "a rule for this field and all below; * stands for any part, as in metadata.annotations[*]"},
		{&f.manager, "manager", "a rule for what this field manager does"},
		{&f.owner, "owner", "who answers for it, users/ada or a team; you when left out"},
	} {
		cmd.Flags().StringVar(s.to, s.name, "", s.usage)
	}
	cmd.Flags().StringVarP(&f.reason, "message", "m", "", "why")
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "how long, such as 720h; for ever when left out")
}

// rule gives the rule of the flags, nil where they make none.
func (f *ruleFlags) rule() *driftv1.IgnoreRule {
	if f.kind == "" && f.object == "" && f.field == "" && f.manager == "" {
		return nil
	}
	return &driftv1.IgnoreRule{ObjectKind: f.kind, ObjectName: f.object, Field: f.field, Manager: f.manager}
}

func (t *tow) driftIgnoreCmd() *cobra.Command {
	var of pickedFindings
	var rule ruleFlags
	var format string
	cmd := &cobra.Command{
		Use: "ignore [ID...] -e APP/ENV -m REASON", Short: "Say that findings do not count", Args: cobra.ArbitraryArgs,
		Long: `Makes a rule for the place of each named finding, or one rule of --kind, --name, --field and --manager, all of which must fit. What a
rule is about is not told as drift, not counted and not put back by itself; tow drift list --standing ignored shows it. A deployment
still writes what Git says. A finding in Git gets no rule: deployments may write over it from then on.`,
		Example: `  tow drift ignore 5f1c2a9be07d4413 -e shop/dev -m "load test" --for 48h
  tow drift ignore -e shop/dev --kind Deployment.apps --field 'metadata.annotations[*]' -m "set by the scanner"`,
	}
	of.bind(t, cmd)
	rule.bind(cmd)
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		if rule.reason == "" {
			return usagef("why? give -m, such as -m \"load test until Friday\"")
		}
		if rule.lasts < 0 {
			return usagef("--for is negative; give a duration such as 48h")
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		env, names, err := of.names(ctx, c, args)
		if err != nil {
			return err
		}
		req := &catalogv1.IgnoreFindingsRequest{Parent: env, Names: names, Rule: rule.rule(), Owner: rule.owner, Reason: rule.reason}
		if (len(names) > 0) == (req.GetRule() != nil) {
			return usagef("what is to be ignored? give ids as in `tow drift list -e %s` or --object, or a rule with --kind, --name, --field or --manager", short(env))
		}
		if rule.lasts > 0 {
			req.ExpireTime = timestamppb.New(t.Now().Add(rule.lasts))
		}
		r, err := c.findingService().IgnoreFindings(ctx, req)
		if err != nil {
			return err
		}
		var made []string
		for _, x := range r.GetRules() {
			made = append(made, x.GetName())
		}
		if done, err := p.structured(r, made...); done {
			return err
		}
		if len(r.GetRules()) == 0 {
			t.printf("deployments may write over it\n")
			return nil
		}
		return printTable(p, r.GetRules(), ruleColumns)
	})
	return cmd
}

var ruleColumns = []column[ignoreRule]{
	{"RULE", false, func(_ *printer, r ignoreRule) string { return last(r.GetName()) }},
	{"KIND", false, func(_ *printer, r ignoreRule) string { return cmp.Or(r.GetObjectKind(), "*") }},
	{"NAME", false, func(_ *printer, r ignoreRule) string { return cmp.Or(r.GetObjectName(), "*") }},
	{"FIELD", false, func(_ *printer, r ignoreRule) string { return cmp.Or(r.GetField(), "*") }},
	{"BY", false, func(_ *printer, r ignoreRule) string { return cmp.Or(r.GetManager(), "*") }},
	{"OWNER", false, func(_ *printer, r ignoreRule) string { return r.GetOwner() }},
	{"UNTIL", false, func(p *printer, r ignoreRule) string {
		if r.GetExpireTime() == nil {
			return "for ever"
		}
		return stamp(r.GetExpireTime())
	}},
	{"REASON", false, func(p *printer, r ignoreRule) string { return p.value(r.GetReason()) }},
	{"MADE BY", true, func(_ *printer, r ignoreRule) string { return r.GetCreateActor() }},
	{"MADE", true, func(p *printer, r ignoreRule) string { return p.when(r.GetCreateTime()) }},
}

func (t *tow) driftRulesCmd() *cobra.Command {
	var env, format, remove string
	cmd := &cobra.Command{
		Use: "rules -e APP/ENV", Short: "List what is ignored, or take a rule away", Args: noArgs,
		Long:    "Lists the ignore rules of an environment that have not expired. With --delete it takes one away: what it kept quiet is told again.",
		Example: "  tow drift rules -e shop/dev\n  tow drift rules -e shop/dev --delete r-0a1b2c3d4e5f",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().StringVar(&remove, "delete", "", "take this rule away")
	complete(cmd, "delete", t.completeRules)
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if remove != "" {
			if strings.Contains(remove, "/") {
				return usagef("--delete %q is no rule; give an id as in `tow drift rules -e %s`", remove, short(name))
			}
			if _, err := c.findingService().DeleteIgnoreRule(ctx, &catalogv1.DeleteIgnoreRuleRequest{Name: name + "/ignoreRules/" + remove}); err != nil {
				return err
			}
			t.printf("%s is gone; what it kept quiet is told again\n", remove)
			return nil
		}
		l, err := c.findingService().ListIgnoreRules(ctx, &catalogv1.ListIgnoreRulesRequest{Parent: name})
		if err != nil {
			return err
		}
		if len(l.GetIgnoreRules()) == 0 && (format == "table" || format == "wide") {
			t.notef("nothing is ignored")
		}
		return printList(p, l, l.GetIgnoreRules(), ruleColumns)
	})
	return cmd
}

// completeRules gives the rules of the environment in --env.
func (t *tow) completeRules(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfFlag(cmd)
		if err != nil {
			return nil, err
		}
		l, err := c.findingService().ListIgnoreRules(ctx, &catalogv1.ListIgnoreRulesRequest{Parent: env})
		var out []string
		for _, r := range l.GetIgnoreRules() {
			out = append(out, cobra.CompletionWithDesc(last(r.GetName()), r.GetReason()))
		}
		return out, err
	})
}
