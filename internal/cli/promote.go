package cli

import (
	"context"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) promoteCmd() *cobra.Command {
	var s shipment
	var workloads []string
	cmd := &cobra.Command{
		Use: "promote FROM TO", Short: "Deploy what one environment runs to another one",
		Args: exactArgs("the environment or deployment to copy from, such as shop/dev or \"shop/dev #7\"", "the environment to copy to, such as shop/staging"),
		Long: `Copies the workloads of the deployment that runs in one environment, or of a deployment that is named, to another one. What
is not in it goes there. Variables and what was set with ` + "`tow set -w`" + ` belong to an environment: the other one keeps its own.
With --workload only these are copied, with the shared resources that they use, beside what is there.`,
		Example: `  tow promote shop/dev shop/staging --plan
  tow promote shop/dev shop/staging --workload api --wait
  tow promote "shop/dev #7" shop/staging`,
	}
	s.bindMessage(cmd)
	s.bindWait(t, cmd)
	s.bindPlan(cmd)
	cmd.Flags().StringSliceVar(&workloads, "workload", nil, "copy this workload only; repeat it for several")
	cmd.ValidArgsFunction = t.completeEnvs
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		from, err := sourceName(args[0])
		if err != nil {
			return err
		}
		to, err := envName(args[1])
		if err != nil {
			return err
		}
		return t.promote(ctx, &s, to, &catalogv1.Promotion{From: from, Workloads: workloads})
	})
	return cmd
}

func (t *tow) promote(ctx context.Context, s *shipment, to string, what *catalogv1.Promotion) error {
	if s.plan {
		return t.showPlan(ctx, s.output, &catalogv1.PlanDeploymentRequest{Parent: to, Promotion: what})
	}
	if _, err := t.printer(s.output); err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	d, err := c.Promote(ctx, &catalogv1.PromoteRequest{
		Name: to, Promotion: what, Message: firstOf(s.message, "promote "+short(what.GetFrom())), RequestId: s.id(), PlanHash: s.planHash,
	})
	if err != nil {
		return err
	}
	return t.shipped(ctx, s, d)
}
