package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// screen shows a text that changes. At a terminal it is drawn in place: from the top left corner, each line over the one that
// was there, so that nothing flickers and the lines above the first drawing stay in the terminal's memory.
type screen struct {
	t *tow
	// drawn tells that the screen has been cleared once.
	drawn bool
}

// draw shows a text instead of what was shown before. What does not fit is left out, because a terminal that scrolls cannot be
// drawn over; the last line says how much that is.
func (s *screen) draw(text string) {
	var b strings.Builder
	if !s.drawn {
		s.drawn = true
		b.WriteString("\x1b[2J")
	}
	b.WriteString("\x1b[H")
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if h := s.t.height(); h > 1 && len(lines) > h-1 {
		rest := len(lines) - (h - 2)
		lines = append(lines[:h-2], fmt.Sprintf("... and %s more; a higher window shows them", plural(rest, "line")))
	}
	width := s.t.width()
	for _, line := range lines {
		if width > 0 {
			line = clipPainted(line, width)
		}
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.t.printf("%s", b.String())
}

// width gives the terminal's columns; 0 where there is none.
func (t *tow) width() int {
	if t.Width == nil {
		return 0
	}
	return t.Width()
}

// height gives the terminal's lines; 0 where there is none.
func (t *tow) height() int {
	if t.Height == nil {
		return 0
	}
	return t.Height()
}

// clipPainted shortens a line to a number of columns; escape sequences take none, and the colour ends with the line.
func clipPainted(line string, columns int) string {
	if !strings.Contains(line, "\x1b") {
		return clip(line, columns)
	}
	var b strings.Builder
	used := 0
	for len(line) > 0 {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm') + 1
			if end == 0 {
				return b.String()
			}
			b.WriteString(line[:end])
			line = line[end:]
			continue
		}
		r, size := utf8.DecodeRuneInString(line)
		if used == columns-1 && visibleWidth(line) > 1 {
			b.WriteString("…\x1b[0m")
			return b.String()
		}
		b.WriteRune(r)
		used, line = used+1, line[size:]
	}
	return b.String()
}

// visibleWidth counts the characters of a line without its escape sequences.
func visibleWidth(line string) int {
	n := 0
	for len(line) > 0 {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm') + 1
			if end == 0 {
				return n
			}
			line = line[end:]
			continue
		}
		_, size := utf8.DecodeRuneInString(line)
		n, line = n+1, line[size:]
	}
	return n
}
