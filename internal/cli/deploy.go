package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// changeFlags say what is to become different in an environment.
type changeFlags struct {
	scores            scoreFlags
	remove, variables []string
}

func (f *changeFlags) bind(t *tow, cmd *cobra.Command) {
	f.scores.bind(cmd)
	cmd.Flags().StringSliceVar(&f.remove, "remove", nil, "take this workload out of the environment")
	cmd.Flags().StringArrayVar(&f.variables, "variable", nil, "set a variable of the environment too, KEY=VALUE")
	complete(cmd, "remove", t.completeWorkloads)
}

// empty reports whether nothing is to change.
func (f *changeFlags) empty() bool { return len(f.scores.files)+len(f.remove)+len(f.variables) == 0 }

func (f *changeFlags) change(t *tow) (*catalogv1.Change, error) {
	scores, err := f.scores.read(t)
	if err != nil {
		return nil, err
	}
	variables, err := keyValues("--variable", f.variables)
	if err != nil {
		return nil, err
	}
	if len(scores)+len(f.remove)+len(variables) == 0 {
		return nil, usagef("nothing to change; give a Score file with -f, a workload with --remove, or --variable")
	}
	return &catalogv1.Change{Scores: scores, RemoveWorkloads: f.remove, Variables: variables}, nil
}

func keyValues(flag string, pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, usagef("%s %q is not KEY=VALUE", flag, p)
		}
		out[key] = value
	}
	return out, nil
}

func (t *tow) deployCmd() *cobra.Command {
	var f changeFlags
	var s shipment
	cmd := &cobra.Command{
		Use: "deploy -f FILE -e APP/ENV", Short: "Deploy Score files to an environment", Args: noArgs,
		Long: `Puts the workloads of the Score files into the environment, beside those that are there; one of the same name is replaced.
Several files go out together, as one commit. Files that a Score file names as source are read relative to it.

Prints the deployment's name. With --wait it shows each phase with the time it took and ends with exit code 0 when all
objects are available, 3 when the deployment ended DEGRADED, FAILED, SUPERSEDED, REJECTED or
CANCELLED, 4 when --timeout was over before.

--plan shows the commit that would be made and changes nothing; --plan-hash deploys only what that plan has shown.`,
		Example: `  tow deploy -f score.yaml -e shop/dev --wait
  tow deploy -f api.score.yaml -f web.score.yaml -e shop/dev -m "the first release" --variable CURRENCY=EUR
  tow deploy -f score.yaml -e shop/dev --image registry.example.com/shop/api:1.4.2 --plan
  tow deploy -e shop/dev --remove worker`,
	}
	f.bind(t, cmd)
	s.bind(t, cmd)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		change, err := f.change(t)
		if err != nil {
			return err
		}
		return t.ship(ctx, &s, env, change)
	})
	return cmd
}
