package cli_test

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/towpath-dev/towpath/internal/cli"
)

// Every command has examples, and every example is a command line that the program takes: its commands and flags exist, its
// arguments are as many as there are names for, and flags that exclude each other do not stand together.
func TestExamplesAreCommandLines(t *testing.T) {
	n := 0
	leaves(t, func(cmd *cobra.Command, words []string) {
		t.Run(strings.Join(words, "_"), func(t *testing.T) {
			own := false
			for _, line := range exampleLines(t, cmd.Example) {
				n++
				target, err := parseLine(line)
				if err != nil {
					t.Errorf("`%s`: %v", strings.Join(line, " "), err)
					continue
				}
				own = own || target.CommandPath() == cmd.CommandPath()
			}
			if !own {
				t.Errorf("no example is of the command itself:\n%s", cmd.Example)
			}
		})
	})
	if n < 150 {
		t.Errorf("there are %d examples only", n)
	}
}

// The examples of groups and of the program itself are command lines too.
func TestExamplesOfGroupsAreCommandLines(t *testing.T) {
	root := cli.NewRoot(cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasSubCommands() {
			lines := exampleLines(t, c.Example)
			if len(lines) == 0 {
				t.Errorf("%s has no example", c.CommandPath())
			}
			for _, line := range lines {
				if _, err := parseLine(line); err != nil {
					t.Errorf("%s: `%s`: %v", c.CommandPath(), strings.Join(line, " "), err)
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// parseLine does with a command line what the program does before it begins.
func parseLine(words []string) (*cobra.Command, error) {
	root := cli.NewRoot(cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	cmd, rest, err := root.Find(words)
	if err != nil {
		return nil, err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return nil, err
	}
	args := cmd.Flags().Args()
	if cmd.HasSubCommands() && len(args) > 0 {
		return nil, cmd.RunE(cmd, args)
	}
	if err := cmd.ValidateArgs(args); err != nil {
		return nil, err
	}
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return nil, err
	}
	return cmd, cmd.ValidateFlagGroups()
}

// exampleLines gives the command lines of tow in a text of examples, each as its words behind "tow".
func exampleLines(t *testing.T, text string) [][]string {
	t.Helper()
	var out [][]string
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		for _, words := range shellLines(t, strings.TrimSpace(line)) {
			for i, w := range words {
				if call, isHelper := strings.CutPrefix(w, "!tow "); isHelper { // as Git calls it
					out = append(out, append(strings.Fields(call), "get"))
				}
				if w == "tow" {
					out = append(out, words[i+1:])
					break
				}
			}
		}
	}
	return out
}

// shellLines splits a line of shell into its commands and these into words. It knows what examples have: quotes, pipes, redirections,
// comments, and <( ).
func shellLines(t *testing.T, line string) [][]string {
	t.Helper()
	var all [][]string
	var words []string
	var word strings.Builder
	open := false // a word is being read, also an empty quoted one
	skip := false // the next word is the file of a redirection
	end := func() {
		if open && !skip {
			words = append(words, word.String())
		}
		if open {
			skip = false
		}
		word.Reset()
		open = false
	}
	next := func() {
		end()
		if len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"' || c == '\'':
			stop := strings.IndexByte(line[i+1:], c)
			if stop < 0 {
				t.Fatalf("a quote is not closed in %q", line)
			}
			word.WriteString(line[i+1 : i+1+stop])
			open, i = true, i+1+stop
		case c == ' ':
			end()
		case c == '#' && !open:
			next()
			return all
		case c == '<' && i+1 < len(line) && line[i+1] == '(', c == '|', c == ';', c == ')', c == '&':
			next()
			if c == '<' {
				i++
			}
		case c == '>', c == '<':
			end()
			skip = true
		default:
			word.WriteByte(c)
			open = true
		}
	}
	next()
	return all
}
