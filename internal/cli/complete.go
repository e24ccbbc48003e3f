package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// Completions come from the server. They must never wait long or write anything: a shell shows both in the middle of a line.
const completionTime = 2 * time.Second

type completer = cobra.CompletionFunc

// complete sets the completion of a flag. It can only fail when the flag does not exist, which is a mistake of ours.
func complete(cmd *cobra.Command, flag string, f completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// completeFlag sets the completion of a flag for those of the commands that have it.
func completeFlag(flag string, f completer, cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		if cmd.Flags().Lookup(flag) != nil {
			complete(cmd, flag, f)
		}
	}
}

func (t *tow) completionCmd(root *cobra.Command) *cobra.Command {
	shell := func(name, how string, generate func() error) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: "Write the completion script for " + name, Args: noArgs,
			Long:    "Writes the completion script for " + name + " to standard output.\n\n" + how,
			Example: "  " + how, RunE: t.run(func(context.Context, []string) error { return generate() }),
		}
	}
	return t.group("completion", "Write a shell's completion script",
		"Writes a script that completes commands, flags, and what is on the server: applications, environments, deployments, findings.",
		"  source <(tow completion bash)",
		shell("bash", "source <(tow completion bash)", func() error { return root.GenBashCompletionV2(t.Stdout, true) }),
		shell("zsh", `tow completion zsh > "${fpath[1]}/_tow"`, func() error { return root.GenZshCompletion(t.Stdout) }),
		shell("fish", "tow completion fish | source", func() error { return root.GenFishCompletion(t.Stdout, true) }),
		shell("powershell", "tow completion powershell | Out-String | Invoke-Expression", func() error { return root.GenPowerShellCompletionWithDesc(t.Stdout) }))
}

// ask runs a question to the server for a completion; whatever goes wrong is no completion.
func (t *tow) ask(cmd *cobra.Command, question func(ctx context.Context, c *client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	t.completing = true
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	c, err := t.api()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	out, err := question(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (n noun[T]) completer(t *tow) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
			items, err := pages(ctx, func(ctx context.Context, size int32, token string) ([]T, string, error) {
				return n.list(ctx, c, size, token)
			})
			return without(shortNames(items), args), err
		})
	}
}

// completeOnce completes the first argument only.
func completeOnce(f completer) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, prefix)
	}
}

func shortNames[T named](items []T) []string {
	var out []string
	for _, m := range items {
		out = append(out, short(m.GetName()))
	}
	return out
}

func without(all, given []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return slices.Contains(given, s) })
}

// envFlagVar adds the flag --env.
func (t *tow) envFlagVar(cmd *cobra.Command, env *string, usage string) {
	cmd.Flags().StringVarP(env, "env", "e", "", usage)
	complete(cmd, "env", t.completeEnvs)
}

func (t *tow) completeEnvs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return t.environments().completer(t)(cmd, args, prefix)
}

func (t *tow) completeApps(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return completeOnce(t.applications().completer(t))(cmd, args, prefix)
}

// completeDeployments gives the numbers of the newest deployments of the environment in --env, with their states.
func (t *tow) completeDeployments(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfFlag(cmd)
		if err != nil {
			return nil, err
		}
		l, err := c.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: env, PageSize: 30})
		var out []string
		for _, d := range l.GetDeployments() {
			out = append(out, cobra.CompletionWithDesc(last(d.GetName()), stateName(d.GetState())+" "+d.GetMessage()))
		}
		return out, err
	})
}

func envOfFlag(cmd *cobra.Command) (string, error) {
	f := cmd.Flags().Lookup("env")
	if f == nil {
		return "", usagef("there is no --env")
	}
	return envFlag(f.Value.String())
}

// completeFindings gives the open findings of the environment in --env.
func (t *tow) completeFindings(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfFlag(cmd)
		if err != nil {
			return nil, err
		}
		all, err := findingsOf(ctx, c, env, nil)
		var out []string
		for _, f := range all {
			if id := last(f.GetName()); !slices.Contains(args, id) {
				out = append(out, cobra.CompletionWithDesc(id, objectOf(f)+" "+f.GetField()))
			}
		}
		return out, err
	})
}

// completeWorkloads gives the workloads of the environment that a command line is about.
func (t *tow) completeWorkloads(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfCommand(cmd, args)
		if err != nil {
			return nil, err
		}
		_, set, err := intentOf(ctx, c, env)
		return without(slices.Sorted(maps.Keys(set.GetWorkloads())), args), err
	})
}

func (t *tow) completeContexts(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	t.completing = true
	cfg, err := t.loadConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := slices.Sorted(maps.Keys(cfg.Contexts))
	return slices.DeleteFunc(names, func(s string) bool { return !strings.HasPrefix(s, prefix) }), cobra.ShellCompDirectiveNoFileComp
}

// noCompletion keeps shells from offering file names where none is meant.
var noCompletion = cobra.NoFileCompletions

// completeResources gives applications and environments: what actions are done to.
func (t *tow) completeResources(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(prefix, "/") {
		return t.environments().completer(t)(cmd, args, prefix)
	}
	apps, directive := t.applications().completer(t)(cmd, args, prefix)
	envs, _ := t.environments().completer(t)(cmd, args, prefix)
	return append(apps, envs...), directive
}
