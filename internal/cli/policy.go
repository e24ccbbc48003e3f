package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type cedarPolicy = *catalogv1.Policy

func (t *tow) policies() noun[cedarPolicy] {
	return noun[cedarPolicy]{
		use: "policy", title: "policy", plural: "policies", arg: "NAME", id: "production",
		what:        "It is a file of Cedar policies: permit gives more than the roles do, forbid takes away and always wins.",
		createFlags: " --file production.cedar", updateFlags: " --file production.cedar",
		columns: []column[cedarPolicy]{
			{"NAME", false, func(_ *printer, m cedarPolicy) string { return short(m.GetName()) }},
			{"POLICIES", false, func(_ *printer, m cedarPolicy) string {
				return fmt.Sprintf("%d permit, %d forbid", strings.Count(m.GetCedar(), "permit"), strings.Count(m.GetCedar(), "forbid"))
			}},
			{"DESCRIPTION", false, func(_ *printer, m cedarPolicy) string { return clip(m.GetDescription(), 60) }},
			{"CHANGED", false, func(p *printer, m cedarPolicy) string { return p.when(m.GetUpdateTime()) }},
			{"BY", true, func(_ *printer, m cedarPolicy) string { return m.GetCreateActor() }},
		},
		fresh: func() cedarPolicy { return &catalogv1.Policy{} },
		name:  policyName,
		fields: func(fs *pflag.FlagSet) []field[cedarPolicy] {
			file := fs.String("file", "", "file with the Cedar text, - for standard input")
			return []field[cedarPolicy]{
				{"file", "cedar", func(m cedarPolicy) (err error) { m.Cedar, err = t.cedarText(*file); return err }},
				text(fs, "description", "description", "what it is for", func(m cedarPolicy, v string) { m.Description = v }),
			}
		},
		create: func(ctx context.Context, c *client, name string, m cedarPolicy) (cedarPolicy, error) {
			return c.access.CreatePolicy(ctx, &catalogv1.CreatePolicyRequest{PolicyId: last(name), Policy: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (cedarPolicy, error) {
			return c.access.GetPolicy(ctx, &catalogv1.GetPolicyRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m cedarPolicy, mask *fieldmaskpb.FieldMask) (cedarPolicy, error) {
			return c.access.UpdatePolicy(ctx, &catalogv1.UpdatePolicyRequest{Policy: m, UpdateMask: mask})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.access.DeletePolicy(ctx, &catalogv1.DeletePolicyRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]cedarPolicy, string, error) {
			l, err := c.access.ListPolicies(ctx, &catalogv1.ListPoliciesRequest{PageSize: size, PageToken: token})
			return l.GetPolicies(), l.GetNextPageToken(), err
		},
		listOf: func(items []cedarPolicy) proto.Message { return &catalogv1.ListPoliciesResponse{Policies: items} },
	}
}

// maxCedar is a little more than the server takes, so that it says what is too large.
const maxCedar = 80 << 10

func (t *tow) cedarText(file string) (string, error) {
	if file == "" {
		return "", usagef("which policies? give --file, a file with Cedar text, or --file - for standard input")
	}
	in := t.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", usagef("--file: %v", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxCedar))
	if err != nil {
		return "", fmt.Errorf("read the policies: %w", err)
	}
	return string(b), nil
}

func (t *tow) policyCmd() *cobra.Command {
	return t.policies().group(t, "A policy is a text of Cedar policies that an organisation adds to the roles. A mistake in it is told with line and column,\n"+
		"and one with which no admin could change policies any more is refused. docs/access.md has the entities and examples.")
}
