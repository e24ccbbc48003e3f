package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) planCmd() *cobra.Command {
	var f changeFlags
	var env, rollbackTo, format string
	cmd := &cobra.Command{
		Use: "plan -e APP/ENV", Short: "Show what a deployment or rollback would change", Args: noArgs,
		Long: `Shows what would become different: in words, then the exact difference of the commit, then warnings. Nothing is changed.
The plan hash stands for all that the plan was made on; a deployment with --plan-hash is refused when any of it has moved.`,
		Example: `  tow plan -f score.yaml -e shop/dev
  tow plan -e shop/dev --rollback-to 3
  tow plan -f score.yaml -e shop/dev -o json`,
	}
	f.bind(t, cmd)
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().StringVar(&rollbackTo, "rollback-to", "", "plan going back to this deployment instead")
	t.outputFlag(cmd, &format)
	complete(cmd, "rollback-to", t.completeDeployments)
	cmd.ValidArgsFunction = noCompletion
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		parent, err := envFlag(env)
		if err != nil {
			return err
		}
		req := &catalogv1.PlanDeploymentRequest{Parent: parent}
		if rollbackTo != "" {
			req.RollbackTo, err = deploymentName(parent, rollbackTo)
		} else {
			req.Change, err = f.change(t)
		}
		if err != nil {
			return err
		}
		return t.showPlan(ctx, format, req)
	})
	return cmd
}

func (t *tow) showPlan(ctx context.Context, format string, req *catalogv1.PlanDeploymentRequest) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	plan, err := c.PlanDeployment(ctx, req)
	if err != nil {
		return err
	}
	if done, err := p.structured(plan, plan.GetPlanHash()); done {
		return err
	}
	return p.plan(short(req.GetParent()), plan)
}

// plan writes a plan for a person.
func (p *printer) plan(env string, plan *catalogv1.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.paint(bold, "plan for "+env))
	for _, line := range plan.GetSummary() {
		fmt.Fprintf(&b, "  %s\n", clean(line))
	}
	if len(plan.GetFiles()) == 0 {
		b.WriteString("no file changes: the tree stays as it is\n")
	} else {
		fmt.Fprintf(&b, "%s\n\n", fileCount(plan.GetFiles()))
	}
	for _, f := range plan.GetFiles() {
		b.WriteString(p.diff(f.GetDiff()))
	}
	for _, w := range plan.GetWarnings() {
		fmt.Fprintf(&b, "%s %s\n", p.paint(yellow, "warning:"), clean(w))
	}
	if n := int(plan.GetOpenFindings()); n > 0 {
		fmt.Fprintf(&b, "%s %s of drift: see tow drift list -e %s\n", p.paint(yellow, "open:"), plural(n, "finding"), env)
	}
	b.WriteString("\n")
	if _, err := io.WriteString(p.out, b.String()); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return p.fields("tree", treeChange(plan), "plan hash", plan.GetPlanHash())
}

func treeChange(plan *catalogv1.Plan) string {
	before := plan.GetBaseTree()
	if before == "" {
		before = "none"
	}
	if before == plan.GetTree() {
		return before
	}
	return before + " -> " + plan.GetTree()
}

func fileCount(files []*catalogv1.FileChange) string {
	n := map[catalogv1.FileChange_Action]int{}
	for _, f := range files {
		n[f.GetAction()]++
	}
	return fmt.Sprintf("%s: %d new, %d changed, %d removed", plural(len(files), "file"),
		n[catalogv1.FileChange_ACTION_ADD], n[catalogv1.FileChange_ACTION_MODIFY], n[catalogv1.FileChange_ACTION_DELETE])
}

// diff colours a unified diff as Git does.
func (p *printer) diff(text string) string {
	text = clean(text)
	if !p.colour {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		body := strings.TrimSuffix(line, "\n")
		colour := ""
		switch {
		case strings.HasPrefix(body, "+++"), strings.HasPrefix(body, "---"):
			colour = bold
		case strings.HasPrefix(body, "@@"):
			colour = cyan
		case strings.HasPrefix(body, "+"):
			colour = green
		case strings.HasPrefix(body, "-"):
			colour = red
		}
		b.WriteString(p.paint(colour, body) + line[len(body):])
	}
	return b.String()
}
