package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docsCmd writes the reference in docs/cli. Nothing in it depends on the day, the machine or the version, so that it changes
// only with the commands.
func (t *tow) docsCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "docs DIR", Short: "Write the reference of all commands as Markdown", Args: exactArgs("a folder"), Hidden: true,
		Long: "Writes one Markdown file for each command to the folder.", Example: "  tow docs docs/cli",
		RunE: t.run(func(_ context.Context, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the folder: %w", err)
			}
			for cmd := range documented(root) {
				file := filepath.Join(args[0], docFile(cmd))
				if err := os.WriteFile(file, []byte(markdown(cmd)), 0o644); err != nil {
					return fmt.Errorf("write: %w", err)
				}
			}
			return nil
		}),
	}
}

// documented gives the commands that people see, each before those below it.
func documented(cmd *cobra.Command) func(yield func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) { walk(cmd, yield) }
}

func walk(cmd *cobra.Command, yield func(*cobra.Command) bool) bool {
	if cmd.Hidden || cmd.Name() == "help" {
		return true
	}
	if !yield(cmd) {
		return false
	}
	for _, c := range cmd.Commands() {
		if !walk(c, yield) {
			return false
		}
	}
	return true
}

func docFile(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md"
}

func markdown(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n", cmd.CommandPath(), cmd.Short)
	switch {
	case cmd.IsAdditionalHelpTopicCommand():
		fmt.Fprintf(&b, "```text\n%s\n```\n", cmd.Long)
	default:
		fmt.Fprintf(&b, "```text\n%s\n```\n\n%s\n\n", useLine(cmd), cmd.Long)
		fmt.Fprintf(&b, "## Examples\n\n```sh\n%s\n```\n", unindent(cmd.Example))
	}
	flags := func(title string, fs *pflag.FlagSet) {
		if fs.HasAvailableFlags() {
			fmt.Fprintf(&b, "\n## %s\n\n```text\n%s```\n", title, fs.FlagUsages())
		}
	}
	if !cmd.IsAdditionalHelpTopicCommand() {
		cmd.InitDefaultHelpFlag()
		flags("Flags", cmd.NonInheritedFlags())
		flags("Global flags", cmd.InheritedFlags())
	}
	var more []string
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" {
			more = append(more, fmt.Sprintf("- [%s](%s): %s", c.CommandPath(), docFile(c), c.Short))
		}
	}
	if len(more) > 0 {
		fmt.Fprintf(&b, "\n## Commands\n\n%s\n", strings.Join(more, "\n"))
	}
	if cmd.HasParent() {
		fmt.Fprintf(&b, "\nPart of [%s](%s).\n", cmd.Parent().CommandPath(), docFile(cmd.Parent()))
	}
	return b.String()
}

func useLine(cmd *cobra.Command) string {
	if cmd.HasSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	return cmd.UseLine()
}

func unindent(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "  "))
	}
	return strings.Join(lines, "\n")
}
