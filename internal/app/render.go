package app

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/internal/cli"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/guardrail"
	"github.com/towpath-dev/towpath/services/renderer/worker"
)

// renderCommand is `tow render` with everything that the server renders with: guardrails, and Helm and kustomize in workers.
func renderCommand(version string, exit func(code int)) *cobra.Command {
	pool := worker.New(worker.Config{})
	cmd := cli.RenderCommand("towpathd", version, cli.Engines{
		Maker:      func(ctx context.Context) definition.Maker { return pool.Maker(ctx) },
		Guardrails: guardrail.Evaluate,
	}, exit)
	cmd.Short = "Render Score files offline, with Helm, kustomize and guardrails"
	cmd.Long = "Is `tow render` with the drivers helm and kustomize, and with guardrails. " + cmd.Long
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		defer pool.Close() //nolint:errcheck // it ends processes of which nothing is needed any more
		return inner(cmd, args)
	}
	return cmd
}
