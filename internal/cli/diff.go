package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	yaml "go.yaml.in/yaml/v3"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func (t *tow) diffCmd() *cobra.Command {
	var env string
	var full bool
	var objects manifestsFlags
	cmd := &cobra.Command{
		Use: "diff -e APP/ENV [FROM [TO]] | FROM-ENV TO-ENV", Short: "Show how two deployments or environments differ",
		Args: rangeArgs(0, "the number of a deployment, or an environment", "the number of another deployment, or another environment"),
		Long: `Shows how what two deployments were asked to run differs: workloads, shared resources, variables and what was set for one
environment alone, in a line for each difference. FROM is the deployment that runs and TO the newest one, unless they are given.
With two environments it compares what is meant to run in them. --full shows the documents themselves, and --manifests the Kubernetes
objects that were made of them, by object and field.

` + "`tow plan`" + ` shows what a change would do to manifests, and ` + "`tow drift list`" + ` that between Git and the cluster.`,
		Example: `  tow diff -e shop/dev
  tow diff -e shop/dev 3 7
  tow diff -e shop/dev --manifests 3 7
  tow diff shop/dev shop/staging --full`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().BoolVar(&full, "full", false, "show the difference of the documents, in YAML")
	objects.bind(t, cmd)
	cmd.MarkFlagsMutuallyExclusive("full", "manifests")
	cmd.ValidArgsFunction = t.completeDiff
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		names, err := diffEnds(env, args)
		if err != nil {
			return err
		}
		if objects.manifests {
			return t.diffManifests(ctx, objects, names)
		}
		if objects.format != "table" {
			return usagef("-o is about --manifests; what deployments were asked to run is told as text")
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		var sides [2]intentSide
		for i, name := range names {
			if sides[i], err = readSide(ctx, c, name); err != nil {
				return err
			}
		}
		if full {
			return t.printDiff(sides[0], sides[1])
		}
		return t.printDifferences(ctx, c, sides[0], sides[1])
	})
	return cmd
}

// diffEnds gives the names of what is compared: two environments, or two deployments of the one in --env.
func diffEnds(env string, args []string) ([2]string, error) {
	var out [2]string
	if env == "" && len(args) > 0 && strings.Contains(args[0], "/") {
		if len(args) < 2 {
			return out, usagef("which environment is %s to be compared with? give two, such as shop/dev shop/staging", args[0])
		}
		names, err := eachName(args, envName)
		copy(out[:], names)
		return out, err
	}
	name, err := envFlag(env)
	if err != nil {
		return out, err
	}
	ends := []string{"active", "latest"}
	copy(ends, args)
	for i, arg := range ends {
		if out[i], err = deploymentName(name, arg); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (t *tow) completeDiff(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if f := cmd.Flags().Lookup("env"); f != nil && f.Value.String() != "" {
		return t.completeDeployments(cmd, args, prefix)
	}
	return t.completeEnvs(cmd, args, prefix)
}

// intentSide is the intent of one deployment or environment, and as documents by name, each in YAML with sorted keys.
type intentSide struct {
	name   string
	intent *catalogv1.Intent
	docs   map[string]string
}

// readSide reads a deployment or environment.
func readSide(ctx context.Context, c *client, name string) (intentSide, error) {
	s := intentSide{name: name, docs: map[string]string{}}
	if strings.Contains(name, "/"+deployments+"/") {
		d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: name})
		if err != nil {
			return s, err
		}
		s.name, s.intent = d.GetName(), d.GetIntent()
	} else {
		e, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
		if err != nil {
			return s, err
		}
		s.intent = e.GetIntent()
	}
	return s, s.read(ctx, c)
}

// read makes the documents.
func (s *intentSide) read(ctx context.Context, c *client) error {
	if s.intent.GetSet() == "" {
		return missing("%s has nothing to compare yet", short(s.name))
	}
	set, err := c.GetSet(ctx, &catalogv1.GetSetRequest{Name: s.intent.GetSet()})
	if err != nil {
		return err
	}
	put := func(file string, v any) {
		var b strings.Builder
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if failed := e.Encode(v); failed != nil && err == nil {
			err = fmt.Errorf("print %s: %w", file, failed)
		}
		s.docs[file] = b.String()
	}
	for w, doc := range set.GetWorkloads() {
		put("workloads/"+w, doc.AsMap())
	}
	for r, doc := range set.GetResources() {
		put("resources/"+r, doc.AsMap())
	}
	if len(s.intent.GetVariables()) > 0 {
		put("variables", s.intent.GetVariables())
	}
	if ops := s.intent.GetOverlay(); len(ops) > 0 {
		put("overlay", overlayLines(ops))
	}
	return err
}

// printDifferences tells each difference in a line.
func (t *tow) printDifferences(ctx context.Context, c *client, a, b intentSide) error {
	p, err := t.printer("table")
	if err != nil {
		return err
	}
	t.notef("%s -> %s", short(a.name), short(b.name))
	var lines []string
	if a.intent.GetSet() != b.intent.GetSet() {
		diff, err := c.draftService().DiffSets(ctx, &catalogv1.DiffSetsRequest{From: a.intent.GetSet(), To: b.intent.GetSet()})
		if err != nil {
			return err
		}
		lines = append(lines, diff.GetSummary()...)
	}
	lines = append(lines, mapLines("", a.intent.GetVariables(), b.intent.GetVariables())...)
	lines = append(lines, mapLines("", secretTexts(a.intent.GetSecretVariables()), secretTexts(b.intent.GetSecretVariables()))...)
	lines = append(lines, mapLines("of the application: ", a.intent.GetApplicationVariables(), b.intent.GetApplicationVariables())...)
	lines = append(lines, mapLines("of the application: ", secretTexts(a.intent.GetApplicationSecretVariables()), secretTexts(b.intent.GetApplicationSecretVariables()))...)
	lines = append(lines, overlayDifferences(a.intent.GetOverlay(), b.intent.GetOverlay())...)
	for _, line := range lines {
		t.printf("%s\n", p.differenceLine(clean(line)))
	}
	if len(lines) == 0 {
		t.notef("no difference")
	}
	return nil
}

// differenceLine colours a line by what it tells first.
func (p *printer) differenceLine(line string) string {
	switch {
	case strings.HasPrefix(line, "added "):
		return p.paint(green, line)
	case strings.HasPrefix(line, "removed "):
		return p.paint(red, line)
	}
	return line
}

func secretTexts(in map[string]*rendererv1.SecretReference) map[string]string {
	out := map[string]string{}
	for key, ref := range in {
		out[key] = secretText(ref)
	}
	return out
}

func mapLines(prefix string, a, b map[string]string) []string {
	var out []string
	keys := maps.Clone(a)
	if keys == nil {
		keys = map[string]string{}
	}
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		old, inA := a[key]
		now, inB := b[key]
		switch {
		case !inA:
			out = append(out, fmt.Sprintf("%s%s set to %s", prefix, key, quoteText(now)))
		case !inB:
			out = append(out, fmt.Sprintf("%s%s unset (was %s)", prefix, key, quoteText(old)))
		case old != now:
			out = append(out, fmt.Sprintf("%s%s %s -> %s", prefix, key, quoteText(old), quoteText(now)))
		}
	}
	return out
}

// overlayDifferences tells what is set for one of two environments alone.
func overlayDifferences(a, b []*rendererv1.Operation) []string {
	before, after := overlayLines(a), overlayLines(b)
	var out []string
	for _, line := range before {
		if !slices.Contains(after, line) {
			out = append(out, "no longer for the environment alone: "+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			out = append(out, "for the environment alone: "+line)
		}
	}
	return out
}

func (t *tow) printDiff(a, b intentSide) error {
	p, err := t.printer("table")
	if err != nil {
		return err
	}
	t.notef("%s -> %s", short(a.name), short(b.name))
	files := maps.Clone(a.docs)
	maps.Copy(files, b.docs)
	same := true
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if a.docs[file] == b.docs[file] {
			continue
		}
		same = false
		from, to := last(a.name)+"/"+file, last(b.name)+"/"+file
		if _, ok := a.docs[file]; !ok {
			from = "/dev/null"
		}
		if _, ok := b.docs[file]; !ok {
			to = "/dev/null"
		}
		if _, err := io.WriteString(t.Stdout, p.diff(udiff.Unified(from, to, a.docs[file], b.docs[file]))); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if same {
		t.notef("no difference")
	}
	return nil
}
