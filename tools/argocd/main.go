// Command argocd runs the two processes of Argo CD that bring manifests into a cluster, and the cache that they share, each as a
// subcommand: redis, repo-server and application-controller. It is a tool of `make e2e-argocd` and nothing that ships.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alicebob/miniredis/v2"
	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "argocd", SilenceUsage: true}
	redis := &cobra.Command{Use: "redis ADDRESS", Args: cobra.ExactArgs(1), RunE: serveRedis}
	root.AddCommand(redis, named(controller.NewCommand(), "application-controller"), named(reposerver.NewCommand(), "repo-server"))
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func named(c *cobra.Command, name string) *cobra.Command {
	c.Use = name
	return c
}

// serveRedis keeps Argo CD's cache in memory until it is told to stop.
func serveRedis(_ *cobra.Command, args []string) error {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(args[0]); err != nil {
		return fmt.Errorf("serve the cache: %w", err)
	}
	defer m.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return nil
}
