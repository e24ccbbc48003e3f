package docstest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/cli"
)

// TestMain makes the test binary be the programs that pages type, so that they are always those of the code under test.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "tow":
		os.Exit(cli.Main("v1.0.0"))
	case "towpathd":
		os.Exit(app.Main("v1.0.0", os.Args[1:], os.Stdout, os.Stderr))
	case "nats-server":
		os.Exit(natsServer(os.Args[1:]))
	}
	os.Exit(apptest.Main(m))
}

// natsServer is the program of that name: its main function is not importable, all that it does is.
func natsServer(args []string) int {
	flags := flag.NewFlagSet("nats-server", flag.ExitOnError)
	o, err := server.ConfigureOptions(flags, args, flags.Usage, flags.Usage, flags.Usage)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.Start()
	s.WaitForShutdown()
	return 0
}

// untyped is how many blocks say that they cannot be typed here. It only ever falls: a block that needs what cannot be had here says so
// by no-test="reason", and whoever adds one has to come here and think about it.
const untyped = 9

// pages are all pages that are typed, by the path from the repository's root.
func pages(t testing.TB) []string {
	t.Helper()
	root := repository(t)
	out := []string{"README.md"}
	for _, glob := range []string{"docs/guides/*.md", "examples/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil {
			t.Fatal(err)
		}
		sort.Strings(found)
		for _, f := range found {
			rel, err := filepath.Rel(root, f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, filepath.ToSlash(rel))
		}
	}
	if len(out) < 3 {
		t.Fatalf("there are only %v", out)
	}
	return out
}

// TestPages types every page.
func TestPages(t *testing.T) {
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(repository(t), page))
			must(t, err)
			blocks, err := Blocks(page, string(text))
			must(t, err)
			ty := &typist{t: t, w: newWorld(t, string(text)), same: Same{}}
			for i := range blocks {
				ty.block(&blocks[i])
				if t.Failed() && os.Getenv("UPDATE") == "" {
					break // what follows builds on what failed
				}
			}
			ty.settle()
			for _, table := range Tables(string(text), "tow") {
				if !t.Failed() {
					ty.table(page, table)
				}
			}
			ty.spans(page, Spans(string(text), "tow", "towpathd"))
			ty.rewrite(page, string(text))
		})
	}
}

// TestUntyped counts what is not typed, and wants a reason for each.
func TestUntyped(t *testing.T) {
	var all []string
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page) {
			if !b.Has("no-test") {
				continue
			}
			if len(b.Attrs["no-test"]) < 10 {
				t.Errorf("%s: no-test wants a reason", At(b.File, b.Line))
			}
			all = append(all, fmt.Sprintf("%s: %s", At(b.File, b.Line), b.Attrs["no-test"]))
		}
	}
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(repository(t), page))
		must(t, err)
		for _, table := range Tables(string(text), "tow") {
			if table.Not != "" {
				all = append(all, fmt.Sprintf("%s: %s: %s", At(page, table.Line), table.Not, table.Why))
			}
		}
	}
	t.Logf("%d blocks are not typed:\n%s", len(all), strings.Join(all, "\n"))
	if len(all) != untyped {
		t.Errorf("%d blocks say no-test, and the number in this test is %d:\n%s", len(all), untyped, strings.Join(all, "\n"))
	}
}

// TestEveryCommandStandsInABlockThatIsTyped finds commands that would escape: in indented blocks, or in blocks of another language.
func TestEveryCommandStandsInABlockThatIsTyped(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(repository(t), page))
		must(t, err)
		for _, line := range Indented(string(text), "tow", "towpathd", "kubectl", "make", "$ tow") {
			t.Errorf("%s: put the command into a block of sh or console, so that it is typed", At(page, line))
		}
		for _, b := range blocksOf(t, page) {
			if b.Lang == "sh" || b.Lang == "console" || b.Has("file") || b.Has("no-test") {
				continue
			}
			if slices.Contains([]string{"bash", "shell", "shell-session", "zsh", ""}, b.Lang) {
				t.Errorf("%s: a block of %q is not typed; use sh, console or text", At(page, b.Line), b.Lang)
			}
		}
	}
}

func blocksOf(t testing.TB, page string) []Block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository(t), page))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := Blocks(page, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// typist types a page's blocks, in order.
type typist struct {
	t    *testing.T
	w    *world
	same Same
	// streams run until all that is shown of them has come.
	streams []stream
	edits   []edit
}

type stream struct {
	p     *process
	block *Block
	step  Step
}

// edit is what UPDATE=1 writes in place of lines of a page.
type edit struct {
	from, count int // index of the first line of the page
	lines       []string
}

func (ty *typist) block(b *Block) {
	ty.t.Helper()
	if b.Has("no-test") {
		return
	}
	if name, ok := b.Attrs["file"]; ok {
		ty.write(b, name)
		return
	}
	switch b.Lang {
	case "sh":
		ty.script(b)
	case "console":
		ty.console(b)
	default:
		return
	}
	if !b.Has("stream") {
		ty.settle()
	}
}

// write makes a file that the page tells to write, in the folder where the person is.
func (ty *typist) write(b *Block, name string) {
	ty.t.Helper()
	text := b.Text()
	for _, r := range ty.w.there {
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	tmp := filepath.Join(ty.w.dir, ".file")
	must(ty.t, os.WriteFile(tmp, []byte(text), 0o600))
	if out, _, code := ty.w.run(fmt.Sprintf(`mkdir -p "$(dirname '%s')" && cp "$HOME/.file" '%[1]s'`, name)); code != 0 {
		ty.t.Errorf("%s: %s", At(b.File, b.Line), strings.Join(out, "\n"))
	}
}

// script types a block of sh.
func (ty *typist) script(b *Block) {
	ty.t.Helper()
	if strings.TrimSpace(b.Text()) == "make run" {
		ty.w.platform()
		return
	}
	if b.Has("serve") || b.Has("stream") {
		p := ty.w.start("set -e\n" + b.Text())
		if b.Has("serve") {
			ty.w.serving(b, p)
		}
		return
	}
	out, line, code := ty.w.run(b.Text())
	if code != 0 {
		ty.t.Errorf("%s: exit code %d\n%s", At(b.File, b.Line+max(line, 1)), code, strings.Join(out, "\n"))
	}
}

// console types a block of commands with their answers.
func (ty *typist) console(b *Block) {
	ty.t.Helper()
	steps, err := b.Steps()
	must(ty.t, err)
	for i, step := range steps {
		if b.Has("stream") {
			ty.streams = append(ty.streams, stream{p: ty.w.start(step.Command), block: b, step: step})
			continue
		}
		var answer []string
		code := 0
		retries := b.Has("retry") && step.Command != "echo $?"
		for end := time.Now().Add(apptest.Patience / 2); ; time.Sleep(200 * time.Millisecond) {
			if step.Command == "make run" {
				answer = ty.w.platform()
			} else {
				answer, _, code = ty.w.run(step.Command)
			}
			again := Same{}
			for k, v := range ty.same {
				again[k] = v
			}
			if err = Compare(step.Shown, answer, again); err == nil {
				ty.same = again
				break
			}
			if !retries || time.Now().After(end) {
				break
			}
		}
		asked := i+1 < len(steps) && strings.Contains(steps[i+1].Command, "$?")
		if code != 0 && !asked {
			ty.t.Errorf("%s: exit code %d of: %s\n%s", At(b.File, step.Line), code, step.Command, strings.Join(answer, "\n"))
			return
		}
		if err != nil {
			ty.differs(b, step, answer, err)
		}
	}
}

// table types the commands of a table. Each must succeed; that is all that a table says of them.
func (ty *typist) table(page string, table Table) {
	ty.t.Helper()
	if out, line, code := ty.w.run(table.First); code != 0 {
		ty.t.Fatalf("%s: exit code %d\n%s", At(page, table.Line+max(line, 1)), code, strings.Join(out, "\n"))
	}
	for _, s := range table.Spans {
		if out, _, code := ty.w.run(s.Command); code != 0 {
			ty.t.Errorf("%s: exit code %d of: %s\n%s", At(page, s.Line), code, s.Command, strings.Join(out, "\n"))
		}
	}
}

// spans looks whether commands in the text of a page exist, with their flags: they are typed with --help at their end.
func (ty *typist) spans(page string, spans []Span) {
	ty.t.Helper()
	for _, s := range spans {
		command, _, _ := strings.Cut(s.Command, " > ")
		command, _, _ = strings.Cut(command, " | ")
		command = strings.NewReplacer("…", "", "...", "", "'", "", `"`, "", "(", "", ")", "", "<", "", ">", "", "$", "", ";", "", "&", "").Replace(command)
		out, _, code := ty.w.run(command + " --help")
		if said := strings.Join(out, "\n"); code != 0 || !strings.Contains(said, "Usage:") || strings.HasPrefix(said, "tow is ") {
			ty.t.Errorf("%s: there is no %s\n%s", At(page, s.Line), s.Command, said)
		}
	}
}

func (ty *typist) differs(b *Block, step Step, answer []string, err error) {
	ty.t.Helper()
	if os.Getenv("UPDATE") != "" {
		ty.t.Logf("%s: written anew: %s", At(b.File, step.Line), step.Command)
		for i := range answer {
			if answer[i] != "" {
				answer[i] = b.Indent + answer[i]
			}
		}
		ty.edits = append(ty.edits, edit{from: b.Line + step.From, count: len(step.Shown), lines: answer})
		return
	}
	ty.t.Errorf("%s: %s\n%v", At(b.File, step.Line), step.Command, err)
}

// settle waits until streams have said what the page shows, after a block has run since they began.
func (ty *typist) settle() {
	ty.t.Helper()
	for _, s := range ty.streams {
		var err error
		var answer []string
		for end := time.Now().Add(apptest.Patience / 2); ; time.Sleep(50 * time.Millisecond) {
			answer = ty.w.lines(s.p.out.String())
			if err = Compare(s.step.Shown, answer, Same{}); err == nil || time.Now().After(end) {
				break
			}
		}
		s.p.stop()
		if err != nil {
			ty.differs(s.block, s.step, answer, err)
		}
	}
	ty.streams = nil
}

// rewrite puts what came in place of what the page showed, with UPDATE=1.
func (ty *typist) rewrite(page, text string) {
	ty.t.Helper()
	if len(ty.edits) == 0 {
		return
	}
	lines := strings.Split(text, "\n")
	for _, e := range slices.Backward(ty.edits) {
		lines = slices.Replace(lines, e.from, e.from+e.count, e.lines...)
	}
	must(ty.t, os.WriteFile(filepath.Join(repository(ty.t), page), []byte(strings.Join(lines, "\n")), 0o644))
}
