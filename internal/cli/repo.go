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
)

type repository = *catalogv1.Repository

func (t *tow) repositories() noun[repository] {
	return noun[repository]{
		use: "repo", title: "repository", plural: "repositories", arg: "NAME", id: "deployments",
		what:        "It is a Git remote that environments are written to. Credentials are a name that\nthe committer resolves; secrets are never given here." + layoutHelp,
		createFlags: " --url https://git.example.com/shop/deployments.git --credentials shop-deploy", updateFlags: " --push-budget 6",
		columns: []column[repository]{
			{"NAME", false, func(_ *printer, m repository) string { return short(m.GetName()) }},
			{"TITLE", true, func(_ *printer, m repository) string { return m.GetDisplayName() }},
			{"URL", false, func(_ *printer, m repository) string { return m.GetUrl() }},
			{"BRANCH", false, func(_ *printer, m repository) string { return m.GetBranch() }},
			{"PATH", false, func(_ *printer, m repository) string { return m.GetPathTemplate() }},
			{"SPLITS", true, func(_ *printer, m repository) string { return strings.Join(splitLines(m), " ") }},
			{"CREDENTIALS", true, func(_ *printer, m repository) string { return m.GetCredentials() }},
			{"SIGNING", true, func(_ *printer, m repository) string { return signingSummary(m) }},
			{"PUSHES/MIN", true, func(_ *printer, m repository) string { return pushBudget(m.GetPushBudget()) }},
			{"WRITES", true, func(_ *printer, m repository) string { return writeModeText(m.GetWriteMode()) }},
			{"FORGE", true, func(_ *printer, m repository) string { return forgeText(m) }},
			{"FOREIGN", true, func(_ *printer, m repository) string { return foreignPolicyText(m.GetForeignPolicy()) }},
			{"CREATED", false, func(p *printer, m repository) string { return p.when(m.GetCreateTime()) }},
		},
		fresh: func() repository { return &catalogv1.Repository{} },
		name:  repoName,
		fields: func(fs *pflag.FlagSet) []field[repository] {
			return append([]field[repository]{
				text(fs, "display-name", "display_name", "name for people", func(m repository, v string) { m.DisplayName = v }),
				text(fs, "url", "url", "clone URL, which may have placeholders in its path: http, https, or embedded:///NAME for one that towpathd keeps", func(m repository, v string) { m.Url = v }),
				text(fs, "branch", "branch", "the branch, which may have placeholders (default main)", func(m repository, v string) { m.Branch = v }),
				text(fs, "path-template", "path_template", "folder of an environment (default environments/{environment}/{application})",
					func(m repository, v string) { m.PathTemplate = v }),
				text(fs, "credentials", "credentials", "name of the credentials on the server", func(m repository, v string) { m.Credentials = v }),
				signingFormat(fs), signingCredentials(fs), committerName(fs), committerEmail(fs),
				number(fs, "push-budget", "push_budget", "pushes a minute at the most; 0 for no limit", func(m repository, v int32) { m.PushBudget = v }),
				foreignPolicyField(fs, "overwrite", func(m repository, v committerv1.ForeignPolicy) { m.ForeignPolicy = v }),
				splits(fs),
			}, pullFields(fs)...)
		},
		create: func(ctx context.Context, c *client, name string, m repository) (repository, error) {
			return c.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{RepositoryId: last(name), Repository: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (repository, error) {
			return c.GetRepository(ctx, &catalogv1.GetRepositoryRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m repository, mask *fieldmaskpb.FieldMask) (repository, error) {
			changed, err := c.UpdateRepository(ctx, &catalogv1.UpdateRepositoryRequest{Repository: m, UpdateMask: mask})
			if err == nil {
				t.tellLayout(ctx, changed)
			}
			return changed, err
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.DeleteRepository(ctx, &catalogv1.DeleteRepositoryRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]repository, string, error) {
			l, err := c.ListRepositories(ctx, &catalogv1.ListRepositoriesRequest{PageSize: size, PageToken: token})
			return l.GetRepositories(), l.GetNextPageToken(), err
		},
		watch: func(ctx context.Context, c *client, token string) (func() (listChange[repository], error), error) {
			s, err := c.WatchRepositories(ctx, &catalogv1.WatchRepositoriesRequest{ResumeToken: token})
			return receiver(s, err, (*catalogv1.WatchRepositoriesResponse).GetRepository)
		},
		listOf: func(items []repository) proto.Message {
			return &catalogv1.ListRepositoriesResponse{Repositories: items}
		},
	}
}

func pushBudget(n int32) string {
	if n == 0 {
		return "no limit"
	}
	return itoa(n)
}

func (t *tow) repoCmd() *cobra.Command {
	g := t.repositories().group(t, "A repository is a Git remote that environments are written to.", t.describeRepoCmd(), t.cloneURLCmd(), t.doctorCmd(), t.repoHealthCmd())
	completePull(g.Commands()...)
	return completeSigning(g)
}
