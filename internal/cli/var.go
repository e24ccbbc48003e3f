package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

type variable = *catalogv1.Variable

func (c *client) variables() catalogv1.VariableServiceClient {
	return catalogv1.NewVariableServiceClient(c.conn)
}

// variableScope says whose variables are meant: an environment's or an application's.
type variableScope struct{ env, app string }

func (v *variableScope) bind(t *tow, cmd *cobra.Command) {
	t.envFlagVar(cmd, &v.env, "the environment, such as shop/dev")
	v.bindApp(t, cmd)
}

func (v *variableScope) bindApp(t *tow, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&v.app, "app", "a", "", "the application, such as shop: its variables hold in all its environments")
	cmd.MarkFlagsMutuallyExclusive("env", "app")
}

// parent gives the resource name of the owner.
func (v *variableScope) parent() (string, error) {
	switch {
	case v.app != "":
		return appName(v.app)
	case v.env != "":
		return envName(v.env)
	}
	return "", usagef("whose variables? give -e, such as -e shop/dev, or -a for the application's, such as -a shop")
}

func (v *variableScope) name(key string) (string, error) {
	parent, err := v.parent()
	if err == nil && (key == "" || strings.Contains(key, "/")) {
		err = usagef("%q is no name of a variable; give one such as LOG_LEVEL", key)
	}
	return parent + "/variables/" + key, err
}

var variableColumns = []column[variable]{
	{"KEY", false, func(_ *printer, m variable) string { return last(m.GetName()) }},
	{"VALUE", false, func(_ *printer, m variable) string { return variableValue(m) }},
	{"FROM", false, func(_ *printer, m variable) string { return variableFrom(m) }},
	{"VERSION", false, func(_ *printer, m variable) string { return strconv.FormatInt(m.GetVersion(), 10) }},
	{"CHANGED", false, func(p *printer, m variable) string { return p.when(m.GetUpdateTime()) }},
	{"BY", false, func(_ *printer, m variable) string { return m.GetUpdateActor() }},
	{"DEPLOYMENT", true, func(_ *printer, m variable) string { return short(m.GetDeployment()) }},
	{"DESCRIPTION", true, func(_ *printer, m variable) string { return m.GetDescription() }},
}

func variableValue(m variable) string {
	switch {
	case m.GetDeleted():
		return "(deleted)"
	case m.GetSecret() != nil:
		return secretText(m.GetSecret())
	default:
		return m.GetValue()
	}
}

func variableFrom(m variable) string {
	switch {
	case !strings.Contains(m.GetName(), "/"+environments+"/"):
		return "application"
	case m.GetOverrides():
		return "environment, overrides"
	default:
		return "environment"
	}
}

func (t *tow) varCmd() *cobra.Command {
	return t.group("var", "Look at and change variables", `Variables are what Score files read as ${resources.NAME.KEY} from a resource of type environment. Those of an application (-a) hold in
all its environments; an environment's own (-e) win. Every change is a version that is kept and can be restored. An environment's
variables change by a deployment; an application's change at once and reach each environment with its next deployment, or with
--rollout now. A secret is never a value: --secret refers to a key of a Secret in the environment's namespace.`,
		"  tow var list -e shop/dev\n  tow var set LOG_LEVEL=debug -a shop --rollout",
		t.varListCmd(), t.varGetCmd(), t.varSetCmd(), t.varDeleteCmd(), t.varVersionsCmd(), t.varRestoreCmd(), t.varUsesCmd())
}

func (t *tow) varListCmd() *cobra.Command {
	var v variableScope
	var format string
	var watch bool
	cmd := &cobra.Command{
		Use: "list -e APP/ENV", Short: "List variables", Args: noArgs, Aliases: []string{"ls"},
		Long:    "Lists the variables of an application, or all that hold in an environment: its own and those of its application.",
		Example: "  tow var list -e shop/dev\n  tow var list -a shop -o json\n  tow var list -e shop/dev --watch",
	}
	v.bind(t, cmd)
	t.outputFlag(cmd, &format)
	watchFlag(cmd, &watch)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		parent, err := v.parent()
		if err != nil {
			return err
		}
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if watch {
			// What is removed is named by its key alone: an application's variable may show again from behind an environment's.
			w := &listWatch[variable]{t: t, p: p, columns: variableColumns, none: "no variables yet", key: func(m variable) string { return last(m.GetName()) }}
			return w.run(ctx, c, watchVariables(parent))
		}
		items, err := pages(ctx, func(ctx context.Context, size int32, token string) ([]variable, string, error) {
			l, err := c.variables().ListVariables(ctx, &catalogv1.ListVariablesRequest{Parent: parent, PageSize: size, PageToken: token})
			return l.GetVariables(), l.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		if len(items) == 0 && (format == "table" || format == "wide") {
			t.notef("no variables yet; make one: tow var set LOG_LEVEL=debug %s", v.flag())
		}
		return printList(p, &catalogv1.ListVariablesResponse{Variables: items}, items, variableColumns)
	})
	return cmd
}

// watchVariables follows the variables of an application or environment.
func watchVariables(parent string) follower[variable] {
	return func(ctx context.Context, c *client, token string) (func() (listChange[variable], error), error) {
		s, err := c.variables().WatchVariables(ctx, &catalogv1.WatchVariablesRequest{Parent: parent, ResumeToken: token})
		return receiver(s, err, (*catalogv1.WatchVariablesResponse).GetVariable)
	}
}

func (v *variableScope) flag() string {
	if v.app != "" {
		return "-a " + v.app
	}
	return "-e " + v.env
}

func (t *tow) varGetCmd() *cobra.Command {
	var v variableScope
	var format string
	cmd := &cobra.Command{
		Use: "get KEY -e APP/ENV", Short: "Show a variable", Args: exactArgs("the name of a variable"),
		Long:    "Shows a variable of the environment or of the application itself; `tow var list` shows what holds.",
		Example: "  tow var get LOG_LEVEL -e shop/dev\n  tow var get LOG_LEVEL -a shop -o yaml",
	}
	v.bind(t, cmd)
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.completeVariables(&v))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, p, c, err := t.variableCall(&v, args[0], format)
		if err != nil {
			return err
		}
		m, err := c.variables().GetVariable(ctx, &catalogv1.GetVariableRequest{Name: name})
		if err != nil {
			return err
		}
		return printOne(p, m, variableColumns)
	})
	return cmd
}

// variableCall prepares a call about one variable.
func (t *tow) variableCall(v *variableScope, key, format string) (string, *printer, *client, error) {
	name, err := v.name(key)
	if err != nil {
		return "", nil, nil, err
	}
	p, err := t.printer(format)
	if err != nil {
		return "", nil, nil, err
	}
	c, err := t.api()
	return name, p, c, err
}

func (t *tow) completeVariables(v *variableScope) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
			parent, err := v.parent()
			if err != nil {
				return nil, err
			}
			l, err := c.variables().ListVariables(ctx, &catalogv1.ListVariablesRequest{Parent: parent, PageSize: 1000})
			var out []string
			for _, m := range l.GetVariables() {
				out = append(out, last(m.GetName()))
			}
			return without(out, args), err
		})
	}
}

func (t *tow) varVersionsCmd() *cobra.Command {
	var v variableScope
	var format string
	cmd := &cobra.Command{
		Use: "versions KEY -e APP/ENV", Short: "List what a variable has been", Args: exactArgs("the name of a variable"),
		Long:    "Lists the versions of a variable, newest first, also of one that was deleted.",
		Example: "  tow var versions LOG_LEVEL -e shop/dev",
	}
	v.bind(t, cmd)
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.completeVariables(&v))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, p, c, err := t.variableCall(&v, args[0], format)
		if err != nil {
			return err
		}
		items, err := pages(ctx, func(ctx context.Context, size int32, token string) ([]variable, string, error) {
			l, err := c.variables().ListVariableVersions(ctx, &catalogv1.ListVariableVersionsRequest{Parent: name, PageSize: size, PageToken: token})
			return l.GetVariables(), l.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		return printList(p, &catalogv1.ListVariableVersionsResponse{Variables: items}, items, variableColumns)
	})
	return cmd
}

type variableUse = *catalogv1.VariableUse

var useColumns = []column[variableUse]{
	{"ENVIRONMENT", false, func(_ *printer, m variableUse) string { return short(m.GetEnvironment()) }},
	{"WORKLOAD", false, func(_ *printer, m variableUse) string {
		if m.GetWorkload() == "" {
			return "(shared resources)"
		}
		return m.GetWorkload()
	}},
	{"VERSION", false, func(_ *printer, m variableUse) string { return strconv.FormatInt(m.GetVersion(), 10) }},
	{"PATHS", false, func(_ *printer, m variableUse) string { return strings.Join(m.GetPaths(), " ") }},
}

func (t *tow) varUsesCmd() *cobra.Command {
	var v variableScope
	var format string
	cmd := &cobra.Command{
		Use: "uses KEY -e APP/ENV", Short: "Show which workloads read a variable", Args: exactArgs("the name of a variable"),
		Long: `Shows which workloads read a variable, in which environments and where, with the version that each environment has. An environment
that has a variable of that name itself does not read the application's.`,
		Example: "  tow var uses LOG_LEVEL -a shop",
	}
	v.bind(t, cmd)
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.completeVariables(&v))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, p, c, err := t.variableCall(&v, args[0], format)
		if err != nil {
			return err
		}
		r, err := c.variables().FindVariableUses(ctx, &catalogv1.FindVariableUsesRequest{Name: name})
		if err != nil {
			return err
		}
		var names []string
		for _, use := range r.GetUses() {
			names = append(names, use.GetEnvironment())
		}
		if done, err := p.structured(r, names...); done {
			return err
		}
		if len(r.GetUses()) == 0 {
			t.notef("nothing reads %s", args[0])
		}
		return printTable(p, r.GetUses(), useColumns)
	})
	return cmd
}

// secretReference reads NAME/KEY.
func secretReference(flag, text string) (*rendererv1.SecretReference, error) {
	name, key, ok := strings.Cut(text, "/")
	if !ok || name == "" || key == "" {
		return nil, usagef("%s %q is no reference to a secret; give the Secret's name and a key of it, such as payments/api-key", flag, text)
	}
	return &rendererv1.SecretReference{Name: name, Key: key}, nil
}
