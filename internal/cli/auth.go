package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
)

func (t *tow) authCmd() *cobra.Command {
	return t.group("auth", "Ask who may do what", "Asks the server what somebody may do, and by which rule.",
		"  tow auth can-i rollback shop/prod", t.canICmd())
}

type canI struct {
	subject, format string
	groups          []string
	// list asks for all actions.
	list bool
}

func (t *tow) canICmd() *cobra.Command {
	var f canI
	cmd := &cobra.Command{
		Use: "can-i ACTION [RESOURCE] | --list [RESOURCE]", Short: "Tell whether you may do something, and by which rule",
		Long: `Tells whether you may do an action, such as deploy, rollback, approve or unlock, to an application (shop), an environment (shop/dev) or
another resource by its full name (environmentTypes/production); without one, to everything. The exit code is 0 for yes and 6 for no.

With --list it lists all that you may do to a resource, one action a line.

With --as it is about somebody else, which only an admin may ask.`,
		Example: "  tow auth can-i rollback shop/prod\n  tow auth can-i manageDefinitions\n  tow auth can-i deploy shop/prod --as users/ada --as-group checkout\n  tow auth can-i --list shop/prod",
	}
	cmd.Flags().StringVar(&f.subject, "as", "", "ask for users/NAME, tokens/NAME or serviceAccounts/NAMESPACE/NAME instead of yourself")
	cmd.Flags().StringSliceVar(&f.groups, "as-group", nil, "a group that --as is in; can be repeated")
	cmd.Flags().BoolVar(&f.list, "list", false, "list all that you may do to the resource; to everything without one")
	cmd.MarkFlagsMutuallyExclusive("list", "as")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if f.list {
			return rangeArgs(0, "what it is done to")(cmd, args)
		}
		return rangeArgs(1, "an action such as rollback", "what it is done to")(cmd, args)
	}
	t.outputFlag(cmd, &f.format)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0 && !f.list:
			return actionWords(), cobra.ShellCompDirectiveNoFileComp
		case len(args) == 1 && !f.list, len(args) == 0:
			return t.completeResources(cmd, args, prefix)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		if f.list {
			return t.listAllowed(ctx, args, f.format)
		}
		return t.canI(ctx, args, f)
	})
	return cmd
}

func (t *tow) canI(ctx context.Context, args []string, f canI) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	if len(f.groups) > 0 && f.subject == "" {
		return usagef("--as-group needs --as: whose groups are they?")
	}
	req := &catalogv1.CheckAccessRequest{Action: args[0], Subject: f.subject, Groups: f.groups}
	if len(args) == 2 {
		req.Resource = anyResource(args[1])
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	got, err := c.access.CheckAccess(ctx, req)
	if err != nil {
		return err
	}
	if done, err := p.structured(got, yesOrNo(got.GetAllowed())); err != nil {
		return err
	} else if !done {
		t.printf("%s\n", yesOrNo(got.GetAllowed()))
	}
	if !got.GetAllowed() {
		return &exitCodeError{exitNotAllowed, errors.New(got.GetMessage())}
	}
	t.notef("%s", got.GetMessage())
	return nil
}

// actionWords are the actions of the API.
func actionWords() []string {
	var out []string
	for _, a := range auth.Actions {
		out = append(out, string(a))
	}
	return out
}

// listAllowed lists what the caller may do to a resource, or to everything.
func (t *tow) listAllowed(ctx context.Context, args []string, format string) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	req := &catalogv1.ListAllowedActionsRequest{}
	if len(args) > 0 {
		req.Resource = anyResource(args[0])
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	got, err := c.access.ListAllowedActions(ctx, req)
	if err != nil {
		return err
	}
	if done, err := p.structured(got, got.GetActions()...); done {
		return err
	}
	if len(got.GetActions()) == 0 {
		t.notef("nothing; an admin gives roles with `tow role-binding create`")
	}
	for _, action := range got.GetActions() {
		t.printf("%s\n", clean(action))
	}
	return nil
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// anyResource makes a resource's name of shop and shop/dev; full names stay as they are.
func anyResource(arg string) string {
	app, env, deep := strings.Cut(arg, "/")
	switch {
	case !deep:
		return applications + "/" + arg
	case strings.Contains(env, "/"):
		return arg
	}
	for _, collection := range []string{applications, environmentTypes, targets, repositories, tokens, "resourceDefinitions", "roleBindings", "policies"} {
		if app == collection {
			return arg
		}
	}
	return applications + "/" + app + "/" + environments + "/" + env
}
