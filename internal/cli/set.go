package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

type setFlags struct {
	workload, container string
	inSet               bool
	secrets             []string
}

func (f *setFlags) bind(t *tow, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.workload, "workload", "w", "", "set variables of this workload instead of the environment's")
	cmd.Flags().StringVarP(&f.container, "container", "c", "", "the workload's container; not needed when it has one only")
	cmd.Flags().BoolVar(&f.inSet, "in-set", false, "change the workload's document itself instead of this environment's overlay")
	complete(cmd, "workload", t.completeWorkloads)
}

func (t *tow) setCmd() *cobra.Command {
	var f setFlags
	var s shipment
	cmd := &cobra.Command{
		Use: "set KEY=VALUE... -e APP/ENV", Short: "Set or unset variables, and deploy that", Args: cobra.ArbitraryArgs,
		Long: `Without -w it sets variables of the environment, which Score files read as ${resources.NAME.KEY} from a resource of type
environment. With -w it sets variables of that workload's container, in this environment only; they stay when the Score file is
deployed again. With --in-set it changes the workload's own document, which is what promotion copies.

KEY- unsets. With -w it takes the environment's own value away, so that the Score file's shows again; where there is no own
value, the variable is removed in this environment. Values are not for secrets: they end up in Git. --secret refers to one instead: the
key of a Secret in the environment's namespace. tow var has an application's variables, and versions of all of them.`,
		Example: `  tow set CURRENCY=EUR -e shop/dev
  tow set LOG_LEVEL=debug -e shop/dev -w api --wait
  tow set LOG_LEVEL- -e shop/dev -w api -c main --plan
  tow set --secret PAYMENTS_KEY=payments/api-key -e shop/dev`,
	}
	s.bind(t, cmd)
	f.bind(t, cmd)
	cmd.Flags().StringArrayVar(&f.secrets, "secret", nil, "set a variable of the environment to a key of a Secret, KEY=NAME/KEY")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		if len(args)+len(f.secrets) == 0 {
			return usagef("tow set needs KEY=VALUE, or KEY- to unset, or --secret KEY=NAME/KEY")
		}
		values, drops, err := assignments(args)
		if err != nil {
			return err
		}
		change, err := t.setChange(ctx, f, env, values, drops)
		if err != nil {
			return err
		}
		return t.ship(ctx, &s, env, change)
	})
	return cmd
}

// assignments takes KEY=VALUE and KEY- apart.
func assignments(args []string) (values map[string]string, drops []string, err error) {
	values = map[string]string{}
	for _, a := range args {
		key, value, ok := strings.Cut(a, "=")
		switch {
		case ok && key != "":
			values[key] = value
		case !ok && len(a) > 1 && strings.HasSuffix(a, "-"):
			key = strings.TrimSuffix(a, "-")
			drops = append(drops, key)
		default:
			return nil, nil, usagef("%q is neither KEY=VALUE nor KEY-", a)
		}
		if _, both := values[key]; both && slices.Contains(drops, key) {
			return nil, nil, usagef("%s is both set and unset", key)
		}
	}
	return values, drops, nil
}

func (t *tow) setChange(ctx context.Context, f setFlags, env string, values map[string]string, drops []string) (*catalogv1.Change, error) {
	if f.workload == "" {
		if f.inSet || f.container != "" {
			return nil, usagef("--in-set and --container are about a workload; name it with -w")
		}
		secrets, err := f.secretVariables()
		return &catalogv1.Change{Variables: values, SecretVariables: secrets, VariableDrops: drops}, err
	}
	if len(f.secrets) > 0 {
		return nil, usagef("--secret sets a variable of the environment; let the workload read that, as ${resources.env.KEY}")
	}
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	e, set, err := intentOf(ctx, c, env)
	if err != nil {
		return nil, err
	}
	container, err := containerOf(set, env, f.workload, f.container)
	if err != nil {
		return nil, err
	}
	path := func(key string) string {
		return jsonptr.Join("workloads", f.workload, "containers", container, "variables", key)
	}
	change := &catalogv1.Change{}
	var ops []*rendererv1.Operation
	for _, key := range slices.Sorted(maps.Keys(values)) {
		ops = append(ops, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path(key), Value: structpb.NewStringValue(values[key])})
	}
	own := func(p string) bool {
		return slices.ContainsFunc(e.GetIntent().GetOverlay(), func(op *rendererv1.Operation) bool { return op.GetPath() == p })
	}
	for _, key := range drops {
		if p := path(key); !f.inSet && own(p) {
			change.OverlayDrops = append(change.OverlayDrops, p)
		} else {
			ops = append(ops, &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: p})
		}
	}
	if f.inSet {
		change.SetOperations = ops
	} else {
		change.OverlayOperations = ops
	}
	return change, nil
}

func (f *setFlags) secretVariables() (map[string]*rendererv1.SecretReference, error) {
	pairs, err := keyValues("--secret", f.secrets)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	out := map[string]*rendererv1.SecretReference{}
	for key, value := range pairs {
		if out[key], err = secretReference("--secret", value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// intentOf gives an environment and the set that it is meant to run.
func intentOf(ctx context.Context, c *client, env string) (environment, *catalogv1.Set, error) {
	e, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: env})
	if err != nil {
		return nil, nil, err
	}
	if e.GetIntent().GetSet() == "" {
		return e, &catalogv1.Set{}, nil
	}
	set, err := c.GetSet(ctx, &catalogv1.GetSetRequest{Name: e.GetIntent().GetSet()})
	return e, set, err
}

// containerOf finds the container that is meant: the named one, or the only one.
func containerOf(set *catalogv1.Set, env, workload, container string) (string, error) {
	w, ok := set.GetWorkloads()[workload]
	if !ok {
		return "", missing("%s has no workload %q", short(env), workload).With("tow_hint", oneOf("workloads", slices.Sorted(maps.Keys(set.GetWorkloads()))))
	}
	names := slices.Sorted(maps.Keys(w.GetFields()["containers"].GetStructValue().GetFields()))
	switch {
	case container == "" && len(names) == 1:
		return names[0], nil
	case container == "":
		return "", usagef("the workload %s has several containers (%s); choose one with -c", workload, strings.Join(names, ", "))
	case !slices.Contains(names, container):
		return "", missing("the workload %s has no container %q", workload, container).With("tow_hint", oneOf("containers", names))
	default:
		return container, nil
	}
}

func missing(format string, args ...any) *errs.Error {
	return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, format, args...)
}

func oneOf(what string, names []string) string {
	if len(names) == 0 {
		return "there are no " + what + " yet; deploy a Score file first"
	}
	return what + ": " + strings.Join(names, ", ")
}
