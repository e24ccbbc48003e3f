package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// envCreation is what a new environment begins with.
type envCreation struct {
	change                 changeFlags
	ship                   shipment
	from, ttl, pullRequest string
	fields                 []field[environment]
}

func (t *tow) createEnvCmd() *cobra.Command {
	var n envCreation
	cmd := &cobra.Command{
		Use: "create APP/ENV", Short: "Create an environment, and deploy to it in the same step", Args: exactArgs("the id of the new environment"),
		Long: `Creates an environment. The type says on which cluster it runs and how it is synced; the namespace is APP-ENV unless another
one is given, and stays.

With --from it begins as a copy of another environment or of one of its deployments: workloads, variables and what was set
with ` + "`tow set -w`" + `; of secrets the references. Score files, --variable and --remove change that on the way. Environment and
first deployment are made together: where that cannot be rendered, there is no environment either. With neither it is empty.

With --ttl it is deleted by itself when that time is over, see ` + "`tow env extend`" + ` and ` + "`tow env keep`" + `.`,
		Example: `  tow env create shop/dev --type development
  tow env create shop/pr-7 --from shop/dev -f score.yaml --image registry.example.com/shop/api:pr-7 --ttl 3d --wait
  tow env create shop/repro --from "shop/prod #41" --type development --plan`,
	}
	noun := t.environments()
	n.fields = append(noun.fields(cmd.Flags()), noun.createFields(cmd.Flags())...)
	n.change.bind(t, cmd)
	n.ship.bindMessage(cmd)
	n.ship.bindWait(t, cmd)
	n.ship.bindPlan(cmd)
	cmd.Flags().StringVar(&n.from, "from", "", "environment or deployment to copy, such as shop/dev or \"shop/dev #7\"")
	cmd.Flags().StringVar(&n.ttl, "ttl", "", "delete it by itself after this time, such as 72h or 3d; the type's default when left out")
	cmd.Flags().StringVar(&n.pullRequest, "pull-request", "", "URL of the pull request that it is for")
	complete(cmd, "from", t.completeEnvs)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error { return t.createEnv(ctx, &n, args[0]) })
	return cmd
}

func (t *tow) createEnv(ctx context.Context, n *envCreation, arg string) error {
	p, err := t.printer(n.ship.output)
	if err != nil {
		return err
	}
	name, err := envName(arg)
	if err != nil {
		return err
	}
	begin, err := n.begin(t)
	if err != nil {
		return err
	}
	if n.ship.plan {
		return t.showPlan(ctx, n.ship.output, &catalogv1.PlanDeploymentRequest{Parent: name, Creation: begin})
	}
	if n.ship.wait && begin.GetFrom() == "" && begin.GetChange() == nil {
		return usagef("--wait waits for the first deployment; give --from or a Score file with -f to have one")
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	app, id, _ := strings.Cut(name, "/"+environments+"/")
	e, err := c.CreateEnvironment(ctx, &catalogv1.CreateEnvironmentRequest{
		Parent: app, EnvironmentId: id, Environment: begin.GetEnvironment(), From: begin.GetFrom(), Change: begin.GetChange(), Ttl: begin.GetTtl(),
		PullRequest: n.pullRequest, Message: n.ship.message, RequestId: n.ship.id(), PlanHash: n.ship.planHash,
	})
	if err != nil {
		return err
	}
	if done, err := p.structured(e, e.GetName()); done && !n.ship.wait {
		return err
	}
	if n.ship.output == "table" || n.ship.output == "wide" {
		t.printf("created environment %s\n", short(e.GetName()))
	}
	if e.GetExpireTime() != nil {
		t.notef("it is deleted by itself at %s; tow env extend %s gives it more time", stamp(e.GetExpireTime()), short(e.GetName()))
	}
	return t.firstDeployment(ctx, c, n, e)
}

// firstDeployment tells of a new environment's first deployment, and waits for it where that is asked for.
func (t *tow) firstDeployment(ctx context.Context, c *client, n *envCreation, e environment) error {
	if e.GetLatestDeployment() == "" {
		return nil
	}
	d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: e.GetLatestDeployment()})
	if err != nil {
		return err
	}
	if n.ship.output == "table" || n.ship.output == "wide" {
		return t.shipped(ctx, &n.ship, d)
	}
	// The environment was printed already; only the end is missing.
	if d, err = t.follow(ctx, d, n.ship.timeout, t.Stderr); err != nil {
		return err
	}
	p, err := t.printer(n.ship.output)
	if err != nil {
		return err
	}
	return t.outcome(ctx, p, d, false)
}

// begin makes of the flags what the environment begins with.
func (n *envCreation) begin(t *tow) (*catalogv1.NewEnvironment, error) {
	out := &catalogv1.NewEnvironment{Environment: &catalogv1.Environment{}}
	for _, f := range n.fields {
		if err := f.set(out.GetEnvironment()); err != nil {
			return nil, err
		}
	}
	var err error
	if out.Ttl, err = ttlOf("--ttl", n.ttl); err != nil {
		return nil, err
	}
	if out.From, err = sourceName(n.from); err != nil {
		return nil, err
	}
	if n.change.isEmpty() {
		return out, nil
	}
	out.Change, err = n.change.change(t)
	return out, err
}

// isEmpty reports whether no flag asks for a change.
func (f *changeFlags) isEmpty() bool {
	s := f.scores
	return len(s.files)+len(s.properties)+len(f.remove)+len(f.variables) == 0 && len(s.overrides) == 0 && s.image == ""
}

// sourceName makes the full name of an environment, or of a deployment: shop/dev #7, also without the space.
func sourceName(arg string) (string, error) {
	if env, number, ok := strings.Cut(arg, "#"); ok {
		name, err := envName(strings.TrimSpace(env))
		if err != nil {
			return "", err
		}
		return deploymentName(name, number)
	}
	if env, number, ok := strings.Cut(arg, "/"+deployments+"/"); ok {
		name, err := envName(env)
		if err != nil {
			return "", err
		}
		return deploymentName(name, number)
	}
	return orEmpty(envName)(arg)
}

// ttlOf reads a time to live: a duration of Go, or a number of days such as 3d. Nothing gives nil.
func ttlOf(flag, arg string) (*durationpb.Duration, error) {
	if arg == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(arg)
	if days, ok := strings.CutSuffix(arg, "d"); ok && err != nil {
		var n float64
		if n, err = strconv.ParseFloat(days, 64); err == nil && n < 10_000 {
			d = time.Duration(n * 24 * float64(time.Hour))
		}
	}
	if err != nil || d < time.Minute {
		return nil, usagef("%s %q is no time of at least a minute; give one such as 90m, 72h or 3d", flag, arg)
	}
	return durationpb.New(d), nil
}
