package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// layoutHelp tells of placeholders and splits in the help of repositories.
const layoutHelp = "\n\nURL, branch and folder may have placeholders: {application}, {environment}, {environment_type}, {team} (the last part\n" +
	"of the application's owner) and {hash} (two digits that spread environments over 256 folders). So one repository can\n" +
	"stand for one per application, team or environment, or for a branch per environment. --split writes a share of each\n" +
	"environment to another repository."

// splits makes the field of the flag that splits environments over several repositories. What is given replaces what there is.
func splits(fs *pflag.FlagSet) field[repository] {
	v := fs.StringArray("split", nil, "write a share of each environment to another repository: id=NAME,repository=NAME,kinds=GROUP/KIND,workloads=NAME; kinds and workloads may be there several times and have *; repeat it for several splits: together they replace what there is, and \"\" takes all away")
	return field[repository]{"split", "splits", func(m repository) error {
		m.Splits = nil
		for _, text := range *v {
			if text == "" {
				continue
			}
			split, err := splitOf(text)
			if err != nil {
				return err
			}
			m.Splits = append(m.Splits, split)
		}
		return nil
	}}
}

// splitOf reads one split. A word without a key belongs to the key before it, so that kinds=a/B,c/D works too.
func splitOf(text string) (*catalogv1.Split, error) {
	split := &catalogv1.Split{Select: &committerv1.FileSelector{}}
	key := ""
	for word := range strings.SplitSeq(text, ",") {
		value := word
		if k, v, ok := strings.Cut(word, "="); ok {
			key, value = k, v
		}
		if value == "" {
			return nil, usagef("--split %q has nothing behind %s=; write id=databases,repository=infra,kinds=postgresql.cnpg.io/*", text, key)
		}
		switch key {
		case "id":
			split.Id = value
		case "repository":
			name, err := repoName(value)
			if err != nil {
				return nil, err
			}
			split.Repository = name
		case "kinds", "kind":
			split.Select.Kinds = append(split.Select.Kinds, value)
		case "workloads", "workload":
			split.Select.Workloads = append(split.Select.Workloads, value)
		default:
			return nil, usagef("--split %q has the unknown key %q; it has id, repository, kinds and workloads, as in id=databases,repository=infra,kinds=postgresql.cnpg.io/*", text, key)
		}
	}
	if split.GetId() == "" || split.GetRepository() == "" {
		return nil, usagef("--split %q needs an id and a repository, as in id=databases,repository=infra,kinds=postgresql.cnpg.io/*", text)
	}
	return split, nil
}

// splitLines gives each split in the form of the flag.
func splitLines(m repository) []string {
	var out []string
	for _, s := range m.GetSplits() {
		line := "id=" + s.GetId() + ",repository=" + short(s.GetRepository())
		for _, k := range s.GetSelect().GetKinds() {
			line += ",kinds=" + k
		}
		for _, w := range s.GetSelect().GetWorkloads() {
			line += ",workloads=" + w
		}
		out = append(out, line)
	}
	return out
}

// placeText tells in one line where an environment stands, its parts in lines of their own.
func placeText(p *catalogv1.Place) string {
	if p == nil {
		return ""
	}
	line := func(repository, url, branch, path string) string {
		return fmt.Sprintf("%s (%s) branch %s folder %s", short(repository), url, branch, path)
	}
	lines := []string{line(p.GetRepository(), p.GetUrl(), p.GetBranch(), p.GetPath())}
	for _, part := range p.GetParts() {
		lines = append(lines, part.GetId()+": "+line(part.GetRepository(), part.GetUrl(), part.GetBranch(), part.GetPath()))
	}
	return strings.Join(lines, "\n")
}

// planPlace tells where a plan would write, where that is not one folder as always.
func planPlace(plan *catalogv1.Plan) string {
	if plan.GetFromPlace() == nil && len(plan.GetPlace().GetParts()) == 0 {
		return ""
	}
	return placeText(plan.GetPlace())
}

// layoutText tells that the layout would put an environment elsewhere, and what to do.
func layoutText(m environment) string {
	if m.GetLayoutPlace() == nil {
		return ""
	}
	return "says elsewhere: " + placeText(m.GetLayoutPlace()) + "\ntow env move " + short(m.GetName()) + " --plan shows the way there"
}

// folderText is an environment's folder in a list.
func folderText(m environment) string {
	text := m.GetPlace().GetPath()
	if n := len(m.GetPlace().GetParts()); n > 0 {
		text += " +" + itoa(n)
	}
	if m.GetLayoutPlace() != nil {
		text += " (layout says elsewhere)"
	}
	return text
}

func (t *tow) moveEnvCmd() *cobra.Command {
	var yes bool
	var s shipment
	cmd := &cobra.Command{
		Use: "move APP/ENV", Short: "Move an environment to where its layout puts it now", Args: exactArgs("an environment such as shop/dev"),
		Long: `An environment stays where it is when the layout of its repository, its application's repository or its type's changes.
This moves it by a deployment: the new folder is written, the old one is removed, and in the cluster nothing changes.

In a terminal it shows the plan, asks, and holds to what it has shown; without one it needs --yes.`,
		Example: "  tow env move shop/dev --plan\n  tow env move shop/dev -m \"a repository per team\" --wait --yes",
	}
	yesFlag(cmd, &yes)
	s.bindMessage(cmd)
	s.bindWait(t, cmd)
	s.bindPlan(cmd)
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := envName(args[0])
		if err != nil {
			return err
		}
		return t.moveEnv(ctx, &s, name, yes)
	})
	return cmd
}

func (t *tow) moveEnv(ctx context.Context, s *shipment, name string, yes bool) error {
	return t.shipPlanned(ctx, s, plannedShipment{
		plan: &catalogv1.PlanDeploymentRequest{Parent: name, Move: true}, what: "move " + short(name),
		show: func(p *printer, plan *catalogv1.Plan) error {
			asking := &printer{out: t.Stderr, format: "table", colour: p.colour, now: p.now}
			return asking.plan(short(name), plan)
		},
		run: func(c *client) (*catalogv1.Deployment, error) {
			return catalogv1.NewGitServiceClient(c.conn).MoveEnvironment(ctx, &catalogv1.MoveEnvironmentRequest{
				Name: name, Message: s.message, RequestId: s.id(), PlanHash: s.planHash,
			})
		},
	}, yes)
}

// crowded is from how many entries of a directory on commits become slow: each writes the whole directory again.
const crowded = 1000

// crowds tells of directories in which more environments stand than Git is fast with, as they stand and as their layout says.
func crowds(repository string, envs []environment) []string {
	children := map[string]map[string]bool{}
	note := func(repo, url, branch, path string) {
		if repo != repository {
			return
		}
		for i := range len(path) {
			if path[i] == '/' {
				dir := url + " " + branch + " " + path[:i]
				if children[dir] == nil {
					children[dir] = map[string]bool{}
				}
				child, _, _ := strings.Cut(path[i+1:], "/")
				children[dir][child] = true
			}
		}
	}
	for _, m := range envs {
		at := cmp.Or(m.GetLayoutPlace(), m.GetPlace())
		note(at.GetRepository(), at.GetUrl(), at.GetBranch(), at.GetPath())
		for _, part := range at.GetParts() {
			note(part.GetRepository(), part.GetUrl(), part.GetBranch(), part.GetPath())
		}
	}
	var out []string
	for dir, names := range children {
		if len(names) > crowded {
			out = append(out, fmt.Sprintf("%s has %d entries, and each commit writes all of them again: from %d on commits become slow; put {hash} into the path template, as in environments/{environment}/{hash}/{application}", dir, len(names), crowded))
		}
	}
	slices.Sort(out)
	return out
}

// tellLayout tells behind a repository's change what it means for environments.
func (t *tow) tellLayout(ctx context.Context, m repository) {
	envs, err := t.listEnvironments(ctx, applications+"/-")
	if err != nil {
		return // what was asked for is done
	}
	for _, line := range crowds(m.GetName(), envs) {
		t.notef("warning: %s", clean(line))
	}
	if n := elsewhere(m.GetName(), envs); n > 0 {
		t.notef("the layout says elsewhere for %s, which stay where they are until they are moved: tow repo describe %s shows them, tow env move moves one",
			plural(n, "environment"), short(m.GetName()))
	}
}

// elsewhere counts the environments that the layout of a repository would put elsewhere.
func elsewhere(repository string, envs []environment) int {
	n := 0
	for _, m := range envs {
		uses := m.GetLayoutPlace().GetRepository() == repository || slices.ContainsFunc(m.GetLayoutPlace().GetParts(), func(p *catalogv1.PartPlace) bool { return p.GetRepository() == repository })
		if m.GetLayoutPlace() != nil && uses {
			n++
		}
	}
	return n
}

func (t *tow) describeRepoCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Show a repository, its layout and what stands in it", Args: exactArgs("the id of a repository"),
		Long:    "Shows what is known of a repository: where its layout puts environments, and the environments that stand in it.",
		Example: "  tow repo describe deployments",
	}
	cmd.ValidArgsFunction = completeOnce(t.repositories().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer("table")
		if err != nil {
			return err
		}
		m, err := t.repositories().fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		envs, err := t.listEnvironments(ctx, applications+"/-")
		if err != nil {
			return err
		}
		if err := p.fields(repositoryFields(p, m)...); err != nil {
			return err
		}
		for _, line := range crowds(m.GetName(), envs) {
			t.printf("%s %s\n", p.paint(yellow, "warning:"), clean(line))
		}
		envs = slices.DeleteFunc(envs, func(e environment) bool {
			return e.GetPlace().GetRepository() != m.GetName() &&
				!slices.ContainsFunc(e.GetPlace().GetParts(), func(p *catalogv1.PartPlace) bool { return p.GetRepository() == m.GetName() })
		})
		t.printf("\n")
		if len(envs) == 0 {
			t.printf("No environment stands in it.\n")
			return nil
		}
		return printTable(p, envs, placeColumns(m.GetName()))
	})
	return cmd
}

// repositoryFields are the titles and values of a repository.
func repositoryFields(p *printer, m repository) []string {
	return []string{
		"Repository", short(m.GetName()), "Title", m.GetDisplayName(), "URL", m.GetUrl(), "Branch", m.GetBranch(), "Folder", m.GetPathTemplate(),
		"Splits", strings.Join(splitLines(m), "\n"), "Credentials", m.GetCredentials(), "Pushes/min", pushBudget(m.GetPushBudget()),
		"Created", p.when(m.GetCreateTime()) + " by " + m.GetCreateActor(),
	}
}

// placeColumns show where environments stand in one repository.
func placeColumns(repository string) []column[environment] {
	return []column[environment]{
		{"ENVIRONMENT", false, func(_ *printer, m environment) string { return short(m.GetName()) }},
		{"PART", false, func(_ *printer, m environment) string {
			for _, part := range m.GetPlace().GetParts() {
				if part.GetRepository() == repository {
					return part.GetId()
				}
			}
			return "-"
		}},
		{"FOLDER", false, func(_ *printer, m environment) string { return m.GetPlace().GetPath() }},
		{"LAYOUT", false, func(_ *printer, m environment) string {
			if m.GetLayoutPlace() == nil {
				return "here"
			}
			return "elsewhere"
		}},
	}
}
