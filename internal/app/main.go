package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Main runs towpathd's command line and gives its exit code: 0 after a clean stop, 1 for an error, 2 for wrong usage.
func Main(version string, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "towpathd", Short: "Towpath's server", SilenceUsage: true, SilenceErrors: true, Version: version,
		Long: "towpathd serves Towpath: intent and history (catalog), rendering (renderer), Git (committer), clusters (drift), and\nREST, portal and repositories over HTTP (gateway). All of it in one process by default.",
	}
	code := 0
	root.AddCommand(serveCommand(version, stderr), migrateCommand(stdout), renderCommand(version, func(c int) { code = c }))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return code
	}
	fmt.Fprintln(stderr, "towpathd:", describe(err))
	if errs.Is(err, errs.Invalid) || strings.HasPrefix(err.Error(), "unknown ") {
		return 2
	}
	return 1
}

// describe gives all of an error: this is the operator's own terminal.
func describe(err error) string {
	var e *errs.Error
	if errors.As(err, &e) && len(e.Fields) > 0 {
		lines := make([]string, 0, len(e.Fields))
		for _, f := range e.Fields {
			lines = append(lines, "  "+f.Path+": "+f.Problem)
		}
		return "it cannot start like this:\n" + strings.Join(lines, "\n")
	}
	return err.Error()
}

// flags are what the command line adds to Config.
type flags struct {
	targets                                   []string
	readyFile, logLevel, logFormat, tokenFile string
	adminFile, driftKeyFile                   string
	addresses                                 map[Target]*string
	access                                    accessFlags
}

// collectLess lets the heap grow to four times what lives before it is collected, unless GOGC says otherwise. What lives is
// small, so the default collects all the time: a read over gRPC costs a third less like this, for some tens of megabytes.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
}

func serveCommand(version string, stderr io.Writer) *cobra.Command {
	cfg := Config{Version: version}
	f := flags{addresses: map[Target]*string{}}
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve until interrupted", Args: cobra.NoArgs,
		Example: "  towpathd serve --data-dir /var/lib/towpath --kubeconfig ~/.kube/config\n" +
			"  towpathd serve --data-dir /var/lib/towpath --target catalog,gateway --service-token-file /etc/towpath/service-token \\\n" +
			"    --renderer-addr 10.0.0.2:7081 --committer-addr 10.0.0.3:7081 --drift-addr 10.0.0.4:7081",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.access.apply(cmd.Flags(), os.Getenv, &cfg); err != nil {
				return err
			}
			collectLess()
			return runServe(cmd.Context(), cfg, f, stderr)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&f.targets, "target", []string{string(All)}, "what to run: all, or some of catalog,renderer,committer,drift,gateway")
	fs.StringVar(&cfg.DataDir, "data-dir", "", "folder of everything that is kept (required)")
	fs.StringVar(&cfg.Store, "store", "", "etcd of the catalog, etcd://host:2379,host2:2379/prefix, for several catalog processes (default: a file in the data folder)")
	fs.StringVar(&f.adminFile, "admin-token-file", "", "file with the secret of the first admin (default: made up and kept in DATA-DIR/admin-token)")
	fs.StringVar(&cfg.GRPCListen, "grpc-listen", "", "address of the gRPC API (default 127.0.0.1:7081)")
	fs.StringVar(&cfg.HTTPListen, "http-listen", "", "address of REST, portal, repositories and metrics (default 127.0.0.1:7080)")
	fs.StringVar(&cfg.NATSListen, "nats-listen", "", "address of the embedded event server (default 127.0.0.1:7082)")
	fs.StringVar(&cfg.NATSURL, "nats-url", "", "use this event server instead of the embedded one")
	fs.StringVar(&cfg.NATSSeeds, "nats-seeds", "", "folder with the nkey seeds of the roles for --nats-url (catalog.nk, committer.nk, drift.nk)")
	fs.StringVar(&cfg.NATSCreds, "nats-creds", "", "credentials file for --nats-url, instead of --nats-seeds")
	fs.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "cluster of targets that name none (default: the one this process runs in)")
	cfg.ClusterAudit.add(fs)
	fs.StringVar(&cfg.CredentialsDir, "credentials-dir", "", "folder with the Git credentials, a file or folder each (default DATA-DIR/credentials)")
	cfg.Credentials.add(fs)
	addClusterFlags(fs, &cfg)
	fs.StringVar(&f.driftKeyFile, "drift-key-file", "", "file with the secret by which drift masks secret values, the same for all drift processes and for ever (default: kept in DATA-DIR)")
	fs.StringVar(&cfg.History, "history", "", "where old history goes: a folder, or s3://BUCKET/PREFIX?endpoint=HOST:PORT (default DATA-DIR/catalog/history; with --store it stays in the store)")
	fs.DurationVar(&cfg.ArchiveAfter, "archive-after", 0, "age from which history goes there (default 2160h, which is 90 days)")
	fs.DurationVar(&cfg.RepublishAfter, "republish-after", 0, "how long a deployment may have no effect before its command is looked for (default 30s)")
	fs.DurationVar(&cfg.PullInterval, "pull-interval", 0, "how often an open pull request is asked about; webhooks make it faster (default 1m)")
	fs.StringVar(&cfg.PublicURL, "public-url", "", "where people find the portal, such as https://towpath.example.com, for links in pull requests and for signing in")
	fs.DurationVar(&cfg.AckWait, "ack-wait", 0, "how long work that a killed process had begun waits until it is begun again (default 30s)")
	fs.StringVar(&f.tokenFile, "service-token-file", "", "file with the secret that the processes of one installation share")
	for _, t := range targets[:4] {
		f.addresses[t] = fs.String(string(t)+"-addr", "", "gRPC address of the "+string(t)+" where it runs in another process")
	}
	f.access.add(fs)
	fs.StringVar(&f.readyFile, "ready-file", "", "written, as shell variables, once everything listens; removed at the end")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "json", "json or text")
	return cmd
}

func runServe(ctx context.Context, cfg Config, f flags, stderr io.Writer) error {
	for _, t := range f.targets {
		cfg.Targets = append(cfg.Targets, Target(t))
	}
	cfg.Addresses = map[Target]string{}
	for t, a := range f.addresses {
		cfg.Addresses[t] = *a
	}
	var err error
	if cfg.Log, err = newLog(f, stderr); err != nil {
		return err
	}
	if cfg.ServiceToken, err = readSecret("--service-token-file", f.tokenFile); err != nil {
		return err
	}
	if cfg.AdminToken, err = readSecret("--admin-token-file", f.adminFile); err != nil {
		return err
	}
	if cfg.DriftKey, err = readSecret("--drift-key-file", f.driftKeyFile); err != nil {
		return err
	}
	if f.readyFile != "" {
		cfg.Ready = func(e Endpoints) {
			if err := writeReady(f.readyFile, e); err != nil {
				cfg.Log.Error("the ready file cannot be written", "error", err)
			}
		}
		defer os.Remove(f.readyFile)
	}
	a, err := cfg.Complete()
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// minSecret keeps a secret that opens everything from being guessed.
const minSecret = 16

// readSecret reads the file that a flag names; none when it names none.
func readSecret(flag, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", errs.InvalidField(flag, "%v", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < minSecret {
		return "", errs.InvalidField(flag, "holds fewer than %d characters; write a longer random secret", minSecret)
	}
	return secret, nil
}

func newLog(f flags, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, errs.InvalidField("--log-level", "%q is not debug, info, warn or error", f.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	default:
		return nil, errs.InvalidField("--log-format", "%q is not json or text", f.logFormat)
	}
}

// writeReady writes the whole file or nothing, because others wait for it to appear.
func writeReady(file string, e Endpoints) error {
	text := fmt.Sprintf("TOWPATH_GRPC=%s\nTOWPATH_HTTP=%s\nTOWPATH_NATS=%s\nTOWPATH_ADMIN_TOKEN_FILE='%s'\n", e.GRPC, e.HTTP, e.NATS, e.AdminTokenFile)
	tmp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
