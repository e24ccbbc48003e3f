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
}

func (t *tow) canICmd() *cobra.Command {
	var f canI
	cmd := &cobra.Command{
		Use: "can-i ACTION [RESOURCE]", Short: "Tell whether you may do something, and by which rule", Args: rangeArgs(1, "an action such as rollback", "what it is done to"),
		Long: `Tells whether you may do an action, such as deploy, rollback, approve or unlock, to an application (shop), an environment (shop/dev) or
another resource by its full name (environmentTypes/production); without one, to everything. The exit code is 0 for yes and 6 for no.

With --as it is about somebody else, which only an admin may ask.`,
		Example: "  tow auth can-i rollback shop/prod\n  tow auth can-i manageDefinitions\n  tow auth can-i deploy shop/prod --as users/ada --as-group checkout",
	}
	cmd.Flags().StringVar(&f.subject, "as", "", "ask for users/NAME, tokens/NAME or serviceAccounts/NAMESPACE/NAME instead of yourself")
	cmd.Flags().StringSliceVar(&f.groups, "as-group", nil, "a group that --as is in; can be repeated")
	t.outputFlag(cmd, &f.format)
	complete(cmd, "as", noCompletion)
	complete(cmd, "as-group", noCompletion)
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var out []string
		for _, a := range auth.Actions {
			if len(args) == 0 {
				out = append(out, string(a))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = t.run(func(ctx context.Context, args []string) error { return t.canI(ctx, args, f) })
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
