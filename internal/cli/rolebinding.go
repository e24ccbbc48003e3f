package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type roleBinding = *catalogv1.RoleBinding

// roleNames are the roles, the least first.
var roleNames = []string{"viewer", "deployer", "developer", "operator", "admin"}

// parseRole reads a role as people write it.
func parseRole(flag, arg string) (catalogv1.Token_Role, error) {
	role, ok := catalogv1.Token_Role_value["ROLE_"+strings.ToUpper(arg)]
	if !ok || role == 0 {
		return 0, usagef("%s %q is none of %s", flag, arg, strings.Join(roleNames, ", "))
	}
	return catalogv1.Token_Role(role), nil
}

// scopeNames reads scopes as people write them, with the collection or, for an application, without.
func scopeNames(args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		if !strings.Contains(a, "/") {
			return nil, usagef("--scope %q is no scope; give applications/%s or environmentTypes/%s", a, a, a)
		}
		out = append(out, a)
	}
	return out, nil
}

func scopesText(scopes []string) string {
	if len(scopes) == 0 {
		return "everywhere"
	}
	return strings.Join(scopes, ", ")
}

func (t *tow) roleBindings() noun[roleBinding] {
	return noun[roleBinding]{
		use: "role-binding", title: "role binding", plural: "role bindings", arg: "NAME", id: "checkout",
		what:        "It gives a role to people, groups or service accounts, everywhere or somewhere.",
		createFlags: " --role developer --member groups/checkout --scope applications/shop", updateFlags: " --role operator",
		columns: []column[roleBinding]{
			{"NAME", false, func(_ *printer, m roleBinding) string { return short(m.GetName()) }},
			{"ROLE", false, func(_ *printer, m roleBinding) string { return roleName(m.GetRole()) }},
			{"MEMBERS", false, func(_ *printer, m roleBinding) string { return clip(strings.Join(m.GetMembers(), ", "), 60) }},
			{"WHERE", false, func(_ *printer, m roleBinding) string { return clip(scopesText(m.GetScopes()), 60) }},
			{"DESCRIPTION", true, func(_ *printer, m roleBinding) string { return clip(m.GetDescription(), 60) }},
			{"CREATED", true, func(p *printer, m roleBinding) string { return p.when(m.GetCreateTime()) }},
		},
		fresh:  func() roleBinding { return &catalogv1.RoleBinding{} },
		name:   bindingName,
		fields: bindingFields,
		create: func(ctx context.Context, c *client, name string, m roleBinding) (roleBinding, error) {
			return c.access.CreateRoleBinding(ctx, &catalogv1.CreateRoleBindingRequest{RoleBindingId: last(name), RoleBinding: m, RequestId: requestID(ctx)})
		},
		get: func(ctx context.Context, c *client, name string) (roleBinding, error) {
			return c.access.GetRoleBinding(ctx, &catalogv1.GetRoleBindingRequest{Name: name})
		},
		update: func(ctx context.Context, c *client, m roleBinding, mask *fieldmaskpb.FieldMask) (roleBinding, error) {
			return c.access.UpdateRoleBinding(ctx, &catalogv1.UpdateRoleBindingRequest{RoleBinding: m, UpdateMask: mask})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.access.DeleteRoleBinding(ctx, &catalogv1.DeleteRoleBindingRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]roleBinding, string, error) {
			l, err := c.access.ListRoleBindings(ctx, &catalogv1.ListRoleBindingsRequest{PageSize: size, PageToken: token})
			return l.GetRoleBindings(), l.GetNextPageToken(), err
		},
		listOf: func(items []roleBinding) proto.Message {
			return &catalogv1.ListRoleBindingsResponse{RoleBindings: items}
		},
	}
}

func bindingFields(fs *pflag.FlagSet) []field[roleBinding] {
	role := fs.String("role", "", "what they may do: "+strings.Join(roleNames, ", "))
	members := fs.StringSlice("member", nil, "whom it is given: users/NAME, groups/NAME or serviceAccounts/NAMESPACE/NAME; can be repeated")
	scopes := fs.StringSlice("scope", nil, "where it holds: applications/APP or environmentTypes/TYPE, everywhere when left out; can be repeated")
	return []field[roleBinding]{
		{"role", "role", func(m roleBinding) (err error) { m.Role, err = parseRole("--role", *role); return err }},
		{"member", "members", func(m roleBinding) error {
			if len(*members) == 0 {
				return usagef("who gets the role? give --member, such as --member groups/checkout")
			}
			m.Members = slices.Clone(*members)
			return nil
		}},
		{"scope", "scopes", func(m roleBinding) (err error) { m.Scopes, err = scopeNames(*scopes); return err }},
		text(fs, "description", "description", "what it is for", func(m roleBinding, v string) { m.Description = v }),
	}
}

func (t *tow) roleBindingCmd() *cobra.Command {
	cmd := t.roleBindings().group(t, "A role binding says who has which role, everywhere, in an application, or on an environment type.\n"+
		"docs/access.md tells what each role includes.")
	completeFlag("role", cobra.FixedCompletions(roleNames, cobra.ShellCompDirectiveNoFileComp), cmd.Commands()...)
	return cmd
}
