package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/renderer/render"
)

type explainFlags struct {
	render             renderFlags
	deployment, format string
}

func (t *tow) explainFieldsCmd() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use: "explain (-e APP/ENV | -f FILE) OBJECT [FIELD]", Short: "Show where the fields of Kubernetes objects come from",
		Args: rangeArgs(1, "an object, such as deployment/api", "a field, such as .spec.replicas"),
		Long: `Shows where each field of an object comes from: a place in a Score file, the environment's overlay, a variable with its version and
author, an output of a resource, a resource definition, a default of the environment's type, or Towpath's own rules. One field is told in
one line, several in a table; -o wide adds the JSON Pointer in the set's document where a value would have to be changed.

OBJECT is kind and name, as kubectl has them, or a file of the environment's folder in Git. FIELD is a path in it: items of lists by key
or place (containers[api], containers[0], env[LOG_LEVEL]), keys with dots in brackets (labels[app.kubernetes.io/name]).

It looks at what is to run in the environment, or with --deployment at what a deployment made. With -f it looks at what Score files would
become, rendered here without a server; the flags that say what a server knows are those of ` + "`tow render`" + `.`,
		Example: `  tow explain -e shop/dev deployment/api '.spec.template.spec.containers[0].env[LOG_LEVEL]'
  tow explain -e shop/dev deployment/api .spec.replicas
  tow explain -e shop/dev service/api -o wide
  tow explain -e shop/dev --deployment 7 deployment/api -o json
  tow explain -f score.yaml deployment/api .spec.template.spec.containers`,
	}
	f.render.bindInput(cmd)
	t.envFlagVar(cmd, &f.render.env, "the environment, such as shop/dev; with -f the names of application and environment (default local/dev)")
	cmd.Flags().StringVar(&f.deployment, "deployment", "", "a deployment of the environment: its number, latest or active")
	t.outputFlag(cmd, &f.format)
	complete(cmd, "deployment", t.completeDeployments)
	cmd.ValidArgsFunction = t.completeObjects
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		return t.explain(ctx, f, args[0], strings.Join(args[1:], ""))
	})
	return cmd
}

func (t *tow) explain(ctx context.Context, f explainFlags, object, path string) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	message, fields, err := t.explained(ctx, f, object, path)
	if err != nil {
		return err
	}
	var names []string
	for _, field := range fields {
		names = append(names, clean(field.GetPath()))
	}
	if done, err := p.structured(message, names...); done {
		return err
	}
	if len(fields) == 1 && f.format == "table" {
		t.printf("%s\n", clean(fields[0].GetText()))
		return nil
	}
	return printTable(p, fields, explainColumns)
}

var explainColumns = []column[*rendererv1.FieldOrigin]{
	{"FIELD", false, func(_ *printer, m *rendererv1.FieldOrigin) string { return clean(m.GetPath()) }},
	{"VALUE", false, func(_ *printer, m *rendererv1.FieldOrigin) string {
		return clip(manifest.Show(m.GetValue().AsInterface()), 40)
	}},
	{"POINTER", true, func(_ *printer, m *rendererv1.FieldOrigin) string { return clean(m.GetOrigin().GetPointer()) }},
	{"COMES FROM", false, func(_ *printer, m *rendererv1.FieldOrigin) string {
		// The text has field and value before it.
		_, after, _ := strings.Cut(m.GetText(), " = "+manifest.Show(m.GetValue().AsInterface())+": ")
		return clean(after)
	}},
}

// explained asks the server, or renders the Score files that are given.
func (t *tow) explained(ctx context.Context, f explainFlags, object, path string) (proto.Message, []*rendererv1.FieldOrigin, error) {
	if len(f.render.scores.files) > 0 || f.render.inputFile != "" {
		if f.deployment != "" {
			return nil, nil, usagef("--deployment is of an environment on the server; with -f nothing is asked of it")
		}
		request, err := f.render.request(t)
		if err != nil {
			return nil, nil, err
		}
		out, err := render.Explain(request.GetInput(), t.renderOptions(ctx), object, path)
		return out, out.GetFields(), err
	}
	for _, flag := range append([]string{"set", "overrides", "image"}, inputFlags...) {
		if f.render.given(flag) {
			return nil, nil, usagef("--%s is about Score files; name one with -f", flag)
		}
	}
	name, err := envFlag(f.render.env)
	if err == nil && f.deployment != "" {
		name, err = deploymentName(name, f.deployment)
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := t.api()
	if err != nil {
		return nil, nil, err
	}
	out, err := catalogv1.NewManifestServiceClient(c.conn).ExplainEnvironment(ctx, &catalogv1.ExplainEnvironmentRequest{Name: name, Object: object, Path: path})
	return out, out.GetFields(), err
}

// completeObjects gives the objects of the environment in --env, and behind one of them its fields.
func (t *tow) completeObjects(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfFlag(cmd)
		if err != nil || len(args) > 1 {
			return nil, err
		}
		object := ""
		if len(args) == 1 {
			object = args[0]
		}
		told, err := catalogv1.NewManifestServiceClient(c.conn).ExplainEnvironment(ctx, &catalogv1.ExplainEnvironmentRequest{Name: env, Object: object})
		var out []string
		for _, f := range told.GetFields() {
			word := strings.ToLower(f.GetObject().GetKind()) + "/" + f.GetObject().GetName()
			if object != "" {
				word = "." + f.GetPath()
			}
			if !slices.Contains(out, word) {
				out = append(out, word)
			}
		}
		return out, err
	})
}
