package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/render"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Engines are what a rendering can use that tow does not link.
type Engines struct {
	// Maker makes the resources of a rendering; nil makes them here, without Helm and kustomize.
	Maker func(ctx context.Context) definition.Maker
	// Guardrails gives those of a request that do not hold; nil says that they are not checked.
	Guardrails func(ctx context.Context, request *rendererv1.RenderRequest, bundle *rendererv1.Bundle) ([]*rendererv1.Verdict, error)
}

// RenderCommand is `tow render` for another program, which has more to make resources with than tow has. The command takes the
// standard streams, and gives the exit code of what it did to done.
func RenderCommand(program, version string, engines Engines, done func(code int)) *cobra.Command {
	env := processEnv(version)
	env.Engines = engines
	t := newTow(env)
	cmd := t.renderCmd()
	cmd.Example = strings.ReplaceAll(cmd.Example, "  tow ", "  "+program+" ")
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	inner, args := cmd.RunE, cmd.Args
	told := func(cmd *cobra.Command, err error) error {
		if err != nil {
			done(t.fail(cmd, err))
		}
		return nil
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		if args != nil {
			if err := args(cmd, given); err != nil {
				return told(cmd, asUsage(err))
			}
		}
		return told(cmd, inner(cmd, given))
	}
	return cmd
}

// renderOptions say what the resources of a rendering are made with.
func (t *tow) renderOptions(ctx context.Context) render.Options {
	if t.Maker == nil {
		return render.Options{}
	}
	return render.Options{Maker: t.Maker(ctx)}
}
