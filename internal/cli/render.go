package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// renderFlags are all that a rendering without a server is told: by files, and by flags that go over them.
type renderFlags struct {
	scores                    scoreFlags
	env, kind, namespace, out string
	variables, labels         []string
	secrets, variableFiles    []string
	definitions, definitionIn []string
	provisioners              []string
	replicas                  int32
	restricted                bool
	domain                    string

	inputFile, typeFile, resourcesFile, outputsFile string
	claimsOnly, prune, watch                        bool
	check                                           string

	// given reports whether a flag was given.
	given func(flag string) bool
	// read are the files that were read at last, watched for changes; see inputPaths.
	read []string
}

func (t *tow) renderCmd() *cobra.Command {
	var f renderFlags
	cmd := &cobra.Command{
		Use: "render -f FILE", Short: "Render Score files to Kubernetes manifests, offline", Args: noArgs,
		Long: `Renders Score files without a server: the same input gives the same bytes as the server makes, and so the same tree id. What a
server knows of the environment is given by flags and files: its name, namespace, variables, what its type adds (--type-file, as
` + "`tow type get NAME -o yaml`" + ` prints it), resource definitions, and what clusters have said of claims (--outputs-file, as
` + "`tow outputs -o yaml`" + ` prints it). Flags go over files.

The manifests go to standard output, or with -o to a folder, one object a file: all of them or, when something is wrong, none. --prune
removes what an earlier rendering of the same environment wrote there and this one does not. --check compares with a folder instead
and ends with exit code 1 and the difference when it is not what would be written: for CI, where the manifests are kept in Git.

--watch renders again whenever an input file changes, says what that changes, and goes on until Ctrl-C.`,
		Example: `  tow render -f score.yaml
  tow render -f . -e shop/dev --variables-file dev.env -o manifests --prune
  tow render -f api.score.yaml -f web.score.yaml -e shop/dev --variable CURRENCY=EUR --overrides api=api.dev.yaml
  tow render -f . -e shop/prod --type-file production.yaml --definitions definitions --check manifests
  tow render -f score.yaml --definition postgres.yaml --watch
  tow render -f score.yaml --image registry.example.com/shop/api:1.4.2 --set service.ports.http.port=8080`,
	}
	f.bind(t, cmd)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		if err := f.conflicts(); err != nil {
			return err
		}
		f.given = cmd.Flags().Changed
		if f.watch {
			return t.watchRender(ctx, &f)
		}
		return t.render(ctx, &f)
	})
	return cmd
}

func (f *renderFlags) bind(t *tow, cmd *cobra.Command) {
	t.envFlagVar(cmd, &f.env, "names of application and environment (default local/dev)")
	f.bindInput(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&f.claimsOnly, "claims-only", false, "render the claims alone: what a deployment commits while it waits for their outputs")
	fs.StringVarP(&f.out, "output", "o", "-", "write to this folder, one object a file; - for standard output")
	fs.BoolVar(&f.prune, "prune", false, "remove from the folder of -o what an earlier rendering of the same environment wrote and this one does not")
	fs.StringVar(&f.check, "check", "", "compare with this folder, show the difference, and end with exit code 1 when there is one")
	fs.BoolVar(&f.watch, "watch", false, "render again whenever an input file changes, until Ctrl-C")
}

// inputFlags are those that bindInput adds, without Score files and what is changed in them.
var inputFlags = []string{"type", "type-file", "namespace", "variable", "secret-variable", "variables-file", "definition", "definitions", "resources-file",
	"outputs-file", "input", "replicas", "restricted", "domain", "label"}

// bindInput adds the flags that say what is rendered; that of the environment's name is the command's own.
func (f *renderFlags) bindInput(cmd *cobra.Command) {
	f.given = cmd.Flags().Changed
	f.scores.bind(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.kind, "type", "", "the environment type, such as development")
	fs.StringVar(&f.typeFile, "type-file", "", "the environment type as tow type get NAME -o yaml prints it: defaults and guardrails")
	fs.StringVar(&f.namespace, "namespace", "", "namespace of all objects (default APP-ENV)")
	fs.StringArrayVar(&f.variables, "variable", nil, "a variable of the environment, KEY=VALUE")
	fs.StringArrayVar(&f.secrets, "secret-variable", nil, "a variable that refers to a key of a Secret, KEY=NAME/KEY")
	fs.StringArrayVar(&f.variableFiles, "variables-file", nil, "a file of variables: lines KEY=VALUE, or YAML, where {secret: NAME/KEY} refers to a Secret")
	fs.StringArrayVar(&f.definitions, "definition", nil, "a resource definition file to choose from, to try it before it is proposed")
	fs.StringArrayVar(&f.provisioners, "provisioners", nil, "a provisioner file of the Score community to choose from, or a folder of them")
	fs.StringArrayVar(&f.definitionIn, "definitions", nil, "a folder of resource definition files")
	fs.StringVar(&f.resourcesFile, "resources-file", "", "a YAML file with resources that workloads share, by name as in a Score file's resources")
	fs.StringVar(&f.outputsFile, "outputs-file", "", "what clusters have said of claims, as tow outputs -o yaml prints it")
	fs.StringVar(&f.inputFile, "input", "", "a YAML file with a RenderInput of the API, such as one with an overlay; all other flags go over it")
	fs.Int32Var(&f.replicas, "replicas", 0, "replicas of workloads that name none; 0 means 1")
	fs.BoolVar(&f.restricted, "restricted", false, "give pods the security context of the restricted Pod Security Standard")
	fs.StringVar(&f.domain, "domain", "", "domain of host names that are made for routes (default localhost)")
	fs.StringArrayVar(&f.labels, "label", nil, "a label on every object, KEY=VALUE")
}

// conflicts refuses flags that mean nothing together.
func (f *renderFlags) conflicts() error {
	switch {
	case f.check != "" && (f.out != "-" || f.prune || f.watch):
		return usagef("--check compares and writes nothing; leave -o, --prune and --watch out")
	case f.prune && f.out == "-":
		return usagef("--prune removes files from a folder; name it with -o")
	case f.watch && f.readsStdin():
		return usagef("--watch needs files that can change; standard input is read once")
	}
	return nil
}

// render renders once and writes, compares or prints what comes of it.
func (t *tow) render(ctx context.Context, f *renderFlags) error {
	out, err := t.rendered(ctx, f)
	if err != nil {
		return err
	}
	switch {
	case f.check != "":
		return t.checkFolder(f.check, out)
	case f.out == "-":
		t.printBundle(out)
		return nil
	}
	return t.writeFolder(f, out)
}

// rendered is a bundle with what tells whose it is.
type rendered struct {
	application, environment string
	tree                     string
	files                    map[string][]byte
}

// rendered reads the input and renders it as the renderer service does, guardrails included.
func (t *tow) rendered(ctx context.Context, f *renderFlags) (*rendered, error) {
	request, err := f.request(t)
	if err != nil {
		return nil, err
	}
	make := render.With
	if request.GetClaimsOnly() {
		make = render.ClaimsWith
	}
	out, err := make(request.GetInput(), t.renderOptions(ctx))
	if err != nil {
		return nil, err
	}
	for _, w := range out.GetWarnings() {
		t.notef("warning: %s", clean(w))
	}
	if err := t.judge(ctx, request, out.GetBundle()); err != nil {
		return nil, err
	}
	in := request.GetInput()
	return &rendered{in.GetApplication(), in.GetEnvironment(), out.GetBundle().GetTree(), out.GetBundle().GetFiles()}, nil
}

// judge asks the guardrails. tow has no CEL, which would make it twice as large; it says so.
func (t *tow) judge(ctx context.Context, request *rendererv1.RenderRequest, bundle *rendererv1.Bundle) error {
	switch n := len(request.GetGuardrails()); {
	case n == 0:
		return nil
	case t.Guardrails == nil:
		t.notef("warning: %s not checked here: `towpathd render`, which takes the same flags, and the server check them", map[bool]string{true: "1 guardrail is", false: fmt.Sprintf("%d guardrails are", n)}[n == 1])
		return nil
	}
	verdicts, err := t.Guardrails(ctx, request, bundle)
	if err != nil {
		return err
	}
	return t.tellVerdicts(verdicts)
}

// tellVerdicts warns of guardrails that warn; those that deny are an error, as they are for a deployment.
func (t *tow) tellVerdicts(verdicts []*rendererv1.Verdict) error {
	var fields []errs.Field
	for _, v := range verdicts {
		where := v.GetGuardrail()
		if o := v.GetObject(); o.GetKind() != "" {
			where += " " + o.GetKind() + "/" + o.GetName()
		}
		if v.GetEnforcement() == rendererv1.Guardrail_ENFORCEMENT_DENY {
			fields = append(fields, errs.Field{Path: where, Problem: v.GetMessage()})
			continue
		}
		t.notef("warning: guardrail %s: %s", clean(where), clean(v.GetMessage()))
	}
	if len(fields) == 0 {
		return nil
	}
	e := errs.New(errs.Precondition, errorsv1.Reason_REASON_GUARDRAIL, "%s of the environment's type %s not hold", plural(len(fields), "guardrail"), map[bool]string{true: "does", false: "do"}[len(fields) == 1])
	e.Fields = fields
	return e.With("tow_hint", "nothing was written; change the workloads, or the guardrails in --type-file")
}
