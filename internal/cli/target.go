package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type target = *catalogv1.Target

func (t *tow) targets() noun[target] {
	return noun[target]{
		use: "target", title: "target", plural: "targets", arg: "NAME", id: "production-eu",
		what:        "It is a cluster that environments run on. The kubeconfig is a path on the machine\nthat the drift service runs on; tow never reads it. Credentials are a name that only\nthe drift service can resolve.",
		createFlags: " --kubeconfig /etc/towpath/production-eu.kubeconfig", updateFlags: " --kube-context admin@production-eu",
		columns: []column[target]{
			{"NAME", false, func(_ *printer, m target) string { return short(m.GetName()) }},
			{"TITLE", false, func(_ *printer, m target) string { return m.GetDisplayName() }},
			{"ENGINE", false, func(_ *printer, m target) string { return engineName(m.GetEngine()) }},
			{"SETTINGS", true, func(_ *printer, m target) string { return engineSummary(m) }},
			{"ACCESS", false, func(_ *printer, m target) string { return accessText(m) }},
			{"CONTEXT", true, func(_ *printer, m target) string { return m.GetContext() }},
			{"CREATED", false, func(p *printer, m target) string { return p.when(m.GetCreateTime()) }},
		},
		fresh: func() target { return &catalogv1.Target{} },
		name:  targetName,
		fields: func(fs *pflag.FlagSet) []field[target] {
			limit := fs.Int32("request-limit", 0, "requests a second that each drift process makes there at the most; 0 for its default, 100")
			return append([]field[target]{
				text(fs, "display-name", "display_name", "name for people", func(m target, v string) { m.DisplayName = v }),
				text(fs, "kubeconfig", "kubeconfig", "path of a kubeconfig on the server's machine; empty for the server's own cluster",
					func(m target, v string) { m.Kubeconfig = v }),
				text(fs, "server", "server", "URL of the API server, for access by --credentials, such as https://10.0.0.1:6443", func(m target, v string) { m.Server = v }),
				text(fs, "credentials", "credentials", "name of a folder or Secret among the drift service's cluster credentials, with token and ca.crt, or with kubeconfig",
					func(m target, v string) { m.Credentials = v }),
				{"request-limit", "request_limit", func(m target) error {
					if *limit < 0 || *limit > maxRequestLimit {
						return usagef("--request-limit %d is out of range; use 1 to %d requests a second, or 0 for the default", *limit, maxRequestLimit)
					}
					m.RequestLimit = *limit
					return nil
				}},
				text(fs, "kube-context", "context", "context of the kubeconfig; empty for its current one", func(m target, v string) { m.Context = v }),
			}, engineFields(fs)...)
		},
		create: func(ctx context.Context, c *client, name string, m target) (target, error) {
			return c.CreateTarget(ctx, &catalogv1.CreateTargetRequest{TargetId: last(name), Target: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (target, error) {
			return c.GetTarget(ctx, &catalogv1.GetTargetRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m target, mask *fieldmaskpb.FieldMask) (target, error) {
			return c.UpdateTarget(ctx, &catalogv1.UpdateTargetRequest{Target: m, UpdateMask: mask})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.DeleteTarget(ctx, &catalogv1.DeleteTargetRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]target, string, error) {
			l, err := c.ListTargets(ctx, &catalogv1.ListTargetsRequest{PageSize: size, PageToken: token})
			return l.GetTargets(), l.GetNextPageToken(), err
		},
		watch: func(ctx context.Context, c *client, token string) (func() (listChange[target], error), error) {
			s, err := c.WatchTargets(ctx, &catalogv1.WatchTargetsRequest{ResumeToken: token})
			return receiver(s, err, (*catalogv1.WatchTargetsResponse).GetTarget)
		},
		listOf: func(items []target) proto.Message { return &catalogv1.ListTargetsResponse{Targets: items} },
	}
}

func (t *tow) targetCmd() *cobra.Command {
	return t.targets().group(t, "A target is a cluster that environments run on.", t.targetStatusCmd())
}
