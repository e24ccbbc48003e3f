package cli

import (
	"context"

	"github.com/spf13/cobra"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

func (t *tow) syncCmd() *cobra.Command {
	var env, format string
	cmd := &cobra.Command{
		Use: "sync -e APP/ENV", Short: "Apply what Git says now", Args: noArgs,
		Long:    "Applies the environment's folder to its cluster, also when nothing seems to have changed, and shows the status after it.",
		Example: "  tow sync -e shop/dev",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = noCompletion
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
		r, err := c.drift.SyncEnvironment(ctx, &driftv1.SyncEnvironmentRequest{Name: name})
		if err != nil {
			return err
		}
		s := r.GetStatus()
		if done, err := p.structured(s, name); done {
			return err
		}
		if err := p.fields("Environment", short(name), "Sync", syncName(s.GetSync()), "Health", healthName(s.GetHealth()),
			"Deployment", "#"+itoa(s.GetGeneration()), "Commit", s.GetCommit(), "Message", s.GetMessage()); err != nil {
			return err
		}
		t.printf("\n")
		return printTable(p, s.GetObjects(), objectColumns)
	})
	return cmd
}
