package app

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/internal/cli"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/worker"
)

// renderCommand is `tow render` with everything that the server renders with: Helm and kustomize, in workers.
func renderCommand(version string, exit func(code int)) *cobra.Command {
	pool := worker.New(worker.Config{})
	cmd := cli.RenderCommand("towpathd", version, func(ctx context.Context) definition.Maker { return pool.Maker(ctx) }, exit)
	cmd.Short = "Render Score files offline, with Helm and kustomize"
	cmd.Long = "Is `tow render` with the drivers helm and kustomize. " + cmd.Long
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		defer pool.Close() //nolint:errcheck // it ends processes of which nothing is needed any more
		return inner(cmd, args)
	}
	return cmd
}
