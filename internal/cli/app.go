package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type application = *catalogv1.Application

func (t *tow) applications() noun[application] {
	return noun[application]{
		use: "app", title: "application", plural: "applications", arg: "NAME", id: "shop",
		what:        "It belongs to a team and has environments; the repository is where their manifests are written to.",
		createFlags: " --owner teams/shop", updateFlags: " --owner teams/checkout --label tier=web",
		columns: []column[application]{
			{"NAME", false, func(_ *printer, m application) string { return short(m.GetName()) }},
			{"TITLE", true, func(_ *printer, m application) string { return m.GetDisplayName() }},
			{"OWNER", false, func(_ *printer, m application) string { return m.GetOwner() }},
			{"REPOSITORY", false, func(_ *printer, m application) string { return short(m.GetRepository()) }},
			{"LABELS", true, func(_ *printer, m application) string { return labelText(m.GetLabels()) }},
			{"CREATED", false, func(p *printer, m application) string { return p.when(m.GetCreateTime()) }},
			{"BY", true, func(_ *printer, m application) string { return m.GetCreateActor() }},
		},
		fresh: func() application { return &catalogv1.Application{} },
		name:  appName,
		fields: func(fs *pflag.FlagSet) []field[application] {
			return []field[application]{
				text(fs, "display-name", "display_name", "name for people", func(m application, v string) { m.DisplayName = v }),
				text(fs, "owner", "owner", "who answers for it, such as teams/shop", func(m application, v string) { m.Owner = v }),
				reference(fs, "repository", "repository", "the repository that its environments are written to", repoName,
					func(m application, v string) { m.Repository = v }),
				labels(fs, "label", "labels", "labels", application.GetLabels, func(m application, v map[string]string) { m.Labels = v }),
			}
		},
		create: func(ctx context.Context, c *client, name string, m application) (application, error) {
			return c.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: last(name), Application: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (application, error) {
			return c.GetApplication(ctx, &catalogv1.GetApplicationRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m application, mask *fieldmaskpb.FieldMask) (application, error) {
			return c.UpdateApplication(ctx, &catalogv1.UpdateApplicationRequest{Application: m, UpdateMask: mask})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.DeleteApplication(ctx, &catalogv1.DeleteApplicationRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]application, string, error) {
			l, err := c.ListApplications(ctx, &catalogv1.ListApplicationsRequest{PageSize: size, PageToken: token})
			return l.GetApplications(), l.GetNextPageToken(), err
		},
		watch: func(ctx context.Context, c *client, token string) (func() (listChange[application], error), error) {
			s, err := c.WatchApplications(ctx, &catalogv1.WatchApplicationsRequest{ResumeToken: token})
			return receiver(s, err, (*catalogv1.WatchApplicationsResponse).GetApplication)
		},
		listOf: func(items []application) proto.Message {
			return &catalogv1.ListApplicationsResponse{Applications: items}
		},
	}
}

func (t *tow) appCmd() *cobra.Command {
	g := t.applications().group(t, "An application is what a team deploys. It has environments, each a running copy of it.", t.describeAppCmd())
	completeFlag("repository", t.repositories().completer(t), g.Commands()...)
	return g
}

func (t *tow) describeAppCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Show an application and its environments", Args: exactArgs("the id of an application"),
		Long:    "Shows what is known of an application, and for each of its environments what runs, since when, and how it is.",
		Example: "  tow app describe shop",
	}
	cmd.ValidArgsFunction = t.completeApps
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer("table")
		if err != nil {
			return err
		}
		m, err := t.applications().fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		envs, err := t.listEnvironments(ctx, m.GetName())
		if err != nil {
			return err
		}
		err = p.fields("Application", short(m.GetName()), "Title", m.GetDisplayName(), "Owner", m.GetOwner(), "Repository", short(m.GetRepository()),
			"Labels", labelText(m.GetLabels()), "Created", p.when(m.GetCreateTime())+" by "+m.GetCreateActor())
		if err != nil {
			return err
		}
		t.printf("\n")
		if len(envs) == 0 {
			t.printf("No environments yet; make one: tow env create %s/dev --type development\n", short(m.GetName()))
			return nil
		}
		return printTable(p, envs, statusColumns)
	})
	return cmd
}
