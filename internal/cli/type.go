package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

type environmentType = *catalogv1.EnvironmentType

func (t *tow) environmentTypes() noun[environmentType] {
	return noun[environmentType]{
		use: "type", title: "environment type", plural: "environment types", arg: "NAME", id: "staging",
		what:        "It is what all environments of a kind share: the cluster, how they are\nsynced, and what is added to every workload.",
		createFlags: " --target default --replicas 2", updateFlags: " --self-heal --restricted",
		columns: []column[environmentType]{
			{"NAME", false, func(_ *printer, m environmentType) string { return short(m.GetName()) }},
			{"TITLE", true, func(_ *printer, m environmentType) string { return m.GetDisplayName() }},
			{"TARGET", false, func(_ *printer, m environmentType) string { return short(m.GetTarget()) }},
			{"REPOSITORY", true, func(_ *printer, m environmentType) string { return orDash(short(m.GetRepository())) }},
			{"SYNC", false, func(_ *printer, m environmentType) string { return syncMode(m) }},
			{"SELF-HEAL", false, func(_ *printer, m environmentType) string { return yesNo(m.GetSelfHeal()) }},
			{"REPLICAS", false, func(_ *printer, m environmentType) string { return itoa(max(m.GetDefaults().GetReplicas(), 1)) }},
			{"RESTRICTED", false, func(_ *printer, m environmentType) string { return yesNo(m.GetDefaults().GetRestricted()) }},
			{"APPROVALS", true, func(_ *printer, m environmentType) string { return itoa(m.GetApprovals().GetRequired()) }},
			{"FREEZES", true, func(_ *printer, m environmentType) string { return freezeText(m) }},
			{"DOMAIN", true, func(_ *printer, m environmentType) string { return m.GetDefaults().GetDomain() }},
			{"LABELS", true, func(_ *printer, m environmentType) string { return labelText(m.GetDefaults().GetLabels()) }},
			{"KINDS", true, func(_ *printer, m environmentType) string {
				return orDash(strings.Join(m.GetDefaults().GetAllowedKinds(), ","))
			}},
			{"GUARDRAILS", true, func(_ *printer, m environmentType) string { return itoa(len(m.GetGuardrails())) }},
			{"SECRETS", true, func(_ *printer, m environmentType) string { return secretRulesText(m.GetDefaults().GetSecrets()) }},
			{"CREATED", false, func(p *printer, m environmentType) string { return p.when(m.GetCreateTime()) }},
		},
		fresh:  func() environmentType { return &catalogv1.EnvironmentType{} },
		name:   typeName,
		fields: t.environmentTypeFields,
		create: func(ctx context.Context, c *client, name string, m environmentType) (environmentType, error) {
			return c.CreateEnvironmentType(ctx, &catalogv1.CreateEnvironmentTypeRequest{EnvironmentTypeId: last(name), EnvironmentType: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (environmentType, error) {
			return c.GetEnvironmentType(ctx, &catalogv1.GetEnvironmentTypeRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m environmentType, mask *fieldmaskpb.FieldMask) (environmentType, error) {
			return c.UpdateEnvironmentType(ctx, &catalogv1.UpdateEnvironmentTypeRequest{EnvironmentType: m, UpdateMask: mask})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.DeleteEnvironmentType(ctx, &catalogv1.DeleteEnvironmentTypeRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]environmentType, string, error) {
			l, err := c.ListEnvironmentTypes(ctx, &catalogv1.ListEnvironmentTypesRequest{PageSize: size, PageToken: token})
			return l.GetEnvironmentTypes(), l.GetNextPageToken(), err
		},
		watch: func(ctx context.Context, c *client, token string) (func() (listChange[environmentType], error), error) {
			s, err := c.WatchEnvironmentTypes(ctx, &catalogv1.WatchEnvironmentTypesRequest{ResumeToken: token})
			return receiver(s, err, (*catalogv1.WatchEnvironmentTypesResponse).GetEnvironmentType)
		},
		listOf: func(items []environmentType) proto.Message {
			return &catalogv1.ListEnvironmentTypesResponse{EnvironmentTypes: items}
		},
	}
}

func syncMode(m environmentType) string {
	if m.GetAutomaticSync() {
		return "automatic"
	}
	return "by hand"
}

func (t *tow) environmentTypeFields(fs *pflag.FlagSet) []field[environmentType] {
	defaults := func(m environmentType) *rendererv1.EnvironmentDefaults {
		if m.Defaults == nil {
			m.Defaults = &rendererv1.EnvironmentDefaults{}
		}
		return m.Defaults
	}
	return besideFile(fs, append([]field[environmentType]{
		text(fs, "display-name", "display_name", "name for people", func(m environmentType, v string) { m.DisplayName = v }),
		reference(fs, "target", "target", "the cluster that its environments run on", targetName, func(m environmentType, v string) { m.Target = v }),
		reference(fs, "repository", "repository", "the repository that its environments are written to, instead of the application's; \"\" for the application's", repoName,
			func(m environmentType, v string) { m.Repository = v }),
		choice(fs, "automatic-sync", "automatic_sync", "apply a commit by itself; else tow sync does", true,
			func(m environmentType, v bool) { m.AutomaticSync = v }),
		choice(fs, "self-heal", "self_heal", "revert findings of drift by itself", false, func(m environmentType, v bool) { m.SelfHeal = v }),
		defaultsFile(fs),
		number(fs, "replicas", "defaults.replicas", "replicas of workloads that name none; 0 means 1",
			func(m environmentType, v int32) { defaults(m).Replicas = v }),
		choice(fs, "restricted", "defaults.restricted", "give pods the security context of the restricted Pod Security Standard", false,
			func(m environmentType, v bool) { defaults(m).Restricted = v }),
		defaultTTL(fs),
		text(fs, "domain", "defaults.domain", "domain of host names that are made for routes", func(m environmentType, v string) { defaults(m).Domain = v }),
		provisioningField(fs),
		labels(fs, "label", "defaults.labels", "labels on every object",
			func(m environmentType) map[string]string { return m.GetDefaults().GetLabels() },
			func(m environmentType, v map[string]string) { defaults(m).Labels = v }),
		foreignPolicyField(fs, "the repository's policy", func(m environmentType, v committerv1.ForeignPolicy) { m.ForeignPolicy = v }),
		allowedKinds(fs, defaults),
		t.guardrails(fs), typeWriteMode(fs),
	}, append(append(guardFields(fs), syncFields(fs)...), secretFields(fs)...)...))
}

func (t *tow) typeCmd() *cobra.Command {
	g := t.environmentTypes().group(t, "An environment type is what all environments of a kind share: development, staging, production.", t.describeTypeCmd())
	completeFlag("secret-strategy", cobra.FixedCompletions(strategies, cobra.ShellCompDirectiveNoFileComp), g.Commands()...)
	completePull(g.Commands()...)
	completeFlag("target", t.targets().completer(t), g.Commands()...)
	completeFlag("repository", t.repositories().completer(t), g.Commands()...)
	return g
}
