package cli

import (
	"context"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// verdict is a command about one deployment that somebody has to decide on or say something about.
type verdict struct {
	env, message, format string
}

// bind adds the flags that all of them have.
func (v *verdict) bind(t *tow, cmd *cobra.Command, message string) {
	t.envFlagVar(cmd, &v.env, "the environment, such as shop/dev")
	if message != "" {
		cmd.Flags().StringVarP(&v.message, "message", "m", "", message)
	}
	t.outputFlag(cmd, &v.format)
	cmd.ValidArgsFunction = completeOnce(t.completeDeployments)
}

// decide runs a call about a deployment and shows the deployment as it is then.
func (t *tow) decide(v *verdict, arg string, call func(c *client, name string) (*catalogv1.Deployment, error)) error {
	p, err := t.printer(v.format)
	if err != nil {
		return err
	}
	env, err := envFlag(v.env)
	if err != nil {
		return err
	}
	name, err := deploymentName(env, arg)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	d, err := call(c, name)
	if err != nil {
		return err
	}
	if done, err := p.structured(d, d.GetName()); done {
		return err
	}
	t.printf("%s %s\n", short(d.GetName()), stateName(d.GetState()))
	if w := d.GetWaitingReason(); w != "" {
		t.printf("waits: %s\n", clean(w))
	}
	return nil
}

func (t *tow) approveCmd() *cobra.Command {
	var v verdict
	var planHash string
	var yes bool
	cmd := &cobra.Command{
		Use: "approve -e APP/ENV NUMBER", Short: "Approve a deployment that waits for approval", Args: exactArgs("the number of a deployment"),
		Long: `Votes for a deployment that waits for approval. With the last vote that it needs it goes ahead, and exactly what its plan says
is deployed. When that has moved, because the environment or a definition is another one by now, all votes are void and the
new plan has to be approved.

In a terminal it shows the deployment, asks, and holds to what it has shown; without one it needs --yes.`,
		Example: `  tow approve -e shop/production 7
  tow approve -e shop/production 7 --plan-hash 3f0c... --yes -m "checked with support"`,
	}
	v.bind(t, cmd, "why; shown beside the vote")
	cmd.Flags().StringVar(&planHash, "plan-hash", "", "the plan that was looked at: fail when it is another one now")
	yesFlag(cmd, &yes)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		return t.decide(&v, args[0], func(c *client, name string) (*catalogv1.Deployment, error) {
			if err := t.shownBefore(ctx, c, name, &planHash, yes); err != nil {
				return nil, err
			}
			return c.ApproveDeployment(ctx, &catalogv1.ApproveDeploymentRequest{Name: name, PlanHash: planHash, Comment: v.message})
		})
	})
	return cmd
}

// shownBefore shows what is about to be approved and asks.
func (t *tow) shownBefore(ctx context.Context, c *client, name string, planHash *string, yes bool) error {
	if yes || !t.InTerminal {
		return t.confirm(yes, "approve %s", short(name))
	}
	d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: name})
	if err != nil {
		return err
	}
	asking := &printer{out: t.Stderr, format: "table", now: t.Now()}
	if err := asking.deployment(d); err != nil {
		return err
	}
	if *planHash == "" {
		*planHash = d.GetPlanHash()
	}
	return t.confirm(false, "approve %s", short(name))
}

func (t *tow) rejectCmd() *cobra.Command {
	var v verdict
	cmd := &cobra.Command{
		Use: "reject -e APP/ENV NUMBER", Short: "Reject a deployment that waits for approval", Args: exactArgs("the number of a deployment"),
		Long:    "Ends a deployment that waits for approval. What it wanted is in no later deployment; tow retry asks for it again.",
		Example: `  tow reject -e shop/production 7 -m "not before the release"`,
	}
	v.bind(t, cmd, "why; shown beside the vote")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		return t.decide(&v, args[0], func(c *client, name string) (*catalogv1.Deployment, error) {
			return c.RejectDeployment(ctx, &catalogv1.RejectDeploymentRequest{Name: name, Comment: v.message})
		})
	})
	return cmd
}

func (t *tow) cancelCmd() *cobra.Command {
	var v verdict
	cmd := &cobra.Command{
		Use: "cancel -e APP/ENV NUMBER", Short: "Withdraw a deployment that is not in Git yet", Args: exactArgs("the number of a deployment"),
		Long: `Withdraws a deployment. One that waits ends at once. Where the committer has it already, its answer decides: the deployment
ends CANCELLED, or goes on because it is in Git; then tow rollback goes back. Nothing that comes later is made on top of it.`,
		Example: `  tow cancel -e shop/dev 7
  tow cancel -e shop/dev latest -m "the wrong branch"`,
	}
	v.bind(t, cmd, "why; shown in the history")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		return t.decide(&v, args[0], func(c *client, name string) (*catalogv1.Deployment, error) {
			return c.CancelDeployment(ctx, &catalogv1.CancelDeploymentRequest{Name: name, Comment: v.message})
		})
	})
	return cmd
}

func (t *tow) commentCmd() *cobra.Command {
	var v verdict
	cmd := &cobra.Command{
		Use: "comment -e APP/ENV NUMBER TEXT", Short: "Say something about a deployment", Args: exactArgs("the number of a deployment", "what to say"),
		Long:    "Adds a comment to a deployment, also to one that ended long ago. `tow history` with its number shows all of them.",
		Example: `  tow comment -e shop/dev 7 "doubled the latency of search"`,
	}
	v.bind(t, cmd, "")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		return t.decide(&v, args[0], func(c *client, name string) (*catalogv1.Deployment, error) {
			return c.CommentDeployment(ctx, &catalogv1.CommentDeploymentRequest{Name: name, Text: args[1]})
		})
	})
	return cmd
}

func (t *tow) retryCmd() *cobra.Command {
	var s shipment
	cmd := &cobra.Command{
		Use: "retry -e APP/ENV NUMBER", Short: "Deploy again what failed, was rejected or was cancelled", Args: exactArgs("the number of a deployment"),
		Long: `Deploys what an earlier deployment meant to, by a new one. It is for those that failed, were rejected or were cancelled, and
refused where a later deployment would be undone by it.`,
		Example: "  tow retry -e shop/dev 7 --wait",
	}
	s.bindEnv(t, cmd)
	s.bindMessage(cmd)
	s.bindWait(t, cmd)
	cmd.ValidArgsFunction = completeOnce(t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		if _, err := t.printer(s.output); err != nil {
			return err
		}
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		name, err := deploymentName(env, args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		d, err := c.RetryDeployment(ctx, &catalogv1.RetryDeploymentRequest{Name: name, Message: s.message, RequestId: s.id()})
		if err != nil {
			return err
		}
		return t.shipped(ctx, &s, d)
	})
	return cmd
}
