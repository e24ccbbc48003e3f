package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// finishCompletion gives every flag and argument that has no completion of its own what its name promises. Without it a shell offers
// file names wherever nothing is said, which is wrong nearly everywhere.
func (t *tow) finishCompletion(cmd *cobra.Command, byName map[string]completer) {
	for _, c := range cmd.Commands() {
		t.finishCompletion(c, byName)
	}
	if cmd.HasSubCommands() {
		return
	}
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = noCompletion
		if strings.Contains(cmd.Use, "FILE...") || strings.HasSuffix(cmd.Use, "DIR") {
			cmd.ValidArgsFunction = nil // files
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, has := cmd.GetFlagCompletionFunc(f.Name); has || f.Value.Type() == "bool" || isFileFlag(f) {
			return
		}
		complete(cmd, f.Name, firstCompleter(byName[f.Name], noCompletion))
	})
}

func firstCompleter(all ...completer) completer {
	return all[slices.IndexFunc(all, func(f completer) bool { return f != nil })]
}

// isFileFlag tells whether a flag takes a file, which shells complete by themselves.
func isFileFlag(f *pflag.Flag) bool {
	switch f.Name {
	case "file", "overrides", "definition", "definitions", "provisioners", "guardrails", "check", "archive", "archive-to", "cert",
		"kubeconfig", "token-path", "schema":
		return true
	case "output", "input":
		return f.DefValue != "table" // the results of commands go to -o FILE in a few of them
	}
	return strings.HasSuffix(f.Name, "-file")
}

// completers are what flags complete by their names, in all commands that have them.
func (t *tow) completers() map[string]completer {
	fixed := func(words ...string) completer {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	return map[string]completer{
		"app": t.applications().completer(t), "env": t.completeEnvs, "type": t.environmentTypes().completer(t), "target": t.targets().completer(t),
		"repository": t.repositories().completer(t), "workload": t.completeWorkloads, "container": t.completeWorkloadContainers,
		"role": fixed(roleNames...), "scope": t.completeScopes, "draft": t.completeDrafts, "object": t.completeLive,
		"engine":         fixed(strings.Split(strings.ToLower(strings.Join(enumWords(catalogv1.Target_Engine_name, "ENGINE_"), " ")), " ")...),
		"foreign-policy": fixed(lowerWords(committerv1.ForeignPolicy_name, "FOREIGN_POLICY_")...),
		"action":         fixed(actionWords()...),
	}
}

func lowerWords(names map[int32]string, prefix string) []string {
	words := enumWords(names, prefix)
	for i, w := range words {
		words[i] = strings.ToLower(w)
	}
	return words
}

// envOfCommand gives the environment that a command line is about: of --env, of --from, or of its first argument.
func envOfCommand(cmd *cobra.Command, args []string) (string, error) {
	if f := cmd.Flags().Lookup("env"); f != nil && f.Value.String() != "" {
		return envName(f.Value.String())
	}
	if f := cmd.Flags().Lookup("from"); f != nil && f.Value.String() != "" { // a new one has what its source has
		return envName(f.Value.String())
	}
	if len(args) > 0 {
		env, _, _ := strings.Cut(args[0], "#") // a deployment of it
		return envName(env)
	}
	return "", usagef("there is no environment")
}

// completeWorkloadContainers gives the containers of the workload in --workload or the first argument, of all workloads where there is none.
func (t *tow) completeWorkloadContainers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfFlag(cmd)
		if err != nil {
			return nil, err
		}
		_, set, err := intentOf(ctx, c, env)
		if err != nil {
			return nil, err
		}
		var chosen string
		if f := cmd.Flags().Lookup("workload"); f != nil {
			chosen = f.Value.String()
		} else if len(args) > 0 {
			chosen = args[0]
		}
		names := map[string]bool{}
		for name, w := range set.GetWorkloads() {
			if chosen != "" && name != chosen {
				continue
			}
			for container := range w.GetFields()["containers"].GetStructValue().GetFields() {
				names[container] = true
			}
		}
		return slices.Sorted(maps.Keys(names)), nil
	})
}

// completeScopes gives where a role can hold: applications and environment types.
func (t *tow) completeScopes(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, s := range []struct {
		collection string
		of         completer
	}{{applications, t.applications().completer(t)}, {environmentTypes, t.environmentTypes().completer(t)}} {
		ids, _ := s.of(cmd, nil, prefix)
		for _, id := range ids {
			out = append(out, s.collection+"/"+id)
		}
	}
	return without(out, args), cobra.ShellCompDirectiveNoFileComp
}

// completeDrafts gives the drafts of the environment's application by their ids.
func (t *tow) completeDrafts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfCommand(cmd, args)
		if err != nil {
			return nil, err
		}
		items, _, err := listDraftsPage(ctx, c, strings.Join(strings.Split(env, "/")[:2], "/"), 1000, "")
		var out []string
		for _, d := range items {
			out = append(out, cobra.CompletionWithDesc(last(d.GetName()), d.GetDisplayName()))
		}
		return out, err
	})
}

// completeForeignFolders gives the folders of the environment in which others changed something.
func (t *tow) completeForeignFolders(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfCommand(cmd, args)
		if err != nil {
			return nil, err
		}
		e, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: env})
		var out []string
		for _, f := range e.GetForeignChanges() {
			out = append(out, f.GetPath())
		}
		return out, err
	})
}

// completeAuditEvents gives the newest events of the audit trail.
func (t *tow) completeAuditEvents(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		l, err := c.access.ListAuditEvents(ctx, &catalogv1.ListAuditEventsRequest{PageSize: 30})
		var out []string
		for _, e := range l.GetAuditEvents() {
			out = append(out, cobra.CompletionWithDesc(last(e.GetName()), e.GetActor()+" "+e.GetAction()+" "+e.GetResource()))
		}
		return out, err
	})
}

// completeVariableVersions gives the versions of the variable in the first argument.
func (t *tow) completeVariableVersions(v *variableScope) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
			if len(args) == 0 {
				return nil, usagef("there is no variable")
			}
			name, err := v.name(args[0])
			if err != nil {
				return nil, err
			}
			l, err := c.variables().ListVariableVersions(ctx, &catalogv1.ListVariableVersionsRequest{Parent: name, PageSize: 100})
			var out []string
			for _, m := range l.GetVariables() {
				out = append(out, cobra.CompletionWithDesc(itoa(m.GetVersion()), variableValue(m)))
			}
			return out, err
		})
	}
}
