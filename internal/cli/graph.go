package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/renderer/render"
)

// graphFormats are the values of --output of a graph.
var graphFormats = []string{"text", "dot", "json", "yaml", "name"}

type graphFlags struct {
	render             renderFlags
	deployment, format string
	ascii              bool
}

func (t *tow) graphCmd() *cobra.Command {
	var f graphFlags
	cmd := &cobra.Command{
		Use: "graph (-e APP/ENV | -f FILE)", Short: "Show the resources of an environment and what needs what", Args: noArgs,
		Long: `Shows the workloads of an environment, the resources that they ask for, which definition answers each, what further resources those
refer to or bring along, and the objects that all of it becomes. Without -f it is what is to run in the environment, or with
--deployment what a deployment of it made; with -f it is what Score files would become, rendered here without a server.

With -o dot it is a graph for Graphviz.`,
		Example: `  tow graph -e shop/dev
  tow graph -e shop/dev --deployment 7 -o json
  tow graph -f score.yaml --definition postgres.yaml
  tow graph -f api.score.yaml -f web.score.yaml -o dot | dot -Tsvg > graph.svg`,
	}
	f.render.scores.bind(cmd)
	t.envFlagVar(cmd, &f.render.env, "the environment, such as shop/dev; with -f the names of application and environment (default local/dev)")
	cmd.Flags().StringVar(&f.deployment, "deployment", "", "a deployment of the environment: its number, latest or active")
	cmd.Flags().StringVar(&f.render.kind, "type", "", "with -f, the environment type, such as development")
	cmd.Flags().StringArrayVar(&f.render.variables, "variable", nil, "with -f, a variable of the environment, KEY=VALUE")
	cmd.Flags().StringArrayVar(&f.render.definitions, "definition", nil, "with -f, a resource definition file to choose from")
	cmd.Flags().StringArrayVar(&f.render.provisioners, "provisioners", nil, "with -f, a provisioner file of the Score community, or a folder of them")
	cmd.Flags().BoolVar(&f.ascii, "ascii", false, "draw without box characters, also in a terminal")
	cmd.Flags().StringVarP(&f.format, "output", "o", "text", "output: "+strings.Join(graphFormats, ", "))
	complete(cmd, "output", cobra.FixedCompletions(graphFormats, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "deployment", t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		f.render.given = cmd.Flags().Changed
		return t.graph(ctx, f)
	})
	return cmd
}

func (t *tow) graph(ctx context.Context, f graphFlags) error {
	if !slices.Contains(graphFormats, f.format) {
		return usagef("--output %q is none of %s", f.format, strings.Join(graphFormats, ", "))
	}
	g, err := t.graphOf(ctx, f)
	if err != nil {
		return err
	}
	switch f.format {
	case "text":
		t.printf("%s", graphText(g, t.OutTerminal && !f.ascii))
		return nil
	case "dot":
		t.printf("%s", graphDot(g))
		return nil
	}
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	var names []string
	for _, n := range g.GetNodes() {
		names = append(names, n.GetId())
	}
	_, err = p.structured(g, names...)
	return err
}

// graphOf asks the server, or renders the Score files that are given.
func (t *tow) graphOf(ctx context.Context, f graphFlags) (*rendererv1.ResourceGraph, error) {
	if len(f.render.scores.files) > 0 {
		if f.deployment != "" {
			return nil, usagef("--deployment is of an environment on the server; with -f nothing is asked of it")
		}
		request, err := f.render.request(t)
		if err != nil {
			return nil, err
		}
		return render.Graph(request.GetInput(), t.renderOptions(ctx))
	}
	if len(f.render.variables)+len(f.render.definitions)+len(f.render.provisioners) > 0 || f.render.kind != "" {
		return nil, usagef("--variable, --definition, --provisioners and --type are about Score files; name one with -f")
	}
	if f.render.env == "" {
		return nil, usagef("which environment? give -e, such as -e shop/dev, or Score files with -f")
	}
	name, err := envName(f.render.env)
	if err == nil && f.deployment != "" {
		name, err = deploymentName(name, f.deployment)
	}
	if err != nil {
		return nil, err
	}
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	return catalogv1.NewManifestServiceClient(c.conn).GetResourceGraph(ctx, &catalogv1.GetResourceGraphRequest{Name: name})
}
