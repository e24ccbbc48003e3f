package cli

import (
	"context"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) waitCmd() *cobra.Command {
	var s shipment
	cmd := &cobra.Command{
		Use: "wait -e APP/ENV [NUMBER]", Short: "Follow a deployment until it ends", Args: rangeArgs(0, "the number of a deployment"),
		Long: `Follows a deployment that somebody else started, or that went on when a --wait was interrupted: the newest one, or that of a
number. It shows each phase with the time it took and ends like --wait does: exit code 0 when all objects are available, 3 when the
deployment did not end well, 4 when --timeout was over before.`,
		Example: `  tow wait -e shop/dev
  tow wait -e shop/dev 7 --timeout 15m`,
	}
	s.bindEnv(t, cmd)
	cmd.Flags().DurationVar(&s.timeout, "timeout", defaultWait, "how long to wait; exit code 4 after that")
	t.outputFlag(cmd, &s.output)
	cmd.ValidArgsFunction = completeOnce(t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		number := "latest"
		if len(args) > 0 {
			number = args[0]
		}
		name, err := deploymentName(env, number)
		if err != nil {
			return err
		}
		if _, err := t.printer(s.output); err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: name})
		if err != nil {
			return err
		}
		s.wait = true
		return t.shipped(ctx, &s, d)
	})
	return cmd
}
