package score

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

var (
	yamlLine      = lazyre.New(`^yaml: (?:unmarshal errors:\s+)?line (\d+): `)
	unknownAnchor = lazyre.New(`unknown anchor '([^']*)' referenced`)
)

// syntax reports what the YAML parser says. It names a line at best: the column is where that line's text begins.
func (p *problems) syntax(at pos, content []byte, err error) {
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if line, _ := strconv.Atoi(m[1]); line > 0 {
			at = startOf(at, content, line)
		}
		text = text[len(m[0]):]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		at = p.find(at, "*"+m[1])
	}
	p.add(at, "", "is not YAML: %s; expected a YAML or JSON document%s", text, syntaxHint(text, lineOf(content, at.line)))
}

// startOf gives where the text of a line begins.
func startOf(at pos, content []byte, line int) pos {
	text := lineOf(content, line)
	indent := len(text) - len(bytes.TrimLeft(text, " \t"))
	if line == 1 {
		return at
	}
	return pos{file: at.file, line: line, col: indent + 1}
}

func lineOf(content []byte, line int) []byte {
	for ; line > 1; line-- {
		_, rest, found := bytes.Cut(content, []byte("\n"))
		if !found {
			return nil
		}
		content = rest
	}
	text, _, _ := bytes.Cut(content, []byte("\n"))
	return text
}

// syntaxHint tells what people usually did when YAML says this.
func syntaxHint(text string, line []byte) string {
	switch indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; {
	case bytes.ContainsRune(indent, '\t'):
		return "; indent with spaces, not with tabs"
	case strings.Contains(text, "mapping values are not allowed"):
		return "; quote a text that holds a colon and a space, and look at the indentation"
	case strings.Contains(text, "unknown anchor"):
		return "; quote a text that begins with *"
	case strings.Contains(text, "cannot start any token"):
		return "; quote a text that begins with @, % or a backquote"
	case strings.Contains(text, "did not find expected key"), strings.Contains(text, "did not find expected '-' indicator"):
		return "; look at the indentation of this line and the one before"
	case strings.Contains(text, "control characters"):
		return "; take control characters out, or write them in double quotes as \\x07"
	case strings.Contains(text, "unexpected end of stream"):
		return "; close the quotes"
	}
	return ""
}

// encodingOf says what bytes are that are no UTF-8.
func encodingOf(content []byte) string {
	switch {
	case bytes.HasPrefix(content, []byte{0xff, 0xfe}), bytes.HasPrefix(content, []byte{0xfe, 0xff}):
		return "UTF-16"
	case bytes.HasPrefix(content, []byte{0x1f, 0x8b}):
		return "a gzip archive"
	}
	return "bytes that are none"
}
