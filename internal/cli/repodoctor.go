package cli

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// doctorMarks are the marks of a diagnosis's steps.
var doctorMarks = map[committerv1.DiagnosisStep_Outcome]string{
	committerv1.DiagnosisStep_OUTCOME_OK: "ok", committerv1.DiagnosisStep_OUTCOME_WARNING: "warning",
	committerv1.DiagnosisStep_OUTCOME_FAILED: "FAILED", committerv1.DiagnosisStep_OUTCOME_SKIPPED: "-",
}

var doctorColours = map[committerv1.DiagnosisStep_Outcome]string{
	committerv1.DiagnosisStep_OUTCOME_OK: green, committerv1.DiagnosisStep_OUTCOME_WARNING: yellow, committerv1.DiagnosisStep_OUTCOME_FAILED: red,
}

func (t *tow) doctorCmd() *cobra.Command {
	var env, format string
	cmd := &cobra.Command{
		Use: "doctor NAME", Short: "Find out what is wrong with a repository, and how to mend it", Args: exactArgs("the id of a repository"),
		Long: `Tries everything that a deployment needs of a repository: its URL, the way to the host, credentials, whether they may read and
push, the branch and what protects it, the key that signs, the service's API, webhooks, and the folders that Towpath owns.
Nothing is changed in the repository. Under each step that failed stands how to mend it. The exit code is 3 when a
deployment would not get through.

Where the URL or branch has placeholders they are filled in for the environment of --env, or for one that stands in it.`,
		Example: "  tow repo doctor deployments\n  tow repo doctor team-repos --env shop/dev\n  tow repo doctor deployments -o json",
	}
	t.outputFlag(cmd, &format)
	cmd.Flags().StringVarP(&env, "env", "e", "", "the environment to try it for, such as shop/dev")
	complete(cmd, "env", t.environments().completer(t))
	cmd.ValidArgsFunction = completeOnce(t.repositories().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		ask := &catalogv1.DiagnoseRepositoryRequest{}
		if ask.Name, err = repoName(args[0]); err != nil {
			return err
		}
		if env != "" {
			if ask.Environment, err = envName(env); err != nil {
				return err
			}
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		d, err := c.gitService().DiagnoseRepository(ctx, ask)
		if err != nil {
			return err
		}
		if done, err := p.structured(d, ask.GetName()); err != nil {
			return err
		} else if !done {
			t.tellDiagnosis(p, d)
		}
		if !d.GetHealthy() {
			return &exitCodeError{exitNotWell, errors.New("a deployment to " + short(ask.GetName()) + " would not get through")}
		}
		return nil
	})
	return cmd
}

// tellDiagnosis prints a line for each step, and under it how to mend what is not well.
func (t *tow) tellDiagnosis(p *printer, d *committerv1.Diagnosis) {
	id := 0
	for _, s := range d.GetSteps() {
		id = max(id, len(s.GetId()))
	}
	for _, s := range d.GetSteps() {
		mark := doctorMarks[s.GetOutcome()]
		pad := strings.Repeat(" ", max(0, 8-len(mark)))
		t.printf("%s%s%s%s  %s\n", p.paint(doctorColours[s.GetOutcome()], mark), pad, s.GetId(), strings.Repeat(" ", id-len(s.GetId())),
			clean(cmp.Or(s.GetFinding(), s.GetTitle())))
		if s.GetRemedy() != "" && s.GetOutcome() != committerv1.DiagnosisStep_OUTCOME_OK {
			t.printf("%s  to mend it: %s\n", strings.Repeat(" ", 8+id), clean(s.GetRemedy()))
		}
	}
}

func span(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return took(d.AsDuration())
}

type branchHealth = *catalogv1.BranchHealth

var branchHealthColumns = []column[branchHealth]{
	{"BRANCH", false, func(_ *printer, b branchHealth) string { return b.GetBranch() }},
	{"URL", true, func(_ *printer, b branchHealth) string { return b.GetUrl() }},
	{"STATE", false, func(_ *printer, b branchHealth) string { return healthState(b.GetHealth()) }},
	{"CHECKED", true, func(p *printer, b branchHealth) string { return p.when(b.GetHealth().GetCheckTime()) }},
	{"LAST PUSH", false, func(p *printer, b branchHealth) string { return p.when(b.GetHealth().GetPushTime()) }},
	{"TOOK", true, func(_ *printer, b branchHealth) string { return span(b.GetHealth().GetPushDuration()) }},
	{"QUEUED", false, func(_ *printer, b branchHealth) string { return itoa(b.GetHealth().GetQueued()) }},
	{"LAG", false, func(_ *printer, b branchHealth) string { return span(b.GetHealth().GetLag()) }},
	{"BUDGET LEFT", false, func(_ *printer, b branchHealth) string {
		if b.GetHealth().GetBudgetLeft() < 0 {
			return "no limit"
		}
		return itoa(b.GetHealth().GetBudgetLeft())
	}},
	{"PULL REQUESTS", true, func(_ *printer, b branchHealth) string { return itoa(b.GetHealth().GetPullRequests()) }},
	{"FOREIGN", false, func(_ *printer, b branchHealth) string { return itoa(b.GetHealth().GetForeignChanges()) }},
	{"ENVIRONMENTS", false, func(_ *printer, b branchHealth) string { return itoa(b.GetEnvironments()) }},
	{"TIP", true, func(_ *printer, b branchHealth) string { return cmp.Or(shortHash(b.GetHealth().GetTip()), "-") }},
	{"HOLDER", true, func(_ *printer, b branchHealth) string { return cmp.Or(b.GetHealth().GetHolder(), "-") }},
}

func healthState(h *committerv1.RepositoryHealth) string {
	switch h.GetState() {
	case committerv1.RepositoryHealth_STATE_REACHABLE:
		return "reachable"
	case committerv1.RepositoryHealth_STATE_UNREACHABLE:
		return "unreachable"
	case committerv1.RepositoryHealth_STATE_REFUSED:
		return "refused"
	default:
		return "not used yet"
	}
}

func (t *tow) repoHealthCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "health NAME", Short: "Show how the branches of a repository do", Args: exactArgs("the id of a repository"),
		Long: `Shows how each branch does that environments stand in, the 200 with the most environments at the most: whether the host answered
the last time, when the last push got through, what waits and for how long, and how many pushes the budget allows in this
minute. It is what the committer knows; the host is not asked. See tow repo doctor for that.`,
		Example: "  tow repo health deployments\n  tow repo health deployments -o wide",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.repositories().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := repoName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		h, err := c.gitService().GetRepositoryHealth(ctx, &catalogv1.GetRepositoryHealthRequest{Name: name})
		if err != nil {
			return err
		}
		if done, err := p.structured(h, name); done || err != nil {
			return err
		}
		if len(h.GetBranches()) == 0 {
			t.notef("no environment stands in it yet, and its URL or branch has placeholders")
		}
		if err := printTable(p, h.GetBranches(), branchHealthColumns); err != nil {
			return err
		}
		for _, b := range h.GetBranches() {
			if b.GetHealth().GetProblem() != "" {
				t.printf("%s %s: %s\n", p.paint(yellow, "warning:"), clean(b.GetBranch()), clean(b.GetHealth().GetProblem()))
			}
		}
		return nil
	})
	return cmd
}
