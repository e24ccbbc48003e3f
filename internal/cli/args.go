package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument, but %q is given", cmd.CommandPath(), args[0])
	}
	return nil
}

// exactArgs takes one argument for each name, and says by name what is missing.
func exactArgs(names ...string) cobra.PositionalArgs { return rangeArgs(len(names), names...) }

// rangeArgs takes arguments by name, of which the first min are required.
func rangeArgs(minimum int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < minimum {
			return usagef("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):minimum], " and "))
		}
		if len(args) > len(names) {
			return usagef("%s takes at most %d argument(s), but %q is given too", cmd.CommandPath(), len(names), args[len(names)])
		}
		return nil
	}
}

// someArgs takes one argument or more.
func someArgs(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s needs %s", cmd.CommandPath(), name)
		}
		return nil
	}
}

func (t *tow) printf(format string, args ...any) { fmt.Fprintf(t.Stdout, format, args...) }

// notef tells something beside the output, so that the output stays what scripts expect. Calls that go on at once tell theirs whole.
func (t *tow) notef(format string, args ...any) {
	t.notes.Lock()
	defer t.notes.Unlock()
	fmt.Fprintf(t.Stderr, format+"\n", args...)
}
