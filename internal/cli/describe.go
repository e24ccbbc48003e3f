package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func (t *tow) describeEnvCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "describe APP/ENV", Short: "Show an environment and what it is meant to run", Args: exactArgs("an environment such as shop/dev"),
		Long: `Shows what is known of an environment: its workloads with their images, its variables, what was set for this environment
alone, and its newest deployments. ` + "`tow status`" + ` shows how it is.`,
		Example: "  tow env describe shop/dev",
	}
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer("table")
		if err != nil {
			return err
		}
		name, err := envName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		m, set, err := intentOf(ctx, c, name)
		if err != nil {
			return err
		}
		history, err := c.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: name, PageSize: 5})
		if err != nil {
			return err
		}
		if err := p.environment(m, set); err != nil || len(history.GetDeployments()) == 0 {
			return err
		}
		t.printf("\n")
		return printTable(p, history.GetDeployments(), historyColumns)
	})
	return cmd
}

func (p *printer) environment(m environment, set *catalogv1.Set) error {
	return p.fields(
		"Environment", short(m.GetName()), "Title", m.GetDisplayName(), "Type", short(m.GetType()), "Namespace", m.GetNamespace(),
		"State", envState(m.GetState()), "Stands in", placeText(m.GetPlace()), "Layout", layoutText(m), "Labels", labelText(m.GetLabels()),
		"Created", p.when(m.GetCreateTime())+" by "+m.GetCreateActor(), "Held", heldText(m),
		"Workloads", orNone(workloadLines(set)), "Variables", strings.Join(variableLines(m.GetIntent().GetVariables()), "\n"),
		"Overlay", strings.Join(overlayLines(m.GetIntent().GetOverlay()), "\n"),
		"Git", foreignLines(m))
}

func orNone(lines []string) string {
	if len(lines) == 0 {
		return "none yet"
	}
	return strings.Join(lines, "\n")
}

// workloadLines gives each container with its image.
func workloadLines(set *catalogv1.Set) []string {
	var out []string
	for _, w := range slices.Sorted(maps.Keys(set.GetWorkloads())) {
		containers := set.GetWorkloads()[w].GetFields()["containers"].GetStructValue().GetFields()
		for _, c := range slices.Sorted(maps.Keys(containers)) {
			out = append(out, w+"/"+c+" "+containers[c].GetStructValue().GetFields()["image"].GetStringValue())
		}
	}
	return out
}

func variableLines(variables map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(variables)) {
		out = append(out, k+"="+variables[k])
	}
	return out
}

func overlayLines(ops []*rendererv1.Operation) []string {
	var out []string
	for _, op := range ops {
		if op.GetAction() == rendererv1.Operation_ACTION_REMOVE {
			out = append(out, "remove "+op.GetPath())
		} else {
			out = append(out, "set "+op.GetPath()+" = "+valueText(op.GetValue()))
		}
	}
	return out
}
