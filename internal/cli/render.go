package cli

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/renderer/render"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

type renderFlags struct {
	scores                    scoreFlags
	env, kind, namespace, out string
	variables, labels         []string
	definitions               []string
	replicas                  int32
	restricted                bool
	domain                    string
}

func (t *tow) renderCmd() *cobra.Command {
	var f renderFlags
	cmd := &cobra.Command{
		Use: "render -f FILE", Short: "Render Score files to Kubernetes manifests, offline", Args: noArgs,
		Long: `Renders Score files without a server: the same input gives the same bytes as the server makes, and so the same tree id. What a
server knows of the environment is given by flags: its name, namespace, variables, and what its type adds.

The manifests go to standard output, or with -o to a folder, one object a file.`,
		Example: `  tow render -f score.yaml
  tow render -f api.score.yaml -f web.score.yaml -e shop/dev --variable CURRENCY=EUR -o manifests
  tow render -f score.yaml --definition postgres.yaml
  tow render -f score.yaml --image registry.example.com/shop/api:1.4.2 --set service.ports.http.port=8080`,
	}
	f.scores.bind(cmd)
	t.envFlagVar(cmd, &f.env, "names of application and environment (default local/dev)")
	cmd.Flags().StringVar(&f.kind, "type", "", "the environment type, such as development")
	cmd.Flags().StringVar(&f.namespace, "namespace", "", "namespace of all objects (default APP-ENV)")
	cmd.Flags().StringArrayVar(&f.variables, "variable", nil, "a variable of the environment, KEY=VALUE")
	cmd.Flags().StringArrayVar(&f.definitions, "definition", nil, "a resource definition file to choose from, to try it before it is proposed")
	cmd.Flags().Int32Var(&f.replicas, "replicas", 0, "replicas of workloads that name none; 0 means 1")
	cmd.Flags().BoolVar(&f.restricted, "restricted", false, "give pods the security context of the restricted Pod Security Standard")
	cmd.Flags().StringVar(&f.domain, "domain", "", "domain of host names that are made for routes (default localhost)")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "a label on every object, KEY=VALUE")
	cmd.Flags().StringVarP(&f.out, "output", "o", "-", "write to this folder, one object a file; - for standard output")
	cmd.ValidArgsFunction = noCompletion
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error { return t.render(ctx, f) })
	return cmd
}

func (t *tow) render(ctx context.Context, f renderFlags) error {
	input, err := f.input(t)
	if err != nil {
		return err
	}
	out, err := render.With(input, t.renderOptions(ctx))
	if err != nil {
		return err
	}
	for _, w := range out.GetWarnings() {
		t.notef("warning: %s", w)
	}
	bundle := out.GetBundle()
	if f.out == "-" {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(bundle.GetFiles())) {
			fmt.Fprintf(&b, "---\n# %s\n%s", name, bundle.GetFiles()[name])
		}
		t.printf("%s", b.String())
		t.notef("tree %s", bundle.GetTree())
		return nil
	}
	if err := t.writeBundle(f.out, bundle.GetFiles()); err != nil {
		return err
	}
	t.notef("wrote %s to %s, tree %s", plural(len(bundle.GetFiles()), "file"), f.out, bundle.GetTree())
	return nil
}

func (f *renderFlags) input(t *tow) (*rendererv1.RenderInput, error) {
	if len(f.scores.files) == 0 {
		return nil, usagef("which Score file? give -f, such as -f score.yaml")
	}
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
	labels, err := keyValues("--label", f.labels)
	if err != nil {
		return nil, err
	}
	files, err := f.scores.read(t)
	if err != nil {
		return nil, err
	}
	workloads, err := score.LoadAll(files)
	if err != nil {
		return nil, err
	}
	definitions, err := definitionFiles(f.definitions)
	if err != nil {
		return nil, err
	}
	app, id := splitEnv(env)
	return &rendererv1.RenderInput{
		Application: app, Environment: id, EnvironmentType: short(kind), Namespace: firstOf(f.namespace, app+"-"+id),
		Workloads: workloads, Variables: variables, Definitions: definitions,
		Defaults: &rendererv1.EnvironmentDefaults{Replicas: f.replicas, Restricted: f.restricted, Domain: f.domain, Labels: labels},
	}, nil
}

// writeBundle writes the files. It never removes what else is in the folder, but says so: whoever applies the whole folder
// would apply that too.
func (t *tow) writeBundle(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), content, 0o644); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the folder: %w", err)
	}
	others := slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		_, ours := files[e.Name()]
		return ours || !strings.HasSuffix(e.Name(), ".yaml")
	})
	for _, e := range others {
		t.notef("warning: %s is not part of this rendering; remove it unless it is yours", filepath.Join(dir, e.Name()))
	}
	return nil
}
