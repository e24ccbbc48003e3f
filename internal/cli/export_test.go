package cli

import "github.com/spf13/cobra"

// NewRoot gives the tree of commands to tests that walk it.
func NewRoot(env Env) *cobra.Command { return newTow(env).newRoot() }
