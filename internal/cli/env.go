package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type environment = *catalogv1.Environment

func (t *tow) environments() noun[environment] {
	return noun[environment]{
		use: "env", title: "environment", plural: "environments", arg: "APP/ENV", id: "shop/dev",
		what: "It holds nothing until its first deployment. The type says on which cluster it runs\n" +
			"and how it is synced; the namespace is APP-ENV unless another one is given, and stays.",
		createFlags: " --type development", updateFlags: " --display-name \"Playground\" --label team=checkout",
		columns: []column[environment]{
			{"NAME", false, func(_ *printer, m environment) string { return short(m.GetName()) }},
			{"TITLE", true, func(_ *printer, m environment) string { return m.GetDisplayName() }},
			{"TYPE", false, func(_ *printer, m environment) string { return short(m.GetType()) }},
			{"NAMESPACE", true, func(_ *printer, m environment) string { return m.GetNamespace() }},
			{"STATE", false, func(_ *printer, m environment) string { return envState(m.GetState()) }},
			{"VERSION", false, func(_ *printer, m environment) string { return m.GetRunning().GetVersion() }},
			{"BY", false, func(_ *printer, m environment) string { return last(m.GetRunning().GetActor()) }},
			{"SINCE", false, func(p *printer, m environment) string { return p.when(m.GetRunning().GetSince()) }},
			{"EXPIRES", false, func(p *printer, m environment) string { return p.when(m.GetExpireTime()) }},
			{"LOCK", false, func(_ *printer, m environment) string { return heldBy(m) }},
			{"FOLDER", true, func(_ *printer, m environment) string { return folderText(m) }},
			{"DEPLOYMENT", true, func(_ *printer, m environment) string { return deploymentNumber(m.GetLatestDeployment()) }},
			{"MESSAGE", true, func(_ *printer, m environment) string { return m.GetRunning().GetMessage() }},
			{"FROM", true, func(_ *printer, m environment) string { return originText(m.GetOrigin()) }},
			{"LABELS", true, func(_ *printer, m environment) string { return labelText(m.GetLabels()) }},
			{"CREATED", true, func(p *printer, m environment) string { return p.when(m.GetCreateTime()) }},
			{"CREATED BY", true, func(_ *printer, m environment) string { return m.GetCreateActor() }},
		},
		fresh: func() environment { return &catalogv1.Environment{} },
		name:  envName,
		fields: func(fs *pflag.FlagSet) []field[environment] {
			return []field[environment]{
				reference(fs, "type", "type", "the environment type, such as development", typeName, func(m environment, v string) { m.Type = v }),
				text(fs, "display-name", "display_name", "name for people", func(m environment, v string) { m.DisplayName = v }),
				labels(fs, "label", "labels", "labels", environment.GetLabels, func(m environment, v map[string]string) { m.Labels = v }),
			}
		},
		createFields: func(fs *pflag.FlagSet) []field[environment] {
			return []field[environment]{
				text(fs, "namespace", "namespace", "namespace in the cluster (default APP-ENV)", func(m environment, v string) { m.Namespace = v }),
			}
		},
		get: func(ctx context.Context, c *client, name string) (environment, error) {
			return c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m environment, mask *fieldmaskpb.FieldMask) (environment, error) {
			return c.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{Environment: m, UpdateMask: mask})
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]environment, string, error) {
			return listEnvironmentsPage(ctx, c, applications+"/-", size, token)
		},
		listOf: func(items []environment) proto.Message {
			return &catalogv1.ListEnvironmentsResponse{Environments: items}
		},
	}
}

func listEnvironmentsPage(ctx context.Context, c *client, app string, size int32, token string) ([]environment, string, error) {
	l, err := c.ListEnvironments(ctx, &catalogv1.ListEnvironmentsRequest{Parent: app, PageSize: size, PageToken: token})
	return l.GetEnvironments(), l.GetNextPageToken(), err
}

// listEnvironments gives all environments of an application, or of all with applications/-.
func (t *tow) listEnvironments(ctx context.Context, app string) ([]environment, error) {
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	return pages(ctx, func(ctx context.Context, size int32, token string) ([]environment, string, error) {
		return listEnvironmentsPage(ctx, c, app, size, token)
	})
}

func (t *tow) envCmd() *cobra.Command {
	n := t.environments()
	create, update := t.createEnvCmd(), n.updateCmd(t)
	completeFlag("type", t.environmentTypes().completer(t), create, update)
	return n.groupOf(t, "An environment is one running copy of an application: a folder in a repository and a namespace in a cluster.",
		create, n.getCmd(t), t.listEnvsCmd(), update, t.extendEnvCmd(), t.keepEnvCmd(), t.moveEnvCmd(), t.deleteEnvCmd(), t.describeEnvCmd(), t.pinCmd(), t.unpinCmd())
}

// originText tells in short where an environment came from.
func originText(o *catalogv1.Origin) string {
	if o.GetKind() == catalogv1.Origin_KIND_CLONE {
		return short(o.GetSource())
	}
	return o.GetSource()
}

// watchEnvironments follows the environments of an application, or of all with applications/-.
func watchEnvironments(app string) follower[environment] {
	return func(ctx context.Context, c *client, token string) (func() (listChange[environment], error), error) {
		s, err := c.WatchEnvironments(ctx, &catalogv1.WatchEnvironmentsRequest{Parent: app, ResumeToken: token})
		return receiver(s, err, (*catalogv1.WatchEnvironmentsResponse).GetEnvironment)
	}
}

func (t *tow) listEnvsCmd() *cobra.Command {
	return listOfApp(t, t.environments(), &cobra.Command{
		Short: "List environments",
		Long: "Lists the environments of one application, or of all: what runs in each, who brought it and since when, when it expires,\n" +
			"and who has locked it. `tow status` lists how they are.",
		Example: "  tow env list\n  tow env list shop -o json\n  tow env list --watch",
	}, listEnvironmentsPage, watchEnvironments)
}

func (t *tow) deleteEnvCmd() *cobra.Command {
	var yes bool
	var s shipment
	cmd := &cobra.Command{
		Use: "delete APP/ENV", Short: "Take an environment out of Git and its cluster", Args: exactArgs("an environment such as shop/dev"),
		Long: `Removes the environment's folder from Git by a commit, and then its objects from the cluster. Its history stays and can be
read with ` + "`tow history`" + `. Volume claims are kept with their data, unless their definition says otherwise, and named.

In a terminal it shows what goes, asks, and holds to what it has shown; without one it needs --yes. --wait waits for
finalizers too, and tells what they hold.`,
		Example: "  tow env delete shop/feature-x --message \"merged\" --wait --yes\n  tow env delete shop/feature-x --plan",
	}
	yesFlag(cmd, &yes)
	s.bindMessage(cmd)
	s.bindWait(t, cmd)
	s.bindPlan(cmd)
	cmd.ValidArgsFunction = completeOnce(t.environments().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := envName(args[0])
		if err != nil {
			return err
		}
		return t.deleteEnv(ctx, &s, name, yes)
	})
	return cmd
}

func (t *tow) deleteEnv(ctx context.Context, s *shipment, name string, yes bool) error {
	return t.shipPlanned(ctx, s, plannedShipment{
		plan: &catalogv1.PlanDeploymentRequest{Parent: name, Removal: true},
		what: "remove the environment " + short(name) + " from Git and from its cluster",
		show: func(p *printer, plan *catalogv1.Plan) error { t.tellWhatGoes(p, plan); return nil },
		run: func(c *client) (*catalogv1.Deployment, error) {
			return c.DeleteEnvironment(ctx, &catalogv1.DeleteEnvironmentRequest{Name: name, RequestId: s.id(), Message: s.message, PlanHash: s.planHash})
		},
	}, yes)
}

// maxGoing is how much of what a removal takes away is named before a person is asked.
const maxGoing = 20

// tellWhatGoes names what a removal takes away and what it leaves.
func (t *tow) tellWhatGoes(p *printer, plan *catalogv1.Plan) {
	var going []string
	for _, o := range plan.GetObjects() {
		going = append(going, o.GetObject().GetKind()+"/"+o.GetObject().GetName())
	}
	if len(going) == 0 {
		for _, f := range plan.GetFiles() {
			going = append(going, f.GetPath())
		}
	}
	for i, g := range going {
		if i == maxGoing {
			t.notef("  and %d more", len(going)-maxGoing)
			break
		}
		t.notef("  %s", clean(g))
	}
	for _, w := range plan.GetWarnings() {
		t.notef("%s %s", p.paint(yellow, "warning:"), clean(w))
	}
}
