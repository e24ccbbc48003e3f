package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// versionTime bounds how long `tow version` waits for a server: it is asked in scripts and bug reports, also where there is none.
const versionTime = 2 * time.Second

// versions is what `tow version` knows.
type versions struct {
	Client string `json:"client"`
	Server string `json:"server"`
	// Address is the server that was asked.
	Address string `json:"address"`
	// Message says how the two go together, or why the server's is not known.
	Message string `json:"message"`
}

func (t *tow) versionCmd() *cobra.Command {
	var client bool
	var format string
	cmd := &cobra.Command{
		Use: "version", Short: "Show the versions of tow and of the server", Args: noArgs,
		Long: `Shows the version of this program and of the server that it talks to, and says when the two are too far apart. A server that does not
answer is no error. --client asks none.`,
		Example: "  tow version\n  tow version --client\n  tow version -o json",
	}
	cmd.Flags().BoolVar(&client, "client", false, "show the version of this program alone")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		v := versions{Client: t.Version}
		if !client {
			t.askVersion(ctx, &v)
		}
		if done, err := p.document(v, v.Client); done {
			return err
		}
		t.printf("tow %s\n", v.Client)
		if v.Server != "" {
			t.printf("server %s at %s\n", clean(v.Server), v.Address)
		}
		if v.Message != "" {
			t.notef("%s", v.Message)
		}
		return nil
	})
	return cmd
}

// askVersion fills in what the server says.
func (t *tow) askVersion(ctx context.Context, v *versions) {
	to, err := t.connection()
	if err != nil {
		v.Message = "the server is not known: " + err.Error()
		return
	}
	v.Address = to.Server
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	c, err := t.api()
	if err == nil {
		c.retry = 0
		var who *catalogv1.WhoAmIResponse
		if who, err = c.access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{}); err == nil {
			v.Server = who.GetServerVersion()
			v.Message = skew(v.Client, v.Server)
			return
		}
	}
	v.Message = "the server's version is not known: " + errs.Message(err)
}

// skew says when client and server are more than one minor version apart: within that, each knows what the other says. Versions that
// are no releases cannot be compared.
func skew(client, server string) string {
	mine, ok := majorMinor(client)
	theirs, known := majorMinor(server)
	switch {
	case server == "":
		return "the server does not tell its version: it is older than tow; upgrade it"
	case !ok || !known || mine == theirs:
		return ""
	case mine[0] == theirs[0] && max(mine[1]-theirs[1], theirs[1]-mine[1]) <= 1:
		return ""
	case mine[0] < theirs[0] || mine[0] == theirs[0] && mine[1] < theirs[1]:
		return fmt.Sprintf("warning: tow %s is older than the server %s by more than a minor version; upgrade tow", client, server)
	}
	return fmt.Sprintf("warning: tow %s is newer than the server %s by more than a minor version; some of what it can do, the server cannot", client, server)
}

// majorMinor reads v1.2.3 and what follows it.
func majorMinor(v string) ([2]int, bool) {
	var out [2]int
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) < 3 {
		return out, false
	}
	for i := range out {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return out, false
		}
		out[i] = n
	}
	return out, true
}
