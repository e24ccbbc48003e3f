package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) extendEnvCmd() *cobra.Command {
	var ttl, format string
	cmd := &cobra.Command{
		Use: "extend APP/ENV --ttl TIME", Short: "Give an environment more time", Args: exactArgs("an environment such as shop/pr-7"),
		Long:    "Sets when an environment is deleted by itself: the given time from now on, whatever was before. `tow env keep` takes the\nend away.",
		Example: "  tow env extend shop/pr-7 --ttl 24h\n  tow env extend shop/pr-7 --ttl 3d",
	}
	cmd.Flags().StringVar(&ttl, "ttl", "", "how long it lives from now on, such as 72h or 3d")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		if ttl == "" {
			return usagef("how long? give --ttl, such as --ttl 24h; or keep it with tow env keep")
		}
		d, err := ttlOf("--ttl", ttl)
		if err != nil {
			return err
		}
		return t.extendEnv(ctx, format, args[0], &catalogv1.ExtendEnvironmentRequest{Ttl: d})
	})
	return cmd
}

func (t *tow) keepEnvCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "keep APP/ENV", Short: "Keep an environment for ever", Args: exactArgs("an environment such as shop/pr-7"),
		Long: "Takes away when an environment is deleted by itself.", Example: "  tow env keep shop/pr-7",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		return t.extendEnv(ctx, format, args[0], &catalogv1.ExtendEnvironmentRequest{Keep: true})
	})
	return cmd
}

func (t *tow) extendEnv(ctx context.Context, format, arg string, r *catalogv1.ExtendEnvironmentRequest) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	if r.Name, err = envName(arg); err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	e, err := c.ExtendEnvironment(ctx, r)
	if err != nil {
		return err
	}
	if done, err := p.structured(e, e.GetName()); done {
		return err
	}
	if e.GetExpireTime() == nil {
		t.printf("%s is kept\n", short(e.GetName()))
		return nil
	}
	t.printf("%s expires %s, at %s\n", short(e.GetName()), ago(p.now, e.GetExpireTime().AsTime()), stamp(e.GetExpireTime()))
	return nil
}

// defaultTTL is the flag of an environment type for how long its environments live; 0 takes it away.
func defaultTTL(fs *pflag.FlagSet) field[environmentType] {
	v := fs.String("default-ttl", "", "delete its environments by themselves after this time, such as 72h or 3d; 0 for never")
	return field[environmentType]{"default-ttl", "default_ttl", func(m environmentType) (err error) {
		arg := *v
		if arg == "0" {
			arg = ""
		}
		m.DefaultTtl, err = ttlOf("--default-ttl", arg)
		return err
	}}
}
