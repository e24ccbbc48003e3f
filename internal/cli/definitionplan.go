package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func (t *tow) planDefinitionCmd() *cobra.Command {
	var archive bool
	var format string
	cmd := &cobra.Command{
		Use: "plan NAME VERSION", Short: "Show what activating a version would change", Args: exactArgs("the id of a resource definition", "a version"),
		Long: `Renders every environment that the version can reach with it and without it, and lists those that would change with
their next deployment: the blast radius. An environment that could not be rendered any more is listed with its error.
Nothing is changed. The plan hash stands for all of it; an activation with --plan-hash is refused when it has moved.`,
		Example: "  tow definition plan postgres-rds 3\n  tow definition plan postgres-rds 2 --archive",
	}
	cmd.Flags().BoolVar(&archive, "archive", false, "show what archiving it would change instead")
	t.planFormat(cmd, &format)
	cmd.ValidArgsFunction = t.completeVersions
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := versionName(args[0], args[1], false)
		if err != nil {
			return err
		}
		return t.showBlastRadius(ctx, format, name, archive)
	})
	return cmd
}

// planFormat adds the flag --output of plans, which come one environment after the other.
func (t *tow) planFormat(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "table", "output: table, json (one object a line), name")
	complete(cmd, "output", cobra.FixedCompletions([]string{"table", "json", "name"}, cobra.ShellCompDirectiveNoFileComp))
}

// showBlastRadius prints each environment as it comes: of many thousand the first is there at once.
func (t *tow) showBlastRadius(ctx context.Context, format, name string, archive bool) error {
	if format != "table" && format != "json" && format != "name" {
		return usagef("--output %q is none of table, json, name", format)
	}
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	stream, err := c.definitions().PlanDefinition(ctx, &catalogv1.PlanDefinitionRequest{Name: name, Archive: archive})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.impact(r); err != nil {
			return err
		}
	}
}

func (p *printer) impact(r *catalogv1.PlanDefinitionResponse) error {
	var text []byte
	switch {
	case p.format == "json":
		line, err := jsonCompact(r)
		if err != nil {
			return err
		}
		text = append(line, '\n')
	case p.format == "name":
		if r.GetSum() == nil {
			text = []byte(r.GetEnvironment() + "\n")
		}
	case r.GetSum() != nil:
		s := r.GetSum()
		text = fmt.Appendf(nil, "%d looked at, %d would change, %d could not be rendered\nplan hash %s\n", s.GetEnvironments(), s.GetChanged(), s.GetBroken(), s.GetPlanHash())
	default:
		text = []byte(p.impactText(r))
	}
	_, err := p.out.Write(text)
	return err
}

func (p *printer) impactText(r *catalogv1.PlanDefinitionResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.paint(bold, short(r.GetEnvironment())))
	if r.GetError() != "" {
		fmt.Fprintf(&b, "  cannot be rendered: %s\n", clean(r.GetError()))
	}
	for _, res := range r.GetResources() {
		fmt.Fprintf(&b, "  resource %s\n", clean(res))
	}
	for _, f := range r.GetFiles() {
		fmt.Fprintf(&b, "  file %s\n", clean(f))
	}
	return b.String()
}

func (t *tow) activateCmd() *cobra.Command {
	var plan bool
	var hash, format string
	cmd := &cobra.Command{
		Use: "activate NAME VERSION", Short: "Make a version the one that is used", Args: exactArgs("the id of a resource definition", "a version"),
		Long: `Makes a version the one that is used; the one before it is archived. What runs stays as it is: each environment gets the new
version with its next deployment, unless it is pinned. Going back is activating the old version again.`,
		Example: "  tow definition activate postgres-rds 3 --plan\n  tow definition activate postgres-rds 3 --plan-hash 5f3a…",
	}
	cmd.Flags().BoolVar(&plan, "plan", false, "show what it would change and do nothing")
	cmd.Flags().StringVar(&hash, "plan-hash", "", "only if the blast radius is still that of this plan")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = t.completeVersions
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := versionName(args[0], args[1], false)
		if err != nil {
			return err
		}
		if plan {
			return t.showBlastRadius(ctx, format, name, false)
		}
		return t.moved(format, "activated", func(c *client) (*catalogv1.DefinitionVersion, error) {
			return c.definitions().ActivateDefinition(ctx, &catalogv1.ActivateDefinitionRequest{Name: name, PlanHash: hash})
		})
	})
	return cmd
}

func (t *tow) archiveCmd() *cobra.Command {
	var plan bool
	var format string
	cmd := &cobra.Command{
		Use: "archive NAME VERSION", Short: "End the use of a version", Args: exactArgs("the id of a resource definition", "a version"),
		Long: `Ends the use of a version, except by environments that are pinned to it. What runs stays as it is: each environment does
without it with its next deployment.`,
		Example: "  tow definition archive postgres-rds 2 --plan\n  tow definition archive postgres-rds 2",
	}
	cmd.Flags().BoolVar(&plan, "plan", false, "show what it would change and do nothing")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = t.completeVersions
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := versionName(args[0], args[1], false)
		if err != nil {
			return err
		}
		if plan {
			return t.showBlastRadius(ctx, format, name, true)
		}
		return t.moved(format, "archived", func(c *client) (*catalogv1.DefinitionVersion, error) {
			return c.definitions().ArchiveDefinition(ctx, &catalogv1.ArchiveDefinitionRequest{Name: name})
		})
	})
	return cmd
}

// moved runs a change of a version's state and tells what it became.
func (t *tow) moved(format, verb string, change func(*client) (*catalogv1.DefinitionVersion, error)) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	v, err := change(c)
	if err != nil {
		return err
	}
	if done, err := p.structured(v, v.GetName()); done {
		return err
	}
	parent, number, _ := strings.Cut(v.GetName(), "/versions/")
	t.printf("%s version %s of %s\n", verb, number, last(parent))
	return nil
}

var candidateColumns = []column[*rendererv1.MatchCandidate]{
	{"DEFINITION", false, func(_ *printer, m *rendererv1.MatchCandidate) string {
		return strings.TrimPrefix(m.GetDefinition(), resourceDefinitions+"/")
	}},
	{"ANSWERS", false, func(_ *printer, m *rendererv1.MatchCandidate) string { return yesNo(m.GetWon()) }},
	{"SPECIFICITY", false, func(_ *printer, m *rendererv1.MatchCandidate) string {
		if m.GetSpecificity() < 0 {
			return "-"
		}
		return strconv.Itoa(int(m.GetSpecificity()))
	}},
	{"WHY", false, func(_ *printer, m *rendererv1.MatchCandidate) string { return m.GetReason() }},
}

func (t *tow) explainCmd() *cobra.Command {
	var env, class, id, format string
	cmd := &cobra.Command{
		Use: "explain -e APP/ENV TYPE", Short: "Show which definition answers, and why", Args: exactArgs("a resource type such as postgres"),
		Long: `Shows which resource definition answers a request in an environment's next deployment, and why each candidate won or lost.
Criteria weigh: res_id 8, env 4, app 2, env_type 1; the largest sum wins, and a definition of the organisation comes before
one that is part of Towpath.`,
		Example: "  tow definition explain -e shop/dev postgres\n  tow definition explain -e shop/dev postgres --class large --id api.db",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().StringVar(&class, "class", "", "the class that is asked for (default \"default\")")
	cmd.Flags().StringVar(&id, "id", "", "the resource's id: WORKLOAD.NAME of a workload's own")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		r, err := c.definitions().ExplainMatch(ctx, &catalogv1.ExplainMatchRequest{Environment: name, Type: args[0], Class: class, ResId: id})
		if err != nil {
			return err
		}
		var names []string
		for _, m := range r.GetCandidates() {
			names = append(names, m.GetDefinition())
		}
		if done, err := p.structured(proto.Message(r), names...); done {
			return err
		}
		return printTable(p, r.GetCandidates(), candidateColumns)
	})
	return cmd
}
