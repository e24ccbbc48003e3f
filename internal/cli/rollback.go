package cli

import (
	"context"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func (t *tow) rollbackCmd() *cobra.Command {
	var s shipment
	var to string
	var yes, rerender bool
	cmd := &cobra.Command{
		Use: "rollback -e APP/ENV", Short: "Go back to what an earlier deployment made", Args: noArgs,
		Long: `Restores exactly the files of an earlier deployment by a new commit: the same tree, no history rewritten, and what runs is
synced as after any other deployment. Without --to it goes back to the last deployment that ran and differs from the newest.
With --rerender the workloads and variables of then are rendered with the definitions, defaults and renderer of today.

In a terminal it shows the plan, asks, and holds to what it has shown; without one it needs --yes.`,
		Example: `  tow rollback -e shop/dev
  tow rollback -e shop/dev --to 7 -m "1.4.2 loses orders" --wait --yes
  tow rollback -e shop/dev --to 7 --plan
  tow rollback -e shop/dev --to 7 --rerender --plan`,
	}
	s.bind(t, cmd)
	cmd.Flags().StringVar(&to, "to", "", "number of the deployment to go back to")
	cmd.Flags().BoolVar(&rerender, "rerender", false, "render what was meant then with the definitions and defaults of today, instead of the files of then")
	yesFlag(cmd, &yes)
	complete(cmd, "to", t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		name := ""
		if to != "" {
			if name, err = deploymentName(env, to); err != nil {
				return err
			}
		}
		return t.rollback(ctx, &s, &catalogv1.RollbackRequest{Name: env, Deployment: name, Rerender: rerender}, yes)
	})
	return cmd
}

func (t *tow) rollback(ctx context.Context, s *shipment, r *catalogv1.RollbackRequest, yes bool) error {
	env := r.GetName()
	if !s.plan && !yes && !t.InTerminal {
		return t.confirm(false, "roll back %s", short(env))
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	if r.GetDeployment() == "" && (s.plan || !yes) {
		if r.Deployment, err = lastGood(ctx, c, env); err != nil {
			return err
		}
	}
	planned := &catalogv1.PlanDeploymentRequest{Parent: env, RollbackTo: r.GetDeployment(), Rerender: r.GetRerender()}
	if s.plan {
		return t.showPlan(ctx, s.output, planned)
	}
	p, err := t.printer(s.output)
	if err != nil {
		return err
	}
	if !yes {
		plan, err := c.PlanDeployment(ctx, planned)
		if err != nil {
			return err
		}
		asking := &printer{out: t.Stderr, format: "table", colour: p.colour, now: p.now}
		if err := asking.plan(short(env), plan); err != nil {
			return err
		}
		if err := t.confirm(false, "roll back to %s", short(r.GetDeployment())); err != nil {
			return err
		}
		s.planHash = firstOf(s.planHash, plan.GetPlanHash())
	}
	r.Message, r.RequestId, r.PlanHash = s.message, s.id(), s.planHash
	d, err := c.Rollback(ctx, r)
	if err != nil {
		return err
	}
	return t.shipped(ctx, s, d)
}

// lastGood finds what a rollback goes back to when nobody says: the last deployment before the newest that ran and made
// another tree. The server does the same; it is done here so that a plan can be shown before.
func lastGood(ctx context.Context, c *client, env string) (string, error) {
	var newest *catalogv1.Deployment
	token := ""
	for {
		l, err := c.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: env, PageSize: 100, PageToken: token})
		if err != nil {
			return "", err
		}
		for _, d := range l.GetDeployments() {
			if newest == nil {
				if !withdrawn(d.GetState()) {
					newest = d
				}
				continue
			}
			if d.GetKind() == catalogv1.Deployment_KIND_REMOVAL {
				return "", noEarlier(env)
			}
			ran := d.GetState() == catalogv1.Deployment_STATE_HEALTHY || d.GetActiveFrom() != nil
			if ran && d.GetTree() != "" && d.GetTree() != newest.GetTree() {
				return d.GetName(), nil
			}
		}
		if token = l.GetNextPageToken(); token == "" {
			return "", noEarlier(env)
		}
	}
}

// withdrawn tells of a deployment that never was meant to run: it waits for approval, or people ended it before.
func withdrawn(s catalogv1.Deployment_State) bool {
	switch s {
	case catalogv1.Deployment_STATE_AWAITING_APPROVAL, catalogv1.Deployment_STATE_REJECTED, catalogv1.Deployment_STATE_CANCELLED:
		return true
	}
	return false
}

func noEarlier(env string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s has no earlier deployment that ran and differs from the newest", short(env)).
		With("tow_hint", "tow history -e "+short(env)+" shows all; name one with --to")
}
