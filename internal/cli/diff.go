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
)

func (t *tow) diffCmd() *cobra.Command {
	var env string
	cmd := &cobra.Command{
		Use: "diff -e APP/ENV [FROM [TO]]", Short: "Show how two deployments differ",
		Args: rangeArgs(0, "the number of a deployment", "the number of another deployment"),
		Long: `Shows how what two deployments were asked to run differs: workloads, shared resources, variables and what was set for this
environment alone. FROM is the deployment that runs and TO the newest one, unless they are given. ` + "`tow plan`" + ` shows the
difference in manifests, and ` + "`tow drift list`" + ` that between Git and the cluster.`,
		Example: `  tow diff -e shop/dev
  tow diff -e shop/dev 3
  tow diff -e shop/dev 3 7`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.ValidArgsFunction = t.completeDeployments
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		ends := []string{"active", "latest"}
		copy(ends, args)
		c, err := t.api()
		if err != nil {
			return err
		}
		var sides [2]intentSide
		for i, arg := range ends {
			if sides[i], err = readSide(ctx, c, name, arg); err != nil {
				return err
			}
		}
		return t.printDiff(sides[0], sides[1])
	})
	return cmd
}

// intentSide is one deployment's intent as documents by name, each in YAML with sorted keys.
type intentSide struct {
	name string
	docs map[string]string
}

func readSide(ctx context.Context, c *client, env, arg string) (intentSide, error) {
	var s intentSide
	name, err := deploymentName(env, arg)
	if err != nil {
		return s, err
	}
	d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: name})
	if err != nil {
		return s, err
	}
	set, err := c.GetSet(ctx, &catalogv1.GetSetRequest{Name: d.GetIntent().GetSet()})
	if err != nil {
		return s, err
	}
	s = intentSide{name: d.GetName(), docs: map[string]string{}}
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
	if len(d.GetIntent().GetVariables()) > 0 {
		put("variables", d.GetIntent().GetVariables())
	}
	if ops := d.GetIntent().GetOverlay(); len(ops) > 0 {
		put("overlay", overlayLines(ops))
	}
	return s, err
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
