package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type token = *catalogv1.Token

var tokenColumns = []column[token]{
	{"NAME", false, func(_ *printer, m token) string { return short(m.GetName()) }},
	{"ROLE", false, func(_ *printer, m token) string { return roleName(m.GetRole()) }},
	{"WHERE", false, func(_ *printer, m token) string { return clip(scopesText(m.GetScopes()), 60) }},
	{"EXPIRES", false, func(p *printer, m token) string {
		if m.GetExpireTime() == nil {
			return "never"
		}
		return p.when(m.GetExpireTime())
	}},
	{"CREATED", false, func(p *printer, m token) string { return p.when(m.GetCreateTime()) }},
	{"BY", true, func(_ *printer, m token) string { return m.GetCreateActor() }},
	{"DESCRIPTION", false, func(_ *printer, m token) string { return clip(m.GetDescription(), 60) }},
}

func (t *tow) tokenCmd() *cobra.Command {
	return t.group("token", "Let people and programs in", "A token lets its holder in, with a role: viewer, deployer, developer, operator or admin, each with all that the ones before it may.\nWith --scope it has the role in applications or on environment types only.",
		"  tow token create ci --role developer --expires 720h\n  tow token list", t.createTokenCmd(), t.listTokensCmd(), t.deleteTokenCmd())
}

type tokenFlags struct {
	role, description, format string
	scopes                    []string
	expires                   time.Duration
}

func (t *tow) createTokenCmd() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use: "create NAME --role ROLE", Short: "Create a token and show its secret once", Args: exactArgs("the name of the new token"),
		Long: `Creates a token. The secret is printed to standard output and to nowhere else; the server keeps only its hash, so it cannot
be shown again.`,
		Example: "  tow token create ci --role deployer --scope environmentTypes/staging --expires 720h --description \"build server\" > token",
	}
	cmd.Flags().StringVar(&f.role, "role", "", "what its holder may do: "+strings.Join(roleNames, ", "))
	cmd.Flags().StringSliceVar(&f.scopes, "scope", nil, "where: applications/APP or environmentTypes/TYPE, everywhere when left out; can be repeated")
	cmd.Flags().StringVar(&f.description, "description", "", "what it is for")
	cmd.Flags().DurationVar(&f.expires, "expires", 0, "how long it is valid, such as 720h; for ever when left out")
	t.outputFlag(cmd, &f.format)
	complete(cmd, "role", cobra.FixedCompletions(roleNames, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error { return t.createToken(ctx, args[0], f) })
	return cmd
}

func (t *tow) createToken(ctx context.Context, arg string, f tokenFlags) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	name, err := tokenName(arg)
	if err != nil {
		return err
	}
	role, err := parseRole("--role", f.role)
	if err != nil {
		return err
	}
	scopes, err := scopeNames(f.scopes)
	if err != nil {
		return err
	}
	m := &catalogv1.Token{Role: role, Description: f.description, Scopes: scopes}
	if f.expires < 0 {
		return usagef("--expires is negative; give a duration such as 720h")
	}
	if f.expires > 0 {
		m.ExpireTime = timestamppb.New(t.Now().Add(f.expires))
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	made, err := c.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: last(name), Token: m})
	if err != nil {
		return err
	}
	if done, err := p.structured(made, made.GetName()); done {
		return err
	}
	t.printf("%s\n", made.GetSecret())
	t.notef("created token %s (%s); this is the only time that its secret is shown", short(made.GetName()), roleName(made.GetRole()))
	return nil
}

func (t *tow) allTokens(ctx context.Context, c *client) ([]token, error) {
	return pages(ctx, func(ctx context.Context, size int32, page string) ([]token, string, error) {
		l, err := c.access.ListTokens(ctx, &catalogv1.ListTokensRequest{PageSize: size, PageToken: page})
		return l.GetTokens(), l.GetNextPageToken(), err
	})
}

func (t *tow) listTokensCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "list", Short: "List tokens", Args: noArgs, Aliases: []string{"ls"},
		Long: "Lists the tokens with their roles and ends, never with their secrets.", Example: "  tow token list",
	}
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		all, err := t.allTokens(ctx, c)
		if err != nil {
			return err
		}
		return printList(p, &catalogv1.ListTokensResponse{Tokens: all}, all, tokenColumns)
	})
	return cmd
}

func (t *tow) deleteTokenCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME...", Short: "Revoke tokens", Args: someArgs("the name of a token"),
		Long:    "Revokes tokens: whoever holds them is no longer let in. In a terminal it asks first; without one it needs --yes.",
		Example: "  tow token delete ci --yes",
	}
	yesFlag(cmd, &yes)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
			all, err := t.allTokens(ctx, c)
			return without(shortNames(all), args), err
		})
	}
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		names, err := eachName(args, tokenName)
		if err != nil {
			return err
		}
		if err := t.confirm(yes, "revoke the token %s", shortList(names)); err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		for _, name := range names {
			if _, err := c.access.DeleteToken(ctx, &catalogv1.DeleteTokenRequest{Name: name}); err != nil {
				return err
			}
			t.printf("revoked token %s\n", short(name))
		}
		return nil
	})
	return cmd
}
