package docstest

import (
	"fmt"
	"regexp"
	"strings"
)

// Block is a fenced block of a page.
type Block struct {
	// File is the page, Line the line of the fence, counted from 1; the body begins on the next one.
	File string
	Line int
	// Lang is the first word of the info string, Attrs are the others: name=value, or a name alone.
	Lang  string
	Attrs map[string]string
	// Body is what stands between the fences, without the fences' own indentation.
	Body []string
	// Indent is that indentation.
	Indent string
}

// Step is a command and what the page shows as its answer.
type Step struct {
	// Line is the line of the command in the page.
	Line    int
	Command string
	// Shown is the answer; From is the index of its first line in the block's body.
	Shown []string
	From  int
}

// Text is the block's body as a file has it.
func (b *Block) Text() string { return strings.Join(b.Body, "\n") + "\n" }

// Has tells whether the info string has an attribute.
func (b *Block) Has(name string) bool {
	_, ok := b.Attrs[name]
	return ok
}

// At is the place of a line for a person and an editor.
func At(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

var attribute = regexp.MustCompile(`([a-z][a-z-]*)(?:=(?:"([^"]*)"|(\S+)))?`)

// Blocks reads the fenced blocks of a page.
func Blocks(file, text string) ([]Block, error) {
	var out []Block
	var open *Block
	fence := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		if open == nil {
			if strings.TrimSpace(line) == "<!-- instead" {
				open, fence = &Block{File: file, Line: i + 1, Lang: "sh", Attrs: map[string]string{}}, "-->"
				continue
			}
			if fence = fenceOf(trimmed); fence == "" {
				continue
			}
			lang, info, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(trimmed, fence)), " ")
			open = &Block{File: file, Line: i + 1, Lang: lang, Attrs: map[string]string{}, Indent: line[:len(line)-len(trimmed)]}
			for _, m := range attribute.FindAllStringSubmatch(info, -1) {
				open.Attrs[m[1]] = m[2] + m[3]
			}
			continue
		}
		if strings.TrimSpace(line) == fence {
			out = append(out, *open)
			open = nil
			continue
		}
		open.Body = append(open.Body, strings.TrimPrefix(line, open.Indent))
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block is not closed", At(file, open.Line))
	}
	return out, nil
}

func fenceOf(line string) string {
	for _, c := range []string{"`", "~"} {
		if n := len(line) - len(strings.TrimLeft(line, c)); n >= 3 {
			return strings.Repeat(c, n)
		}
	}
	return ""
}

var hereDocument = regexp.MustCompile(`<<-?\s*['"]?([A-Za-z_]+)['"]?`)

// Steps reads a block of the language console. A command goes on over lines that end with a backslash and over here-documents.
func (b *Block) Steps() ([]Step, error) {
	var out []Step
	for i := 0; i < len(b.Body); i++ {
		command, ok := strings.CutPrefix(b.Body[i], "$ ")
		if !ok {
			if len(out) == 0 {
				return nil, fmt.Errorf("%s: a console begins with a command, \"$ ...\"", At(b.File, b.Line+1+i))
			}
			out[len(out)-1].Shown = append(out[len(out)-1].Shown, b.Body[i])
			continue
		}
		step := Step{Line: b.Line + 1 + i}
		for strings.HasSuffix(command, "\\") && i+1 < len(b.Body) {
			i++
			command += "\n" + strings.TrimPrefix(b.Body[i], "> ")
		}
		if m := hereDocument.FindStringSubmatch(command); m != nil {
			for i+1 < len(b.Body) {
				i++
				line := strings.TrimPrefix(b.Body[i], "> ")
				command += "\n" + line
				if line == m[1] {
					break
				}
			}
		}
		step.Command, step.From = command, i+1
		out = append(out, step)
	}
	for i := range out { // an empty line before the next command is for the eye
		for n := len(out[i].Shown); n > 0 && strings.TrimSpace(out[i].Shown[n-1]) == ""; n-- {
			out[i].Shown = out[i].Shown[:n-1]
		}
	}
	return out, nil
}

// Table is a table whose commands are typed, one after the other: the comment before it says so, and may hold what is to be there first.
//
//	<!-- typed, but not: tow logs (reason)
//	commands that the table presumes, which its reader has no need of
//	-->
type Table struct {
	// Line is that of the comment.
	Line  int
	First string
	Spans []Span
	// Not begins the one command that cannot be typed, Why is the reason.
	Not, Why string
}

// Tables gives the tables of a page whose commands that begin with the program are typed.
func Tables(text, program string) []Table {
	var out []Table
	for _, at := range regexp.MustCompile(`(?s)<!-- typed(?:, but not: ([^(\n]+) \(([^)\n]+)\))?\n(.*?)-->\n+((?:\|[^\n]*\n)+)`).FindAllStringSubmatchIndex(text, -1) {
		t := Table{Line: 1 + strings.Count(text[:at[0]], "\n"), First: text[at[6]:at[7]]}
		if at[2] >= 0 {
			t.Not, t.Why = text[at[2]:at[3]], text[at[4]:at[5]]
		}
		above := strings.Count(text[:at[8]], "\n")
		for _, s := range Spans(text[at[8]:at[9]], program) {
			s.Line += above
			if t.Not == "" || !strings.HasPrefix(s.Command, t.Not) {
				t.Spans = append(t.Spans, s)
			}
		}
		out = append(out, t)
	}
	return out
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	comment  = regexp.MustCompile(`(?s)<!--.*?-->`)
)

// Span is a command in the text of a page, outside of blocks.
type Span struct {
	Line    int
	Command string
}

// Spans gives the code spans outside of blocks that begin with one of the programs.
func Spans(text string, programs ...string) []Span {
	var out []Span
	fence := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "":
			if trimmed == fence {
				fence = ""
			}
			continue
		case fenceOf(trimmed) != "":
			fence = fenceOf(trimmed)
			continue
		}
		for _, m := range codeSpan.FindAllStringSubmatch(comment.ReplaceAllString(line, ""), -1) {
			command := strings.ReplaceAll(m[1], `\|`, "|") // as a table escapes it
			for _, p := range programs {
				if strings.HasPrefix(command, p+" ") {
					out = append(out, Span{Line: i + 1, Command: command})
				}
			}
		}
	}
	return out
}

// Indented gives the lines of commands in indented blocks, which nobody runs.
func Indented(text string, programs ...string) []int {
	var out []int
	fence := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if fence != "" {
			if trimmed == fence {
				fence = ""
			}
			continue
		}
		if fence = fenceOf(trimmed); fence != "" {
			continue
		}
		for _, p := range programs {
			if strings.HasPrefix(line, "    "+p+" ") {
				out = append(out, i+1)
			}
		}
	}
	return out
}
