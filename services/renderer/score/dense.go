package score

import (
	"bytes"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

// maxStructure is how many characters that can make values (commas, colons, dashes, brackets, line ends) a text may have outside of
// block scalars. The YAML parser builds a tree of the whole text before anybody can look at it: a megabyte of commas would be most of
// a million values, and hundreds of megabytes of memory, only to be refused then.
const maxStructure = 130_000

// dense reports whether a text has more structure than is left of what a Score file may have with everything that belongs to it. It
// errs to the side of counting: the text of block scalars is left out only where it surely is one, so that nothing can hide in what
// merely looks like one.
func (p *problems) dense(content []byte) bool {
	p.structure += structure(content, maxStructure-p.structure)
	return p.structure > maxStructure
}

// structure counts, and stops where it is more than the limit.
func structure(content []byte, limit int) int {
	count := 0
	plain := plainBreaks(content)
	sure := plain // no quote and no bracket is open at the beginning of the line
	block := -1   // the indentation that the lines of the present block scalar are deeper than
	for len(content) > 0 && count <= limit {
		line, rest, _ := bytes.Cut(content, []byte("\n"))
		content = rest
		text := bytes.TrimLeft(line, " ")
		if block >= 0 && (len(bytes.TrimSpace(text)) == 0 || len(line)-len(text) > block) {
			continue
		}
		block = -1
		if plain && (len(bytes.TrimSpace(text)) == 0 || text[0] == '#') {
			continue // blank, a comment, or inside of quotes: nothing that makes a value
		}
		count += structureOf(line)
		if sure = sure && closed(text); sure {
			block = blockHeader(line)
		}
	}
	return count
}

// plainBreaks reports whether lines end as usual. YAML has other line ends, too, which would hide a line in another one.
func plainBreaks(content []byte) bool {
	for _, odd := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(content, []byte(odd)) {
			return false
		}
	}
	return bytes.Count(content, []byte("\r")) == bytes.Count(content, []byte("\r\n"))
}

func structureOf(line []byte) int {
	count := 1
	for _, c := range line {
		switch c {
		case ',', ':', '-', '?', '[', '{', '*':
			count++
		}
	}
	return count
}

// closed reports whether every quote and bracket of a line is closed in it.
func closed(line []byte) bool {
	depth, quote := 0, byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			if i == 0 || !isWord(line[i-1]) { // the one in "don't" opens nothing
				quote = c
			}
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
	}
	return depth == 0 && quote == 0
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

var header = lazyre.New(`^( *)((?:- +)*)(?:[A-Za-z0-9_./-]+|"[^"\\]*"|'[^']*')?(:)? *[|>][0-9+-]{0,2}[ \t\r]*$`)

// blockHeader gives the indentation of what a block scalar that begins at the end of the line belongs to, -1 when none does.
func blockHeader(line []byte) int {
	if end := bytes.TrimRight(line, " \t\r0123456789+-"); len(end) == 0 || end[len(end)-1] != '|' && end[len(end)-1] != '>' {
		return -1
	}
	m := header.FindSubmatch(line)
	switch {
	case m == nil:
		return -1
	case len(m[3]) > 0: // the value of a key
		return len(m[1]) + len(m[2])
	case len(m[2]) > 0: // an element of a list
		return len(m[1]) + bytes.LastIndexByte(m[2], '-')
	default:
		return -1
	}
}
