package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// variableFlags are those of every change of a variable.
type variableFlags struct {
	variableScope
	shipment
	rollout bool
}

func (f *variableFlags) bindChange(t *tow, cmd *cobra.Command) {
	f.variableScope.bind(t, cmd)
	f.bindMessage(cmd)
	f.bindWait(t, cmd)
	f.bindRollout(cmd)
	cmd.Flags().BoolVar(&f.plan, "plan", false, "show what would change, and change nothing")
	cmd.MarkFlagsMutuallyExclusive("plan", "wait")
}

func (f *variableFlags) bindRollout(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.rollout, "rollout", false, "deploy every environment that reads an application's variable, now")
}

func (f *variableFlags) rolloutValue() (catalogv1.Rollout, error) {
	switch {
	case !f.rollout:
		return catalogv1.Rollout_ROLLOUT_NEXT, nil
	case f.app == "":
		return 0, usagef("--rollout is about an application's variable; give -a instead of -e")
	default:
		return catalogv1.Rollout_ROLLOUT_ALL, nil
	}
}

func (t *tow) varSetCmd() *cobra.Command {
	var f variableFlags
	var secret secretSource
	var description, etag string
	cmd := &cobra.Command{
		Use: "set KEY=VALUE -e APP/ENV", Short: "Set a variable", Args: exactArgs("KEY=VALUE, or KEY with --secret"),
		Long: `Sets a variable. Of an environment (-e) it makes a deployment; of an application (-a) it holds from each environment's next
deployment on, or with --rollout at once: every environment whose workloads read it is deployed. When that is interrupted, the same
command with the same --request-id goes on.

--secret NAME/KEY refers to a key of a Secret in the environment's namespace instead of giving a value. Where it is the whole value of a
container's variable, it becomes a secretKeyRef; the value itself never passes through Towpath. Where the environment type's strategy for
secrets is external-secrets, --remote says where the store has the value; where it is sealed-secrets, --sealed-file gives its ciphertext.`,
		Example: `  tow var set LOG_LEVEL=debug -e shop/dev --wait
  tow var set LOG_LEVEL=debug -a shop --rollout --plan
  tow var set PAYMENTS_KEY --secret payments/api-key -a shop --description "key of the payment provider"
  tow var set PAYMENTS_KEY --secret payments/api-key --remote shop/payments#api-key -e shop/prod`,
	}
	f.bindChange(t, cmd)
	secret.bind(cmd)
	cmd.Flags().StringVar(&description, "description", "", "what the variable is for")
	cmd.Flags().StringVar(&etag, "etag", "", "change only what has this etag")
	cmd.ValidArgsFunction = completeOnce(t.completeVariables(&f.variableScope))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		key, value, given := strings.Cut(args[0], "=")
		switch {
		case given && secret.given():
			return usagef("%s has a value and --secret; give one of them", key)
		case !given && !secret.given():
			return usagef("%q has no value; give KEY=VALUE, or KEY with --secret NAME/KEY", args[0])
		}
		ref, err := secret.read(t)
		if err != nil {
			return err
		}
		m := &catalogv1.Variable{Value: value, Secret: ref, Description: description, Etag: etag}
		return t.changeVariable(ctx, &f, key, m, func(ctx context.Context, c *client, rollout catalogv1.Rollout) (*catalogv1.SetVariableResponse, error) {
			return c.variables().SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: m, Rollout: rollout, Message: f.message, RequestId: f.id()})
		})
	})
	return cmd
}

func (t *tow) varDeleteCmd() *cobra.Command {
	var f variableFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete KEY -e APP/ENV", Short: "Delete a variable", Args: exactArgs("the name of a variable"),
		Long: `Takes a variable away; its versions stay and can be restored. A variable that workloads read is refused. In a terminal it asks first;
without one it needs --yes.`,
		Example: "  tow var delete LOG_LEVEL -e shop/dev --yes",
	}
	f.bindChange(t, cmd)
	yesFlag(cmd, &yes)
	cmd.ValidArgsFunction = completeOnce(t.completeVariables(&f.variableScope))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := f.name(args[0])
		if err != nil {
			return err
		}
		if !f.plan {
			if err := t.confirm(yes, "delete the variable %s", short(name)); err != nil {
				return err
			}
		}
		return t.changeVariable(ctx, &f, args[0], nil, func(ctx context.Context, c *client, rollout catalogv1.Rollout) (*catalogv1.SetVariableResponse, error) {
			return c.variables().DeleteVariable(ctx, &catalogv1.DeleteVariableRequest{Name: name, Rollout: rollout, Message: f.message, RequestId: f.id()})
		})
	})
	return cmd
}

func (t *tow) varRestoreCmd() *cobra.Command {
	var f variableFlags
	var version int64
	cmd := &cobra.Command{
		Use: "restore KEY --version N -e APP/ENV", Short: "Give a variable an earlier value again", Args: exactArgs("the name of a variable"),
		Long:    "Gives a variable the value of one of its versions, also one that was deleted. That makes a new version.",
		Example: "  tow var versions LOG_LEVEL -e shop/dev\n  tow var restore LOG_LEVEL --version 2 -e shop/dev --wait",
	}
	f.bindChange(t, cmd)
	cmd.Flags().Int64Var(&version, "version", 0, "the version, as tow var versions lists them")
	complete(cmd, "version", t.completeVariableVersions(&f.variableScope))
	cmd.ValidArgsFunction = completeOnce(t.completeVariables(&f.variableScope))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := f.name(args[0])
		if err != nil {
			return err
		}
		if version < 1 {
			return usagef("which version? give --version, a number of `tow var versions %s`", args[0])
		}
		var to *catalogv1.Variable
		if f.plan {
			if to, err = t.versionOf(ctx, name, version); err != nil {
				return err
			}
		}
		return t.changeVariable(ctx, &f, args[0], to, func(ctx context.Context, c *client, rollout catalogv1.Rollout) (*catalogv1.SetVariableResponse, error) {
			return c.variables().RestoreVariable(ctx, &catalogv1.RestoreVariableRequest{
				Name: name, Version: version, Rollout: rollout, Message: f.message, RequestId: f.id(),
			})
		})
	})
	return cmd
}

func (t *tow) versionOf(ctx context.Context, name string, version int64) (*catalogv1.Variable, error) {
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	for token := ""; ; {
		l, err := c.variables().ListVariableVersions(ctx, &catalogv1.ListVariableVersionsRequest{Parent: name, PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, err
		}
		for _, m := range l.GetVariables() {
			if m.GetVersion() == version && !m.GetDeleted() {
				return m, nil
			}
		}
		if token = l.GetNextPageToken(); token == "" {
			return nil, missing("%s has no version %d with a value", short(name), version)
		}
	}
}

// changeVariable shows what would change, or changes it and tells what deploys it. to is the new value, nil to take it away.
func (t *tow) changeVariable(ctx context.Context, f *variableFlags, key string, to *catalogv1.Variable,
	call func(context.Context, *client, catalogv1.Rollout) (*catalogv1.SetVariableResponse, error),
) error {
	rollout, err := f.rolloutValue()
	if err != nil {
		return err
	}
	name, p, c, err := t.variableCall(&f.variableScope, key, f.output)
	if err != nil {
		return err
	}
	if to != nil {
		to.Name = name
	}
	if f.plan && f.app == "" {
		return t.showPlan(ctx, f.output, &catalogv1.PlanDeploymentRequest{Parent: envOf(name), Change: variableChange(key, to)})
	}
	if f.plan {
		return t.planApplicationVariable(ctx, c, name, to, rollout)
	}
	r, err := call(ctx, c, rollout)
	if err != nil {
		return err
	}
	if f.app == "" && len(r.GetDeployments()) == 1 {
		return t.shipped(ctx, &f.shipment, r.GetDeployments()[0])
	}
	return t.rolledOut(ctx, f, p, r)
}

func variableChange(key string, to *catalogv1.Variable) *catalogv1.Change {
	switch {
	case to == nil:
		return &catalogv1.Change{VariableDrops: []string{key}}
	case to.GetSecret() != nil:
		return &catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{key: to.GetSecret()}}
	default:
		return &catalogv1.Change{Variables: map[string]string{key: to.GetValue()}}
	}
}

// planApplicationVariable tells what an application's variable would become, and for whom and when.
func (t *tow) planApplicationVariable(ctx context.Context, c *client, name string, to *catalogv1.Variable, rollout catalogv1.Rollout) error {
	was, now := "(not set)", "(deleted)"
	m, err := c.variables().GetVariable(ctx, &catalogv1.GetVariableRequest{Name: name})
	if err == nil {
		was = variableValue(m)
	} else if !errs.Is(err, errs.NotFound) {
		return err
	}
	if to != nil {
		now = variableValue(to)
	}
	t.printf("%s: %s -> %s\n", last(name), clean(was), clean(now))
	uses, err := c.variables().FindVariableUses(ctx, &catalogv1.FindVariableUsesRequest{Name: name})
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	held := map[string]bool{}
	if rollout == catalogv1.Rollout_ROLLOUT_ALL {
		if held, err = t.heldIn(ctx, name); err != nil {
			return err
		}
	}
	for _, use := range uses.GetUses() {
		when := "with its next deployment"
		if rollout == catalogv1.Rollout_ROLLOUT_ALL && !held[use.GetEnvironment()] {
			when = "by a deployment at once"
		}
		t.printf("%s %s reads it and gets it %s\n", short(use.GetEnvironment()), use.GetWorkload(), when)
	}
	if len(uses.GetUses()) == 0 {
		t.printf("no environment reads it\n")
	}
	return nil
}

// rolledOut tells of an application's variable and of the deployments that bring it, and waits for them where that is asked for.
func (t *tow) rolledOut(ctx context.Context, f *variableFlags, p *printer, r *catalogv1.SetVariableResponse) error {
	forPeople := f.output == "table" || f.output == "wide"
	if forPeople {
		m := r.GetVariable()
		t.printf("%s = %s (version %d)\n", last(m.GetName()), clean(variableValue(m)), m.GetVersion())
	}
	t.noteHeld(r.GetHeldEnvironments())
	var names []string
	for _, d := range r.GetDeployments() {
		names = append(names, d.GetName())
	}
	if done, err := p.structured(r, append(names, r.GetVariable().GetName())...); done && !f.wait {
		return err
	}
	for _, d := range r.GetDeployments() {
		if !f.wait {
			t.printf("%s\n", d.GetName())
			continue
		}
		if err := t.shipped(ctx, &shipment{wait: true, timeout: f.timeout, output: "table"}, d); err != nil {
			return err
		}
	}
	return nil
}

// unsetCmd is the short way that people look for beside `tow set`.
func (t *tow) unsetCmd() *cobra.Command {
	var s shipment
	var f setFlags
	cmd := &cobra.Command{
		Use: "unset KEY... -e APP/ENV", Short: "Take variables away, and deploy that", Args: someArgs("the name of a variable"),
		Long: `Takes variables of the environment away; the application's values, where there are any, hold again. With -w it takes the environment's own
values of a workload's variables away. It does what ` + "`tow set KEY-`" + ` does.`,
		Example: "  tow unset CURRENCY -e shop/dev\n  tow unset LOG_LEVEL -e shop/dev -w api --plan",
	}
	s.bind(t, cmd)
	f.bind(t, cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return t.completeVariables(&variableScope{env: s.env})(cmd, args, prefix)
	}
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		change, err := t.setChange(ctx, f, env, nil, args)
		if err != nil {
			return err
		}
		return t.ship(ctx, &s, env, change)
	})
	return cmd
}
