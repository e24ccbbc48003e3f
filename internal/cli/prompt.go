package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask; needed where there is no terminal")
}

// confirm asks a person before something is taken away. A script must say --yes: silence is never a yes.
func (t *tow) confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if !t.InTerminal {
		return usagef("this would %s; there is no terminal to ask at, so say --yes", what)
	}
	fmt.Fprintf(t.Stderr, "%s%s? [y/N] ", strings.ToUpper(what[:1]), what[1:])
	line, err := bufio.NewReader(t.Stdin).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	if err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return errs.New(errs.Cancelled, errorsv1.Reason_REASON_CANCELLED, "nothing was done")
}
