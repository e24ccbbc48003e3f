package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// renderer gives the part of the API that renders.
func (c *client) renderer() rendererv1.RendererServiceClient {
	return rendererv1.NewRendererServiceClient(c.conn)
}

// guardrails makes the field of a flag that names files of guardrails, which the server reads. The files have all of them: an
// empty one takes all away.
func (t *tow) guardrails(fs *pflag.FlagSet) field[environmentType] {
	files := fs.StringArray("guardrails-file", nil, "a YAML file with guardrails, rules in CEL on what may be deployed, or with ValidatingAdmissionPolicies; repeat it for several: together they replace what there is, and an empty file takes all away")
	return field[environmentType]{"guardrails-file", "guardrails", func(m environmentType) error {
		if len(*files) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		loaded, err := t.loadGuardrails(ctx, *files)
		m.Guardrails = loaded
		return err
	}}
}

// allowedKinds makes the field of a flag that names kinds of objects. What is given replaces what there is.
func allowedKinds(fs *pflag.FlagSet, defaults func(environmentType) *rendererv1.EnvironmentDefaults) field[environmentType] {
	v := fs.StringSlice("allow-kind", nil, "kinds of objects that may be rendered, such as Deployment.apps, Service or *.example.com; they replace what there is, and \"\" is the default: all that belong into a namespace, but Role, RoleBinding, ResourceQuota and LimitRange")
	return field[environmentType]{"allow-kind", "defaults.allowed_kinds", func(m environmentType) error {
		defaults(m).AllowedKinds = slices.DeleteFunc(*v, func(s string) bool { return s == "" })
		return nil
	}}
}

// loadGuardrails lets the server read files, and tells what of them it leaves out.
func (t *tow) loadGuardrails(ctx context.Context, names []string) ([]*rendererv1.Guardrail, error) {
	files := map[string][]byte{}
	for _, name := range names {
		text, err := t.fileOf(name, "name a file of guardrails")
		if err != nil {
			return nil, err
		}
		files[name] = text
	}
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	loaded, err := c.renderer().LoadGuardrails(ctx, &rendererv1.LoadGuardrailsRequest{Files: files})
	if err != nil {
		return nil, err
	}
	for _, w := range loaded.GetWarnings() {
		t.notef("warning: %s", w)
	}
	return loaded.GetGuardrails(), nil
}

func (t *tow) guardrailCmd() *cobra.Command {
	return t.group("guardrail", "Write and try rules on what may be deployed",
		`A guardrail is a rule in CEL on what may be deployed, which an environment type has: it denies, or it warns. These commands give a
set to begin with, check files, and try them on Score files. Files may be Towpath's own lists, or ValidatingAdmissionPolicies of
Kubernetes with their bindings.`,
		"  tow guardrail starter > guardrails.yaml\n  tow guardrail check -f guardrails.yaml\n  tow type update production --guardrails-file guardrails.yaml",
		t.starterCmd(), t.checkGuardrailsCmd(), t.testGuardrailsCmd())
}

var guardrailColumns = []column[*rendererv1.Guardrail]{
	{"NAME", false, func(_ *printer, g *rendererv1.Guardrail) string { return g.GetName() }},
	{"DOES", false, func(_ *printer, g *rendererv1.Guardrail) string { return enforcement(g.GetEnforcement()) }},
	{"KINDS", true, func(_ *printer, g *rendererv1.Guardrail) string { return orDash(strings.Join(g.GetKinds(), ",")) }},
	{"MESSAGE", false, func(_ *printer, g *rendererv1.Guardrail) string { return orDash(clip(g.GetMessage(), 100)) }},
}

func enforcement(e rendererv1.Guardrail_Enforcement) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "ENFORCEMENT_"))
}

func (t *tow) starterCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "starter [NAME...]", Short: "Print guardrails to begin with",
		Long:    "Prints guardrails to begin with as a file that tow type update takes: all of them, or those that are named. Take what you like,\nand edit it: the list of registries is an example.",
		Example: "  tow guardrail starter > guardrails.yaml\n  tow guardrail starter image-version two-replicas\n  tow guardrail starter --table",
	}
	table := cmd.Flags().Bool("table", false, "print a table of them instead of a file")
	format = "table"
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		resp, err := c.renderer().ListStarterGuardrails(ctx, &rendererv1.ListStarterGuardrailsRequest{})
		if err != nil {
			return err
		}
		chosen, err := choose(resp.GetGuardrails(), args)
		if err != nil {
			return err
		}
		if *table {
			return printTable(p, chosen, guardrailColumns)
		}
		text, err := guardrailFile(chosen)
		if err != nil {
			return err
		}
		t.printf("%s", text)
		return nil
	})
	return cmd
}

func choose(all []*rendererv1.Guardrail, names []string) ([]*rendererv1.Guardrail, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []*rendererv1.Guardrail
	for _, name := range names {
		i := slices.IndexFunc(all, func(g *rendererv1.Guardrail) bool { return g.GetName() == name })
		if i < 0 {
			return nil, usagef("there is no %q in the set; see `tow guardrail starter --table`", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// guardrailFile writes guardrails as people write them.
func guardrailFile(guardrails []*rendererv1.Guardrail) (string, error) {
	named := func(list []*rendererv1.NamedExpression) (out []map[string]any) {
		for _, e := range list {
			out = append(out, map[string]any{"name": e.GetName(), "expression": e.GetExpression()})
		}
		return out
	}
	var b strings.Builder
	for _, g := range guardrails {
		fields := []struct {
			key   string
			value any
			given bool
		}{
			{"name", g.GetName(), true}, {"enforcement", enforcement(g.GetEnforcement()), true}, {"message", g.GetMessage(), g.GetMessage() != ""},
			{"message_expression", g.GetMessageExpression(), g.GetMessageExpression() != ""}, {"kinds", g.GetKinds(), len(g.GetKinds()) > 0},
			{"conditions", named(g.GetConditions()), len(g.GetConditions()) > 0}, {"variables", named(g.GetVariables()), len(g.GetVariables()) > 0},
			{"expression", g.GetExpression(), true}, {"ignore_errors", true, g.GetIgnoreErrors()},
		}
		indent := "- "
		for _, f := range fields {
			if !f.given {
				continue
			}
			text, err := yaml.Marshal(map[string]any{f.key: f.value})
			if err != nil {
				return "", fmt.Errorf("write the guardrail %s: %w", g.GetName(), err)
			}
			for line := range strings.Lines(string(text)) {
				b.WriteString(indent + line)
				indent = "  "
			}
		}
	}
	return b.String(), nil
}

func (t *tow) checkGuardrailsCmd() *cobra.Command {
	var files []string
	var format string
	cmd := &cobra.Command{
		Use: "check -f FILE", Short: "Check files of guardrails", Args: noArgs,
		Long:    "Reads files as tow type update --guardrails-file does, and shows what they give. Nothing is changed.",
		Example: "  tow guardrail check -f guardrails.yaml\n  tow guardrail check -f policies.yaml -f bindings.yaml -o yaml",
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "a file of guardrails or ValidatingAdmissionPolicies, - for standard input; repeat it for several")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return usagef("which file? give -f, such as -f guardrails.yaml")
		}
		loaded, err := t.loadGuardrails(ctx, files)
		if err != nil {
			return err
		}
		if len(loaded) == 0 && format == "table" {
			t.notef("the files have no guardrails")
			return nil
		}
		return printList(p, &rendererv1.LoadGuardrailsResponse{Guardrails: loaded}, loaded, guardrailColumns)
	})
	return cmd
}

type guardrailTest struct {
	scores      scoreFlags
	files       []string
	env, kind   string
	operation   string
	variables   []string
	definitions []string
	replicas    int32
	restricted  bool
}

func (t *tow) testGuardrailsCmd() *cobra.Command {
	var f guardrailTest
	cmd := &cobra.Command{
		Use: "test -g FILE -f SCORE", Short: "Try guardrails on Score files", Args: noArgs,
		Long: `Renders Score files and asks guardrails about what comes out. Nothing is deployed and nothing is changed. The exit code is that of
a deployment that guardrails refuse when one of them denies.`,
		Example: "  tow guardrail test -g guardrails.yaml -f score.yaml --type production\n  tow guardrail starter | tow guardrail test -g - -f score.yaml --restricted",
	}
	f.scores.bind(cmd)
	cmd.Flags().StringArrayVarP(&f.files, "guardrails", "g", nil, "a file of guardrails or ValidatingAdmissionPolicies, - for standard input; repeat it for several")
	t.envFlagVar(cmd, &f.env, "names of application and environment (default local/dev)")
	cmd.Flags().StringVar(&f.kind, "type", "", "the environment type, such as production")
	cmd.Flags().StringVar(&f.operation, "kind", "CHANGE", "what guardrails see as the deployment's kind: CHANGE, ROLLBACK, PROMOTION or REMOVAL")
	complete(cmd, "kind", cobra.FixedCompletions([]string{"CHANGE", "ROLLBACK", "PROMOTION", "REMOVAL"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringArrayVar(&f.variables, "variable", nil, "a variable of the environment, KEY=VALUE")
	cmd.Flags().StringArrayVar(&f.definitions, "definition", nil, "a resource definition file to choose from")
	cmd.Flags().Int32Var(&f.replicas, "replicas", 0, "replicas of workloads that name none; 0 means 1")
	cmd.Flags().BoolVar(&f.restricted, "restricted", false, "give pods the security context of the restricted Pod Security Standard")
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error { return t.testGuardrails(ctx, &f) })
	return cmd
}

func (t *tow) testGuardrails(ctx context.Context, f *guardrailTest) error {
	switch {
	case len(f.files) == 0:
		return usagef("which guardrails? give -g, such as -g guardrails.yaml")
	case len(f.scores.files) == 0:
		return usagef("which Score file? give -f, such as -f score.yaml")
	}
	input, err := t.testInput(f)
	if err != nil {
		return err
	}
	scores, err := f.scores.read(t)
	if err != nil {
		return err
	}
	guardrails, err := t.loadGuardrails(ctx, f.files)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	loaded, err := c.renderer().LoadWorkloads(ctx, &rendererv1.LoadWorkloadsRequest{Files: scores})
	if err != nil {
		return err
	}
	input.Workloads = loaded.GetWorkloads()
	resp, err := c.renderer().Render(ctx, &rendererv1.RenderRequest{Input: input, Guardrails: guardrails, Facts: &rendererv1.DeploymentFacts{Kind: f.operation}})
	if err != nil {
		return err
	}
	denied := 0
	for _, v := range resp.GetVerdicts() {
		if v.GetEnforcement() == rendererv1.Guardrail_ENFORCEMENT_DENY {
			denied++
		}
		t.printf("%-5s %s\n", enforcement(v.GetEnforcement()), clean(verdictText(v)))
	}
	t.notef("asked %s about %s", plural(len(guardrails), "guardrail"), plural(len(resp.GetBundle().GetObjects()), "object"))
	if denied > 0 {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_GUARDRAIL, "guardrails would refuse the deployment")
	}
	return nil
}

func (t *tow) testInput(f *guardrailTest) (*rendererv1.RenderInput, error) {
	env, err := envName(firstOf(f.env, "local/dev"))
	if err != nil {
		return nil, err
	}
	kind, err := orEmpty(typeName)(f.kind)
	if err != nil {
		return nil, err
	}
	variables, err := keyValues("--variable", f.variables)
	if err != nil {
		return nil, err
	}
	definitions, err := definitionFiles(f.definitions)
	if err != nil {
		return nil, err
	}
	app, id := splitEnv(env)
	return &rendererv1.RenderInput{
		Application: app, Environment: id, EnvironmentType: short(kind), Namespace: app + "-" + id, Variables: variables, Definitions: definitions,
		Defaults: &rendererv1.EnvironmentDefaults{Replicas: f.replicas, Restricted: f.restricted},
	}, nil
}

// verdictText tells what does not hold: no-latest Deployment/api spec.replicas: run at least two.
func verdictText(v *rendererv1.Verdict) string {
	object := strings.Trim(v.GetObject().GetKind()+"/"+v.GetObject().GetName(), "/")
	return strings.Join(nonEmpty(v.GetGuardrail(), object, v.GetPath()), " ") + ": " + v.GetMessage()
}
