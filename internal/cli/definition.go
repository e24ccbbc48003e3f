package cli

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
)

const resourceDefinitions = "resourceDefinitions"

type resourceDefinition = *catalogv1.ResourceDefinition

var definitionName = func(arg string) (string, error) {
	id := strings.TrimPrefix(arg, resourceDefinitions+"/")
	if id == "" || strings.Contains(id, "/") {
		return "", usagef("%q is no id of a resource definition; give one such as postgres-rds", arg)
	}
	return resourceDefinitions + "/" + id, nil
}

// versionName makes the full name of a version of a definition. words says whether active and latest are taken too.
func versionName(definition, arg string, words bool) (string, error) {
	parent, err := definitionName(definition)
	if err != nil {
		return "", err
	}
	number := strings.TrimPrefix(arg, parent+"/versions/")
	if n, err := strconv.ParseInt(number, 10, 64); (err != nil || n < 1) && (!words || number != "active" && number != "latest") {
		return "", usagef("%q is no version; give its number as in `tow definition versions %s`", arg, last(parent))
	}
	return parent + "/versions/" + number, nil
}

// definitions gives the part of the API that is about resource definitions.
func (c *client) definitions() catalogv1.DefinitionServiceClient {
	return catalogv1.NewDefinitionServiceClient(c.conn)
}

func (t *tow) definitions() noun[resourceDefinition] {
	return noun[resourceDefinition]{
		use: "definition", title: "resource definition", plural: "resource definitions", arg: "NAME", id: "postgres-rds",
		what:        "It answers a resource type that workloads ask for, such as postgres. It\ndoes nothing before a version of it is proposed and activated.",
		createFlags: " --description \"PostgreSQL from the database team\"", updateFlags: " --display-name \"Managed PostgreSQL\"",
		columns: []column[resourceDefinition]{
			{"NAME", false, func(_ *printer, m resourceDefinition) string { return short(m.GetName()) }},
			{"TITLE", true, func(_ *printer, m resourceDefinition) string { return m.GetDisplayName() }},
			{"TYPE", false, func(_ *printer, m resourceDefinition) string { return orDash(m.GetType()) }},
			{"ACTIVE", false, func(_ *printer, m resourceDefinition) string { return versionText(m.GetActiveVersion()) }},
			{"LATEST", false, func(_ *printer, m resourceDefinition) string { return versionText(m.GetLatestVersion()) }},
			{"CREATED", false, func(p *printer, m resourceDefinition) string { return p.when(m.GetCreateTime()) }},
			{"BY", true, func(_ *printer, m resourceDefinition) string { return m.GetCreateActor() }},
		},
		fresh: func() resourceDefinition { return &catalogv1.ResourceDefinition{} },
		name:  definitionName,
		fields: func(fs *pflag.FlagSet) []field[resourceDefinition] {
			return []field[resourceDefinition]{
				text(fs, "display-name", "display_name", "name for people", func(m resourceDefinition, v string) { m.DisplayName = v }),
				text(fs, "description", "description", "what it is for", func(m resourceDefinition, v string) { m.Description = v }),
			}
		},
		create: func(ctx context.Context, c *client, name string, m resourceDefinition) (resourceDefinition, error) {
			return c.definitions().CreateResourceDefinition(ctx, &catalogv1.CreateResourceDefinitionRequest{ResourceDefinitionId: last(name), ResourceDefinition: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (resourceDefinition, error) {
			return c.definitions().GetResourceDefinition(ctx, &catalogv1.GetResourceDefinitionRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m resourceDefinition, mask *fieldmaskpb.FieldMask) (resourceDefinition, error) {
			return c.definitions().UpdateResourceDefinition(ctx, &catalogv1.UpdateResourceDefinitionRequest{ResourceDefinition: m, UpdateMask: mask})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.definitions().DeleteResourceDefinition(ctx, &catalogv1.DeleteResourceDefinitionRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]resourceDefinition, string, error) {
			l, err := c.definitions().ListResourceDefinitions(ctx, &catalogv1.ListResourceDefinitionsRequest{PageSize: size, PageToken: token})
			return l.GetResourceDefinitions(), l.GetNextPageToken(), err
		},
		watch: func(ctx context.Context, c *client, token string) (func() (listChange[resourceDefinition], error), error) {
			s, err := c.definitions().WatchResourceDefinitions(ctx, &catalogv1.WatchResourceDefinitionsRequest{ResumeToken: token})
			return receiver(s, err, (*catalogv1.WatchResourceDefinitionsResponse).GetResourceDefinition)
		},
		listOf: func(items []resourceDefinition) proto.Message {
			return &catalogv1.ListResourceDefinitionsResponse{ResourceDefinitions: items}
		},
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func versionText(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func (t *tow) definitionCmd() *cobra.Command {
	return t.definitions().group(t, `A resource definition says how a resource type that workloads ask for is made: postgres, s3, dns. Its content is in versions,
which never change: propose one, look at its blast radius, activate it. Environments get it with their next deployment.`,
		t.proposeCmd(), t.versionsCmd(), t.planDefinitionCmd(), t.activateCmd(), t.archiveCmd(), t.explainCmd(), t.importCmd())
}

func (t *tow) proposeCmd() *cobra.Command {
	var file, message, format, requestID, packed string
	cmd := &cobra.Command{
		Use: "propose NAME -f FILE", Short: "Propose a version of a resource definition", Args: exactArgs("the id of a resource definition"),
		Long: `Sends a definition file as the next version. It is checked as a whole, and nothing uses it until it is activated. The file
is YAML with type, class, driver, inputs and criteria; docs/definitions.md tells how to write one.

The Helm chart or kustomize base of a definition goes along with --archive, a folder or a .tgz; the digest that names it is filled in.`,
		Example: "  tow definition propose postgres-rds -f postgres.yaml -m \"larger disks\"\n  tow definition propose redis-chart -f redis.yaml --archive charts/redis",
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the definition file, - for standard input")
	cmd.Flags().StringVarP(&message, "message", "m", "", "what is different to the version before")
	cmd.Flags().StringVar(&requestID, "request-id", "", "idempotency key: a second call with the same one gets the first call's answer")
	cmd.Flags().StringVar(&packed, "archive", "", "the chart or base: a folder or a .tgz (default: the file's own `archive`)")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.definitions().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		parent, err := definitionName(args[0])
		if err != nil {
			return err
		}
		text, err := t.fileOf(file, "give the definition file with -f, such as -f postgres.yaml")
		if err != nil {
			return err
		}
		content, err := withArchive(text, file, packed)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if requestID == "" {
			requestID = newRequestID()
		}
		v, err := c.definitions().CreateDefinitionVersion(ctx, &catalogv1.CreateDefinitionVersionRequest{
			Parent: parent, RequestId: requestID, DefinitionVersion: &catalogv1.DefinitionVersion{Content: content, Message: message},
		})
		if err != nil {
			return err
		}
		if done, err := p.structured(v, v.GetName()); done {
			return err
		}
		t.printf("proposed version %s of %s\n", last(v.GetName()), last(parent))
		t.notef("see what it would change: tow definition plan %s %s", last(parent), last(v.GetName()))
		return nil
	})
	return cmd
}

// fileOf reads a file that a flag names, - for standard input.
func (t *tow) fileOf(name, missing string) ([]byte, error) {
	switch name {
	case "":
		return nil, usagef("%s", missing)
	case "-":
		return readAll("standard input", t.Stdin)
	}
	return readLimited(name)
}

// definitionFiles reads definition files, each checked as the server would, for rendering without one.
func definitionFiles(names []string) ([]*rendererv1.ResourceDefinition, error) {
	var out []*rendererv1.ResourceDefinition
	for _, name := range names {
		text, err := readLimited(name)
		if err != nil {
			return nil, err
		}
		d, err := withArchive(text, name, "")
		if err == nil {
			d.Name = resourceDefinitions + "/" + strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)) + "/versions/1"
			_, err = definition.Compile(d)
		}
		var e *errs.Error
		if errors.As(err, &e) {
			for i := range e.Fields {
				e.Fields[i].Path = name + ": " + e.Fields[i].Path
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

var versionColumns = []column[*catalogv1.DefinitionVersion]{
	{"VERSION", false, func(_ *printer, m *catalogv1.DefinitionVersion) string { return last(m.GetName()) }},
	{"STATE", false, func(_ *printer, m *catalogv1.DefinitionVersion) string {
		return strings.TrimPrefix(m.GetState().String(), "STATE_")
	}},
	{"TYPE", false, func(_ *printer, m *catalogv1.DefinitionVersion) string { return m.GetContent().GetType() }},
	{"CLASS", false, func(_ *printer, m *catalogv1.DefinitionVersion) string {
		if m.GetContent().GetClass() == "" {
			return "default"
		}
		return m.GetContent().GetClass()
	}},
	{"CREATED", false, func(p *printer, m *catalogv1.DefinitionVersion) string { return p.when(m.GetCreateTime()) }},
	{"ACTIVATED", false, func(p *printer, m *catalogv1.DefinitionVersion) string { return p.when(m.GetActivateTime()) }},
	{"BY", true, func(_ *printer, m *catalogv1.DefinitionVersion) string { return m.GetCreateActor() }},
	{"SHA256", true, func(_ *printer, m *catalogv1.DefinitionVersion) string { return shortHash(m.GetSha256()) }},
	{"MESSAGE", false, func(_ *printer, m *catalogv1.DefinitionVersion) string { return m.GetMessage() }},
}

func (t *tow) versionsCmd() *cobra.Command {
	var format, to string
	cmd := &cobra.Command{
		Use: "versions NAME [VERSION]", Short: "List the versions of a resource definition", Args: rangeArgs(1, "the id of a resource definition", "a version"),
		Long:    "Lists the versions of a resource definition, newest first, or shows one: a number, active or latest. With -o yaml there is\ntheir content; the chart or base of one is written by --archive-to.",
		Example: "  tow definition versions postgres-rds\n  tow definition versions postgres-rds active -o yaml\n  tow definition versions redis-chart 3 --archive-to redis.tgz",
	}
	cmd.Flags().StringVar(&to, "archive-to", "", "write the version's chart or base to this file, a .tgz")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = t.completeVersions
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		parent, err := definitionName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if len(args) > 1 {
			name, err := versionName(args[0], args[1], true)
			if err != nil {
				return err
			}
			v, err := c.definitions().GetDefinitionVersion(ctx, &catalogv1.GetDefinitionVersionRequest{Name: name})
			if err != nil {
				return err
			}
			if to != "" {
				return t.saveArchive(v, to)
			}
			return printOne(p, withoutArchive(v), versionColumns)
		}
		if to != "" {
			return usagef("which version? give its number, active or latest, as in `tow definition versions %s active --archive-to %s`", last(parent), to)
		}
		items, err := listVersions(ctx, c, parent)
		if err != nil {
			return err
		}
		if len(items) == 0 && format == "table" {
			t.notef("no version yet; propose one: tow definition propose %s -f FILE", last(parent))
		}
		return printList(p, &catalogv1.ListDefinitionVersionsResponse{DefinitionVersions: items}, items, versionColumns)
	})
	return cmd
}

func listVersions(ctx context.Context, c *client, parent string) ([]*catalogv1.DefinitionVersion, error) {
	return pages(ctx, func(ctx context.Context, size int32, token string) ([]*catalogv1.DefinitionVersion, string, error) {
		l, err := c.definitions().ListDefinitionVersions(ctx, &catalogv1.ListDefinitionVersionsRequest{Parent: parent, PageSize: size, PageToken: token})
		return l.GetDefinitionVersions(), l.GetNextPageToken(), err
	})
}

// completeVersions completes a definition, and then its versions.
func (t *tow) completeVersions(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return t.definitions().completer(t)(cmd, args, prefix)
	case 1:
		return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
			parent, err := definitionName(args[0])
			if err != nil {
				return nil, err
			}
			items, err := listVersions(ctx, c, parent)
			var out []string
			for _, v := range items {
				state := strings.ToLower(strings.TrimPrefix(v.GetState().String(), "STATE_"))
				out = append(out, cobra.CompletionWithDesc(last(v.GetName()), state+" "+v.GetMessage()))
			}
			return slices.Clip(out), err
		})
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
