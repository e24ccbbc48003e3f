package cli

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func (t *tow) gitCredentialCmd() *cobra.Command {
	return &cobra.Command{
		Use: "credential get|store|erase", Short: "Give git the token, as a credential helper", Args: exactArgs("get, store or erase, as git says"),
		Long: `Is a credential helper of git: it reads what git asks for from standard input and answers with the token of the current context,
for the host of that context's server only. So a clone of a repository that towpathd keeps needs no password in its URL.`,
		Example:   "  git config --global credential.http://127.0.0.1:7080.helper '!tow git credential'\n  git -c credential.helper='!tow git credential' clone $(tow repo clone-url default)",
		ValidArgs: []string{"get", "store", "erase"},
		RunE: t.run(func(_ context.Context, args []string) error {
			if args[0] == "store" || args[0] == "erase" {
				return nil // the token is where `tow login` has put it
			}
			if args[0] != "get" {
				return usagef("%q is none of get, store and erase", args[0])
			}
			return t.giveCredential()
		}),
	}
}

// giveCredential answers git's question, with nothing where it is about another host: then git asks somebody else.
func (t *tow) giveCredential() error {
	asked := map[string]string{}
	for in := bufio.NewScanner(io.LimitReader(t.Stdin, 64<<10)); in.Scan(); {
		key, value, _ := strings.Cut(in.Text(), "=")
		asked[key] = value
	}
	to, err := t.connection()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(to.Server)
	if err != nil {
		return usagef("%q is no server address; give host:port such as %s", to.Server, defaultServer)
	}
	u := url.URL{Host: asked["host"]}
	plain := asked["protocol"] == "http" && !to.TLS
	if u.Hostname() != host || !plain && asked["protocol"] != "https" || to.Token == "" {
		return nil
	}
	t.printf("username=tow\npassword=%s\n", to.Token)
	return nil
}

func (t *tow) cloneURLCmd() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "clone-url NAME", Short: "Show from where git clones a repository", Args: exactArgs("the id of a repository"),
		Long: `Shows the URL that git clones a repository from. One that towpathd keeps is served beside the portal; git asks for a user name,
which does not matter, and a password, which is a Towpath token. It takes the right to read everything in Git, which every role
that is not bound to applications or environment types has; tow itself gives git the token, see ` + "`tow git credential`" + `.`,
		Example: "  tow repo clone-url default\n  git -c credential.helper='!tow git credential' clone $(tow repo clone-url default)",
	}
	cmd.Flags().StringVar(&at, "http", "", "address of the portal, such as https://towpath.example.com; found out of the server's when left out")
	cmd.ValidArgsFunction = completeOnce(t.repositories().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		base, err := t.portalURL(at)
		if err != nil {
			return err
		}
		name, err := repoName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		m, err := c.GetRepository(ctx, &catalogv1.GetRepositoryRequest{Name: name})
		if err != nil {
			return err
		}
		inside, kept := strings.CutPrefix(m.GetUrl(), "embedded:///")
		if !kept {
			t.printf("%s\n", m.GetUrl())
			return nil
		}
		if base == "" {
			return usagef("where is the portal? give --http, such as --http https://towpath.example.com")
		}
		t.printf("%s/git/%s.git\n", base, strings.TrimSuffix(inside, ".git"))
		return nil
	})
	return cmd
}

// portalURL gives the portal's address: what is given, or for a server on the port of every new installation, the port beside it.
func (t *tow) portalURL(given string) (string, error) {
	if given != "" {
		u, err := url.Parse(given)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return "", usagef("--http %q is no address; give one such as https://towpath.example.com", given)
		}
		return strings.TrimRight(u.String(), "/"), nil
	}
	to, err := t.connection()
	if err != nil {
		return "", err
	}
	host, isDefault := strings.CutSuffix(to.Server, ":7081")
	if !isDefault {
		return "", nil // nobody knows; only a repository that towpathd keeps needs it
	}
	scheme := "http"
	if to.TLS {
		scheme = "https"
	}
	return scheme + "://" + host + ":7080", nil
}
