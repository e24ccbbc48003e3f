package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

type syncFlags struct {
	env, format        string
	plan, confirmPrune bool
	workloads, objects []string
}

func (t *tow) syncCmd() *cobra.Command {
	var f syncFlags
	cmd := &cobra.Command{
		Use: "sync -e APP/ENV", Short: "Apply what Git says now", Args: noArgs,
		Long: `Applies the environment's folder to its cluster, also when nothing seems to have changed, and shows what was done with each object
and the status after it. --plan asks the cluster what would be done and does nothing. With --workload or --object only these are applied;
nothing is removed then and no hook is run. A sync that would remove more than the policy's share does the rest and waits:
--confirm-prune removes it.`,
		Example: `  tow sync -e shop/dev
  tow sync -e shop/dev --plan
  tow sync -e shop/dev --workload api
  tow sync -e shop/dev --object ConfigMap/web-config --object apps/v1/Deployment/web
  tow sync -e shop/dev --confirm-prune`,
	}
	t.envFlagVar(cmd, &f.env, "the environment, such as shop/dev")
	t.outputFlag(cmd, &f.format)
	cmd.Flags().BoolVar(&f.plan, "plan", false, "say what would be done with each object, and do nothing")
	cmd.Flags().StringSliceVar(&f.workloads, "workload", nil, "only the objects of this workload; repeat it for several")
	cmd.Flags().StringSliceVar(&f.objects, "object", nil, "only this object, KIND/NAME, with its apiVersion before it or @NAMESPACE behind it where needed; repeat it for several")
	cmd.Flags().BoolVar(&f.confirmPrune, "confirm-prune", false, "remove also what is held back")
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error { return t.sync(ctx, &f) })
	return cmd
}

func (t *tow) sync(ctx context.Context, f *syncFlags) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	name, err := envFlag(f.env)
	if err != nil {
		return err
	}
	req := &driftv1.SyncEnvironmentRequest{Name: name, ValidateOnly: f.plan, Workloads: f.workloads, ConfirmPrune: f.confirmPrune}
	for _, o := range f.objects {
		ref, err := objectRef(o)
		if err != nil {
			return err
		}
		req.Objects = append(req.Objects, ref)
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	r, err := c.drift.SyncEnvironment(ctx, req)
	if err != nil {
		return err
	}
	if f.plan {
		return t.printSyncPlan(p, r, name)
	}
	s := r.GetStatus()
	if done, err := p.structured(s, name); done {
		return err
	}
	if err := p.fields("Environment", short(name), "Sync", syncName(s.GetSync()), "Health", healthName(s.GetHealth()),
		"Deployment", "#"+itoa(s.GetGeneration()), "Commit", s.GetCommit(), "Message", s.GetMessage(), "Held back", heldBackText(s)); err != nil {
		return err
	}
	if len(r.GetChanges()) > 0 {
		t.printf("\n")
		if err := printTable(p, r.GetChanges(), changeColumns); err != nil {
			return err
		}
	}
	t.printf("\n")
	return printTable(p, s.GetObjects(), objectColumns)
}

func (t *tow) printSyncPlan(p *printer, r *driftv1.SyncEnvironmentResponse, name string) error {
	if done, err := p.structured(r, name); done {
		return err
	}
	if len(r.GetChanges()) == 0 {
		t.notef("a sync would change nothing")
		return nil
	}
	return printTable(p, r.GetChanges(), changeColumns)
}

var changeColumns = []column[*driftv1.SyncChange]{
	{"ACTION", false, func(_ *printer, c *driftv1.SyncChange) string {
		return strings.ToLower(strings.TrimPrefix(c.GetAction().String(), "ACTION_"))
	}},
	{"KIND", false, func(_ *printer, c *driftv1.SyncChange) string { return c.GetObject().GetKind() }},
	{"NAMESPACE", true, func(_ *printer, c *driftv1.SyncChange) string { return orDash(c.GetObject().GetNamespace()) }},
	{"NAME", false, func(_ *printer, c *driftv1.SyncChange) string { return c.GetObject().GetName() }},
	{"FIELDS", false, func(p *printer, c *driftv1.SyncChange) string {
		fields := strings.Join(c.GetFields(), ", ")
		if p.format != "wide" {
			fields = clip(fields, 80)
		}
		return fields
	}},
	{"MESSAGE", false, func(_ *printer, c *driftv1.SyncChange) string { return c.GetMessage() }},
}

// objectRef reads KIND/NAME, VERSION/KIND/NAME or GROUP/VERSION/KIND/NAME, with @NAMESPACE behind it where it is another one.
func objectRef(s string) (*driftv1.ObjectRef, error) {
	path, ns, _ := strings.Cut(s, "@")
	parts := strings.Split(path, "/")
	n := len(parts)
	if n < 2 || n > 4 || parts[n-1] == "" || parts[n-2] == "" {
		return nil, usagef("--object %q names no object; give KIND/NAME such as ConfigMap/web-config, or apps/v1/Deployment/web", s)
	}
	return &driftv1.ObjectRef{ApiVersion: strings.Join(parts[:n-2], "/"), Kind: parts[n-2], Name: parts[n-1], Namespace: ns}, nil
}

// heldBackText names what a sync would remove and did not.
func heldBackText(s *driftv1.EnvironmentStatus) string {
	var out []string
	for _, o := range s.GetPruneHeld() {
		out = append(out, o.GetKind()+"/"+o.GetName())
	}
	if len(out) == 0 {
		return ""
	}
	app, env := splitEnv(strings.TrimSuffix(s.GetName(), "/status"))
	return strings.Join(out, ", ") + " (tow sync -e " + app + "/" + env + " --confirm-prune removes it)"
}
