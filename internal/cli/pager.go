package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// pagedCommands are those whose output can be longer than a screen and is read from its beginning, as people know it from git and gh.
var pagedCommands = []string{
	"tow plan", "tow diff", "tow history", "tow explain", "tow graph", "tow get", "tow git log", "tow git show", "tow git diff", "tow git ls", "tow git cat",
	"tow audit list", "tow audit show", "tow drift list", "tow drift show", "tow drift history", "tow foreign show", "tow definition plan", "tow guardrail starter",
}

// defaultPager ends by itself where a page is enough, keeps colours, and leaves the text on the screen.
const defaultPager = "less -FRX"

// paged tells whether a command's output goes through a pager: for a person who reads it, never where it goes on by itself or asks.
func (t *tow) paged(cmd *cobra.Command) bool {
	on := func(name string) bool {
		yes, err := cmd.Flags().GetBool(name)
		return err == nil && yes
	}
	if !t.OutTerminal || t.noPager || t.pager() == "" || on("watch") || on("wait") || on("follow") {
		return false
	}
	return slices.Contains(pagedCommands, cmd.CommandPath()) || on("plan")
}

// pager gives the command that shows long output; "" for none.
func (t *tow) pager() string {
	for _, name := range []string{"TOW_PAGER", "PAGER"} {
		if v := strings.TrimSpace(t.Getenv(name)); v == "cat" {
			return ""
		} else if v != "" {
			return v
		}
	}
	return defaultPager
}

// throughPager runs f and shows what it wrote, with the pager where that is longer than the screen. A pager that cannot be run is
// no reason to show nothing.
func (t *tow) throughPager(ctx context.Context, f func() error) error {
	out := t.Stdout
	var b bytes.Buffer
	t.Stdout = &b
	err := f()
	t.Stdout = out
	if h := t.height(); h > 0 && bytes.Count(b.Bytes(), []byte("\n")) >= h {
		text := b.Bytes() // the pager reads from its own copy
		cmd := exec.CommandContext(ctx, "sh", "-c", t.pager())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), out, t.Stderr
		cmd.Env = append(os.Environ(), "LESS="+firstOf(t.Getenv("LESS"), "FRX"), "LV="+firstOf(t.Getenv("LV"), "-c"))
		if cmd.Run() == nil {
			return err
		}
	}
	if _, failed := out.Write(b.Bytes()); failed != nil && err == nil {
		err = failed
	}
	return err
}
