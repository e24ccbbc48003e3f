// Package cli is the command line tow: a client of the gRPC API and nothing else. There is one file for each noun or verb that
// people type; what several of them need (connection, printing, waiting, prompts) has a file of its own. It never imports a
// database, an event bus, Git or a Kubernetes client, so that the binary stays small and everything that tow can do, other
// programs can do too. The one exception is `tow render`, which works offline with the renderer's pure packages.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"golang.org/x/term"
)

// Env is everything that the command line takes from its process, so that tests can run it without one.
type Env struct {
	// Args are the arguments without the program's name.
	Args []string
	// Stdin, Stdout and Stderr are the standard streams.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv reads an environment variable.
	Getenv func(string) string
	// Now is the clock, for relative times.
	Now func() time.Time
	// Version is what the binary calls itself.
	Version string
	// InTerminal and OutTerminal tell whether a person sits at input and output.
	InTerminal, OutTerminal bool
	// Width gives the width of the output's terminal in columns; 0 when it has none.
	Width func() int
	// Height gives its lines; 0 when it has none.
	Height func() int
	// ReadSecret reads a line from the terminal without showing it.
	ReadSecret func() (string, error)
	// Engines are what a program has for rendering beside what tow has; none in tow.
	Engines
}

// Main runs the process's command line and gives its exit code (`tow help exit-codes`).
func Main(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, processEnv(version))
}

// processEnv is the Env of this process.
func processEnv(version string) Env {
	out := int(os.Stdout.Fd())
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Version: version,
		InTerminal: term.IsTerminal(int(os.Stdin.Fd())), OutTerminal: term.IsTerminal(out),
		Width:  func() int { w, _ := terminalSize(out); return w },
		Height: func() int { _, h := terminalSize(out); return h },
		ReadSecret: func() (string, error) {
			b, err := term.ReadPassword(int(os.Stdin.Fd()))
			return string(b), err
		},
	}
}

// terminalSize gives columns and lines of a terminal; 0 where it is none.
func terminalSize(fd int) (width, height int) {
	w, h, err := term.GetSize(fd)
	if err != nil {
		return 0, 0
	}
	return w, h
}

func newTow(env Env) *tow { return &tow{Env: env, notes: new(sync.Mutex)} }

// Run runs one command line and gives its exit code. Errors have been told on Stderr by then.
func Run(ctx context.Context, env Env) int {
	t := newTow(env)
	defer t.close()
	root := t.newRoot()
	root.SetArgs(env.Args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return exitInterrupted
	}
	if !t.started { // cobra's own complaints about flags and arguments
		err = asUsage(err)
	}
	return t.fail(cmd, err)
}

// tow is one run of the command line.
type tow struct {
	Env
	// contextName and server are the global flags.
	contextName, server string
	// colourMode is --color, noPager --no-pager.
	colourMode string
	noPager    bool
	notes      *sync.Mutex // one line of notef at a time
	// started tells that a command's own code runs: errors before that are about flags and arguments.
	started bool
	// completing tells that a shell asks for completions: nobody wants to wait or to read messages.
	completing bool
	// files tells to show the differences of files with a plan.
	files  bool
	client *client
	// scores are the Score files that were read, for errors to name their lines.
	scores []*rendererv1.ScoreFile
}

func (t *tow) close() {
	if t.client != nil {
		_ = t.client.conn.Close() // nothing is in flight any more
	}
}

// run wraps a command's code, so that its errors are told apart from errors about flags and arguments.
func (t *tow) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		t.started = true
		t.files = asksForFiles(cmd)
		if t.colourMode != "" && !slices.Contains(colourModes, t.colourMode) { // other programs that have a command of ours have no --color
			return usagef("--color %q is none of %s", t.colourMode, strings.Join(colourModes, ", "))
		}
		if t.paged(cmd) {
			return t.throughPager(cmd.Context(), func() error { return f(cmd.Context(), args) })
		}
		return f(cmd.Context(), args)
	}
}

const rootLong = `tow talks to towpathd: it deploys workloads that are described by Score files, shows what runs and since when, finds
what somebody changed in a cluster by hand, and goes back to what ran before.

Applications are called by their id (shop), environments by application and id (shop/dev), deployments by their number.`

const rootExample = `  tow login --server 127.0.0.1:7081 --token-file admin-token
  tow app create shop && tow env create shop/dev --type development
  tow deploy -f score.yaml -e shop/dev --wait
  tow status -e shop/dev`

// Groups of commands in the help, by what people want to do.
const (
	groupDeploy = "deploy"
	groupLook   = "look"
	groupThings = "things"
	groupAccess = "access"
)

func (t *tow) newRoot() *cobra.Command {
	root := t.group("tow", "Deploy through Git, see what runs, undo what drifted", rootLong, rootExample)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(t.Stdin)
	root.SetOut(t.Stdout)
	root.SetErr(t.Stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&t.contextName, "context", "", "use this context of the config file instead of the current one")
	root.PersistentFlags().StringVar(&t.server, "server", "", "the server's gRPC address, host:port (default "+defaultServer+" or the context's)")
	root.PersistentFlags().StringVar(&t.colourMode, "color", "auto", "colours: "+strings.Join(colourModes, ", ")+"; auto is at a terminal, unless NO_COLOR is set")
	root.PersistentFlags().BoolVar(&t.noPager, "no-pager", false, "show long output at once, without a pager")
	complete(root, "context", t.completeContexts)
	complete(root, "color", cobra.FixedCompletions(colourModes, cobra.ShellCompDirectiveNoFileComp))
	complete(root, "server", noCompletion)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return asUsage(err) })
	root.SetHelpCommandGroupID(groupAccess)
	root.AddGroup(
		&cobra.Group{ID: groupDeploy, Title: "Deploy:"}, &cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupThings, Title: "Things:"}, &cobra.Group{ID: groupAccess, Title: "Access and this program:"},
	)
	t.add(root, groupDeploy, t.initCmd(), t.schemaCmd(), t.renderCmd(), t.deployCmd(), t.setCmd(), t.unsetCmd(), t.planCmd(), t.rollbackCmd(), t.promoteCmd(), t.syncCmd(),
		t.approveCmd(), t.rejectCmd(), t.cancelCmd(), t.retryCmd(), t.waitCmd(), t.commentCmd(), t.lockCmd(), t.unlockCmd(), t.setImageCmd(), t.scaleCmd(), t.draftCmd(), t.adoptCmd())
	t.add(root, groupLook, t.statusCmd(), t.historyCmd(), t.outputsCmd(), t.graphCmd(), t.getCmd(), t.logsCmd(), t.diffCmd(), t.explainFieldsCmd(), t.driftCmd(), t.foreignCmd(), t.gitCmd(), t.eventsCmd(), t.metricsCmd(), t.openCmd())
	t.add(root, groupThings, t.appCmd(), t.envCmd(), t.varCmd(), t.secretCmd(), t.typeCmd(), t.targetCmd(), t.repoCmd(), t.definitionCmd(), t.guardrailCmd())
	t.add(root, groupAccess, t.loginCmd(), t.contextCmd(), t.whoamiCmd(), t.authCmd(), t.tokenCmd(), t.roleBindingCmd(), t.policyCmd(), t.auditCmd(), t.backupCmd(), t.restoreCmd(),
		t.completionCmd(root), t.versionCmd(), t.docsCmd(root))
	root.AddCommand(helpTopics()...)
	t.finishCompletion(root, t.completers())
	return root
}

func (t *tow) add(root *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// group makes a command that only holds others. Without one it shows its help; a wrong one is a usage error and not silence.
func (t *tow) group(use, short, long, example string, cmds ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: cobra.ArbitraryArgs}
	g.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		msg := "unknown command \"" + args[0] + "\" for \"" + cmd.CommandPath() + "\""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			msg += "; did you mean \"" + near[0] + "\"?"
		}
		return usagef("%s", msg)
	}
	g.SuggestionsMinimumDistance = 2
	g.AddCommand(cmds...)
	return g
}
