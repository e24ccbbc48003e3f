package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) lockCmd() *cobra.Command {
	var env, message, format string
	var lasts time.Duration
	var refuse bool
	cmd := &cobra.Command{
		Use: "lock -e APP/ENV", Short: "Keep an environment as it is", Args: noArgs,
		Long: `Locks an environment. Deployments that come meanwhile wait and go on by themselves when the lock ends; with --refuse they are
refused. A lock holds rollbacks and the removal of the environment too. Say it again to change your own lock; somebody else's
has to be taken away first.`,
		Example: `  tow lock -e shop/production -m "load test" --for 2h
  tow lock -e shop/production -m "audit" --refuse`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().StringVarP(&message, "message", "m", "", "why; shown to who has to wait")
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long, such as 2h; until tow unlock when left out")
	cmd.Flags().BoolVar(&refuse, "refuse", false, "refuse deployments instead of letting them wait")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		lock := &catalogv1.Lock{Message: message, Hold: catalogv1.Hold_HOLD_QUEUE}
		if refuse {
			lock.Hold = catalogv1.Hold_HOLD_REFUSE
		}
		if lasts < 0 {
			return usagef("--for is negative; give a duration such as 2h")
		}
		if lasts > 0 {
			lock.ExpireTime = timestamppb.New(t.Now().Add(lasts))
		}
		return t.changeLock(env, format, func(c *client, name string) (environment, error) {
			return c.LockEnvironment(ctx, &catalogv1.LockEnvironmentRequest{Name: name, Lock: lock})
		})
	})
	return cmd
}

func (t *tow) unlockCmd() *cobra.Command {
	var env, format string
	cmd := &cobra.Command{
		Use: "unlock -e APP/ENV", Short: "Take an environment's lock away", Args: noArgs,
		Long:    "Takes the lock away, whoever set it. Deployments that waited for its end go on.",
		Example: "  tow unlock -e shop/production",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		return t.changeLock(env, format, func(c *client, name string) (environment, error) {
			return c.UnlockEnvironment(ctx, &catalogv1.UnlockEnvironmentRequest{Name: name})
		})
	})
	return cmd
}

func (t *tow) changeLock(env, format string, call func(c *client, name string) (environment, error)) error {
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
	m, err := call(c, name)
	if err != nil {
		return err
	}
	if done, err := p.structured(m, m.GetName()); done {
		return err
	}
	t.printf("%s is %s\n", short(name), lockText(m.GetLock()))
	return nil
}

// lockText tells a lock in one line.
func lockText(l *catalogv1.Lock) string {
	if l == nil {
		return "not locked"
	}
	out := "locked by " + l.GetActor()
	if l.GetExpireTime() != nil {
		out += " until " + stamp(l.GetExpireTime())
	}
	if l.GetHold() == catalogv1.Hold_HOLD_REFUSE {
		out += ", deployments are refused"
	} else {
		out += ", deployments wait"
	}
	if l.GetMessage() != "" {
		out += ": " + clean(l.GetMessage())
	}
	return out
}
