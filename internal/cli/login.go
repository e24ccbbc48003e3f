package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

type loginFlags struct {
	token, tokenFile, caFile string
	path, exec               string
	stdin, tls               bool
}

func (t *tow) loginCmd() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use: "login", Short: "Check a token and store it with its server", Args: noArgs,
		Long: `Asks the server who the token belongs to, and writes server and token to the config file as a context, which becomes the
current one. The file is ~/.config/tow/config.yaml, or what TOW_CONFIG names; only its owner can read it.

Give --token-file or --token-stdin rather than --token, which other users of the machine can see. In a terminal without any of
them, tow asks for the token. The token of an identity provider does not live long: give --token-path or --token-exec, and tow gets
a fresh one each time. The server that towpathd starts with has its first token in the file admin-token of its data folder.`,
		Example: `  tow login --server 127.0.0.1:7081 --token-file .towpath/data/admin-token
  tow login --server towpath.example.com:443 --tls --context production --token-stdin < token`,
		RunE: t.run(func(ctx context.Context, _ []string) error { return t.login(ctx, f) }),
	}
	cmd.Flags().StringVar(&f.token, "token", "", "the token itself")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "read the token from this file")
	cmd.Flags().BoolVar(&f.stdin, "token-stdin", false, "read the token from standard input")
	cmd.Flags().StringVar(&f.path, "token-path", "", "read the token from this file at every call, and store only the path: for tokens that are renewed")
	cmd.Flags().StringVar(&f.exec, "token-exec", "", "run this command (split at spaces) for the token at every call, and store only the command: a credential helper")
	cmd.Flags().BoolVar(&f.tls, "tls", false, "connect with TLS, as to a server behind a proxy that does it")
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "PEM file of the authority that signed the server's certificate (implies --tls)")
	cmd.MarkFlagsMutuallyExclusive("token", "token-file", "token-stdin", "token-path", "token-exec")
	return cmd
}

func (t *tow) login(ctx context.Context, f loginFlags) error {
	to, got, err := f.source()
	if err != nil {
		return err
	}
	if !got {
		if to.Token, err = t.readToken(f); err != nil {
			return err
		}
	}
	cfg, err := t.loadConfig()
	if err != nil {
		return err
	}
	to.Server, to.TLS, to.CAFile = firstOf(t.server, t.Getenv("TOW_SERVER"), defaultServer), f.tls || f.caFile != "", f.caFile
	now, err := t.withToken(to)
	if err != nil {
		return err
	}
	if t.client, err = t.dial(now); err != nil {
		return err
	}
	who, err := t.client.access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
	if errs.Is(err, errs.Unauthenticated) {
		return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "the server at %s does not know this token, or it has expired", to.Server).
			With("tow_hint", "an admin makes a new one: tow token create NAME --role developer")
	}
	if err != nil {
		return err
	}
	name := firstOf(t.contextName, defaultContext)
	cfg.Contexts[name], cfg.Current = &to, name
	path, err := t.saveConfig(cfg)
	if err != nil {
		return err
	}
	t.printf("logged in to %s as %s (%s)%s\ncontext %s in %s\n", to.Server, who.GetSubject(), roleName(who.GetRole()), to.asWhom(), name, path)
	return nil
}

func (t *tow) readToken(f loginFlags) (string, error) {
	var token string
	switch {
	case f.token != "":
		token = f.token
	case f.tokenFile != "":
		b, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token = string(b)
	case f.stdin:
		b, err := io.ReadAll(io.LimitReader(t.Stdin, 64<<10))
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token = string(b)
	case t.Getenv("TOW_TOKEN") != "":
		token = t.Getenv("TOW_TOKEN")
	case t.InTerminal:
		fmt.Fprint(t.Stderr, "Token: ")
		line, err := t.ReadSecret()
		fmt.Fprintln(t.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token = line
	default:
		return "", usagef("which token? give --token-file or --token-stdin, or set TOW_TOKEN")
	}
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", usagef("what was given is no token: it is one word such as tow_...")
	}
	return token, nil
}

func (t *tow) whoamiCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show whom the server takes you for", Args: noArgs,
		Long:    "Shows who you are to the server, your greatest role, your groups, and which roles you have where.",
		Example: "  tow whoami\n  tow whoami -o json",
		RunE: t.run(func(ctx context.Context, _ []string) error {
			p, err := t.printer(format)
			if err != nil {
				return err
			}
			api, err := t.api()
			if err != nil {
				return err
			}
			who, err := api.access.WhoAmI(ctx, &catalogv1.WhoAmIRequest{})
			if err != nil {
				return err
			}
			if done, err := p.structured(who, who.GetSubject()); done {
				return err
			}
			t.printf("%s (%s) at %s\n", who.GetSubject(), roleName(who.GetRole()), api.server)
			t.printWho(who)
			return nil
		}),
	}
	t.outputFlag(cmd, &format)
	return cmd
}

// printWho shows what there is to know beside subject and role; a plain token has nothing of it.
func (t *tow) printWho(who *catalogv1.WhoAmIResponse) {
	if people := strings.TrimSpace(who.GetDisplayName() + " " + who.GetEmail()); people != "" && who.GetMethod() != "token" {
		t.printf("name    %s\n", clean(people))
	}
	if len(who.GetGroups()) > 0 {
		t.printf("groups  %s\n", clean(strings.Join(who.GetGroups(), ", ")))
	}
	for _, g := range who.GetGrants() {
		if g.GetScope() != "" || len(who.GetGrants()) > 1 {
			t.printf("role    %s: %s\n", roleName(g.GetRole()), firstOf(g.GetScope(), "everywhere"))
		}
	}
}

func (t *tow) contextCmd() *cobra.Command {
	var format string
	list := &cobra.Command{
		Use: "list", Short: "List the contexts", Args: noArgs, Aliases: []string{"ls"},
		Long: "Lists the contexts of the config file, without their tokens. A star marks the current one.", Example: "  tow context list\n  tow context list -o json",
		RunE: t.run(func(context.Context, []string) error { return t.listContexts(format) }),
	}
	t.outputFlag(list, &format)
	use := &cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: exactArgs("the name of a context"),
		Long: "Makes a context the one that commands use when --context names no other.", Example: "  tow context use production",
		RunE: t.run(func(_ context.Context, args []string) error {
			return t.changeContexts(args[0], func(c *config) { c.Current = args[0] }, "using context %s\n")
		}),
	}
	del := &cobra.Command{
		Use: "delete NAME", Short: "Forget a context and its token", Args: exactArgs("the name of a context"),
		Long:    "Removes a context from the config file. The token stays valid on the server; `tow token delete` revokes it.",
		Example: "  tow context delete production",
		RunE: t.run(func(_ context.Context, args []string) error {
			return t.changeContexts(args[0], func(c *config) {
				delete(c.Contexts, args[0])
				if c.Current == args[0] {
					c.Current = ""
				}
			}, "deleted context %s\n")
		}),
	}
	use.ValidArgsFunction, del.ValidArgsFunction = completeOnce(t.completeContexts), completeOnce(t.completeContexts)
	return t.group("context", "List, choose and forget servers", "A context is a server and a token in the config file. `tow login` makes one.",
		"  tow context list\n  tow context use production", list, use, del)
}

// contextLine is a context as programs see it.
type contextLine struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	Current bool   `json:"current"`
}

func (t *tow) listContexts(format string) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	cfg, err := t.loadConfig()
	if err != nil {
		return err
	}
	if len(cfg.Contexts) == 0 {
		t.notef("no contexts yet; make one: tow login --server HOST:PORT --token-file FILE")
	}
	if len(cfg.Contexts) == 0 && (format == "table" || format == "wide") {
		return nil
	}
	rows, names := [][]string{{"", "NAME", "SERVER"}}, slices.Sorted(maps.Keys(cfg.Contexts))
	all := struct {
		Contexts []contextLine `json:"contexts"`
	}{[]contextLine{}}
	for _, name := range names {
		star := ""
		if name == cfg.Current {
			star = "*"
		}
		rows = append(rows, []string{star, name, cfg.Contexts[name].Server})
		all.Contexts = append(all.Contexts, contextLine{name, cfg.Contexts[name].Server, name == cfg.Current})
	}
	if done, err := p.document(all, names...); done {
		return err
	}
	return p.rows(rows)
}

func (t *tow) changeContexts(name string, change func(*config), done string) error {
	cfg, err := t.loadConfig()
	if err != nil {
		return err
	}
	if cfg.Contexts[name] == nil {
		return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "there is no context %q", name).With("tow_hint", "tow context list shows them")
	}
	change(cfg)
	if _, err := t.saveConfig(cfg); err != nil {
		return err
	}
	t.printf(done, name)
	return nil
}
