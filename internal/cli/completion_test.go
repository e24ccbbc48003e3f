package cli_test

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/towpath-dev/towpath/internal/cli"
)

// leaves calls f for every command that does something, with its words: "env", "create".
func leaves(t *testing.T, f func(cmd *cobra.Command, words []string)) {
	t.Helper()
	root := cli.NewRoot(cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }})
	n := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() && c.Runnable() {
			n++
			f(c, strings.Fields(c.CommandPath())[1:])
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if n < 100 {
		t.Fatalf("there are %d commands only", n)
	}
}

// flagNames are the flags that take a name or a word which the server or the API knows, and one that must be offered.
var flagNames = map[string]string{
	"env": "shop/dev", "app": "shop", "type": "development", "target": "default", "repository": "default", "workload": "api", "remove": "api",
	"container": "main", "to": "4", "rollback-to": "4", "deployment": "4", "role": "developer", "scope": "applications/shop", "draft": "next",
	"engine": "argocd", "foreign-policy": "hold", "write-mode": "pull-request", "merge-method": "squash", "forge": "gitea", "secret-strategy": "external-secrets",
	"signing-format": "gpg", "action": "rollback", "state": "FAILED", "decision": "REVERTED", "standing": "ignored", "where": "git", "code": "OK",
	"from": "shop/dev", "context": "", "output": "", "version": "1", "delete": "1",
}

// commandFlags are flags of such a name that have other words in a command.
var commandFlags = map[string]string{"events type": "drift.", "logs container": "name"}

// otherFlags are flags of such a name that mean something else, by command.
var otherFlags = map[string]string{
	"backup output": "a file", "render output": "a folder", "schema output": "a file",
}

// Every flag that takes a name completes it from the server; every other one is left to a decision, and none offers files by
// accident.
func TestFlagsCompleteTheirNames(t *testing.T) {
	a := startAnything(t)
	leaves(t, func(cmd *cobra.Command, words []string) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			want, named := flagNames[f.Name]
			path := strings.Join(append(slices.Clone(words), f.Name), " ")
			if f.Value.Type() == "bool" || otherFlags[path] != "" {
				return
			}
			if commandFlags[path] != "" {
				want = commandFlags[path]
			}
			t.Run(strings.Join(words, "_")+"/"+f.Name, func(t *testing.T) {
				args := append([]string{"__complete"}, words...)
				if cmd.Flags().Lookup("env") != nil && f.Name != "env" && f.Name != "app" {
					args = append(args, "-e", "shop/dev")
				}
				if path == "env create remove" {
					args = append(args, "--from", "shop/dev")
				}
				args = append(args, sampleArgs(cmd)...)
				r := runAnything(t, a, append(args, "--"+f.Name, "")).want(t, 0)
				if !named {
					files := strings.Contains(r.stdout, ":0\n")
					if takesFile := fileFlags.MatchString(f.Name); files != takesFile {
						t.Errorf("files are offered: %v, but the flag says %q", files, f.Usage)
					}
					return
				}
				if !offers(r.stdout, want) {
					t.Errorf("%q is not offered, but\n%s", want, r.stdout)
				}
			})
		})
	})
}

// fileFlags are those that take files.
var fileFlags = regexp.MustCompile(`^(file|.*-file|overrides|definitions?|provisioners|guardrails|check|archive|archive-to|cert|kubeconfig|token-path|schema|input)$`)

func offers(stdout, want string) bool {
	if want == "" {
		return true
	}
	for line := range strings.Lines(stdout) {
		word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if word == want {
			return true
		}
	}
	return false
}

// argNames are the words that stand for arguments in the usage of commands, and one that must be offered.
var argNames = map[string]string{
	"APP/ENV": "shop/dev", "APP": "shop", "APP/DRAFT": "shop/next", "NUMBER": "4", "KEY": "LOG_LEVEL", "WORKLOAD": "api", "ID": "abc", "ACTION": "rollback",
	"DEFINITION": "postgres-rds", "VERSION": "1", "KIND/NAME": "kind/name", "POD": "name", "WHERE": "shop/dev", "FROM": "shop/dev", "TO": "shop/dev",
	"FROM-ENV": "shop/dev", "TO-ENV": "shop/dev", "OBJECT": "kind/name",
}

// nounNames are what NAME stands for below each noun.
var nounNames = map[string]string{
	"app": "shop", "type": "development", "target": "default", "repo": "default", "definition": "postgres-rds", "token": "ci", "role-binding": "checkout",
	"policy": "frozen",
}

// argsOf gives the words that stand for a command's arguments, in order.
func argsOf(cmd *cobra.Command) []string {
	use := strings.NewReplacer("[", " ", "]", " ", "...", " ", "{", " ", "}", " ", "(", " ", ")", " ").Replace(cmd.Use)
	var out []string
	words := strings.Fields(use)[1:]
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case strings.HasPrefix(w, "-"):
			i++ // its value
		case w == "|":
			return out
		default:
			out = append(out, w)
		}
	}
	return out
}

// wantedArg gives what must be offered for an argument; "" where it is new, free or a file.
func wantedArg(words []string, arg string) string {
	creates := strings.Contains(" create init seal ", " "+words[len(words)-1]+" ")
	switch {
	case creates:
		return ""
	case arg == "NAME" && words[0] == "context":
		return ""
	case arg == "NAME":
		return nounNames[words[0]]
	case words[0] == "diff":
		return "4"
	case words[0] == "audit" && arg == "ID":
		return "1"
	case words[0] == "guardrail" || words[0] == "docs":
		return ""
	}
	return argNames[arg]
}

// sampleArgs are arguments for the command, as far as they are names.
func sampleArgs(cmd *cobra.Command) []string {
	words := strings.Fields(cmd.CommandPath())[1:]
	var out []string
	for _, a := range argsOf(cmd) {
		v := wantedArg(words, a)
		if v == "" {
			break
		}
		out = append(out, v)
	}
	return out
}

// Every argument that is the name of something completes from the server.
func TestArgumentsCompleteTheirNames(t *testing.T) {
	a := startAnything(t)
	n := 0
	leaves(t, func(cmd *cobra.Command, words []string) {
		var before []string
		for _, arg := range argsOf(cmd) {
			want := wantedArg(words, arg)
			if want == "" {
				return
			}
			n++
			t.Run(strings.Join(words, "_")+"/"+strings.ReplaceAll(arg, "/", "-"), func(t *testing.T) {
				args := append([]string{"__complete"}, words...)
				if cmd.Flags().Lookup("env") != nil && !strings.Contains(arg, "ENV") {
					args = append(args, "-e", "shop/dev")
				}
				r := runAnything(t, a, append(append(args, before...), "")).want(t, 0)
				if !offers(r.stdout, want) {
					t.Errorf("%q is not offered, but\n%s", want, r.stdout)
				}
			})
			if words[0] == "promote" {
				want += "#4" // what was given once is not offered again
			}
			before = append(before, want)
		}
	})
	if n < 60 {
		t.Errorf("%d arguments are names only", n)
	}
}

// Each shell has a script, which asks the program.
func TestCompletionScripts(t *testing.T) {
	for shell, has := range map[string]string{
		"bash": "__start_tow", "zsh": "#compdef tow", "fish": "complete -c tow", "powershell": "Register-ArgumentCompleter -CommandName 'tow'",
	} {
		if r := run(t, nil, []string{"completion", shell}).want(t, 0); !strings.Contains(r.stdout, has) || !strings.Contains(r.stdout, "__complete") {
			t.Errorf("%s: the script has no %q", shell, has)
		}
	}
}
