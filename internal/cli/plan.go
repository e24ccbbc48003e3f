package cli

import (
	"context"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) planCmd() *cobra.Command {
	var f changeFlags
	var env, rollbackTo, format string
	var rerender, removal bool
	cmd := &cobra.Command{
		Use: "plan -e APP/ENV", Short: "Show what a deployment, rollback or removal would change", Args: noArgs,
		Long: `Shows what would become different: in words, by objects and their fields, and with --files the exact difference of the
commit; then what guardrails say, what drifts at present, and what else one should know. Nothing is changed.
The plan hash stands for all that the plan was made on; a deployment with --plan-hash is refused when any of it has moved.`,
		Example: `  tow plan -f score.yaml -e shop/dev --files
  tow plan -e shop/dev --rollback-to 3
  tow plan -e shop/dev --removal
  tow plan -f score.yaml -e shop/dev -o json`,
	}
	f.bind(t, cmd)
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().StringVar(&rollbackTo, "rollback-to", "", "plan going back to this deployment instead")
	cmd.Flags().BoolVar(&rerender, "rerender", false, "with --rollback-to, render that deployment again with the definitions and defaults of today")
	cmd.Flags().BoolVar(&removal, "removal", false, "plan taking the environment away instead")
	cmd.MarkFlagsMutuallyExclusive("rollback-to", "removal")
	filesFlag(cmd)
	t.outputFlag(cmd, &format)
	complete(cmd, "rollback-to", t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		parent, err := envFlag(env)
		if err != nil {
			return err
		}
		req := &catalogv1.PlanDeploymentRequest{Parent: parent}
		switch {
		case (rollbackTo != "" || removal) && !f.empty():
			return usagef("a plan is of one thing: a change, --rollback-to, or --removal")
		case rerender && rollbackTo == "":
			return usagef("--rerender is about a rollback; name the deployment with --rollback-to")
		case rollbackTo != "":
			req.Rerender = rerender
			req.RollbackTo, err = deploymentName(parent, rollbackTo)
		case removal:
			req.Removal = true
		default:
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
