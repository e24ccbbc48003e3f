package cli

import (
	"context"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) openCmd() *cobra.Command {
	var env, http string
	var printOnly bool
	cmd := &cobra.Command{
		Use: "open [-e APP/ENV]", Short: "Open an environment in the portal", Args: noArgs,
		Long: `Opens the portal's page of an environment in the browser, or without -e its first page. Where no browser can be opened, as in a
script, it prints the address. The browser is that of $BROWSER, else the system's.`,
		Example: "  tow open -e shop/dev\n  tow open --print-url -e shop/dev",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().BoolVar(&printOnly, "print-url", false, "print the address and open nothing")
	cmd.Flags().StringVar(&http, "http", "", "address of the portal, such as https://towpath.example.com; the server's own word when left out")
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		path := ""
		if env != "" {
			name, err := envName(env)
			if err != nil {
				return err
			}
			path = "#/" + short(name)
		}
		base, err := t.portal(ctx, http)
		if err != nil {
			return err
		}
		address := base + "/" + path
		if !printOnly && t.OutTerminal && t.browse(ctx, address) {
			t.notef("opened %s", address)
		} else {
			t.printf("%s\n", address)
		}
		return nil
	})
	return cmd
}

// portal gives the portal's address: what is given, what the server says, or where a new installation has it.
func (t *tow) portal(ctx context.Context, given string) (string, error) {
	if given == "" {
		c, err := t.api()
		if err != nil {
			return "", err
		}
		who, err := c.access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
		if err != nil {
			return "", err
		}
		given = strings.TrimRight(who.GetPortalUrl(), "/")
	}
	base, err := t.portalURL(given)
	if err == nil && base == "" {
		err = usagef("where is the portal? the server does not say (towpathd --public-url); give --http, such as --http https://towpath.example.com")
	}
	return base, err
}

// browse opens an address in the browser, and reports whether there is one.
func (t *tow) browse(ctx context.Context, address string) bool {
	words := strings.Fields(t.Getenv("BROWSER"))
	switch {
	case len(words) > 0:
	case runtime.GOOS == "darwin":
		words = []string{"open"}
	case runtime.GOOS == "windows":
		words = []string{"rundll32", "url.dll,FileProtocolHandler"}
	default:
		words = []string{"xdg-open"}
	}
	return exec.CommandContext(ctx, words[0], append(words[1:], address)...).Run() == nil
}
