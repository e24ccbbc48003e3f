package score

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// maxProblems is how many problems one answer lists. A document with more is wrong as a whole; more lines help nobody.
const maxProblems = 100

// maxSuggest is among how many known words a similar one is looked for.
const maxSuggest = 500

// problems collects everything that is wrong with one document.
type problems struct {
	found []problem
	// texts are what was read, by the name in positions, so that a problem inside a long value can be pointed at.
	texts map[string][]byte
}

type problem struct {
	at   pos
	path path
	text string
}

func (p *problems) add(at pos, where path, format string, args ...any) {
	p.found = append(p.found, problem{at: at, path: where, text: fmt.Sprintf(format, args...)})
}

// read notes what was read, for find.
func (p *problems) read(file string, content []byte) {
	if p.texts == nil {
		p.texts = map[string][]byte{}
	}
	p.texts[file] = content
}

// readSource notes the text of a source file and gives its beginning.
func (p *problems) readSource(file string, content []byte) pos {
	p.read(file, content)
	return pos{file: file, line: 1, col: 1}
}

// find gives where a word of a value stands, the value itself where that cannot be told, such as for an escaped spelling.
func (p *problems) find(at pos, word string) pos {
	content, line := p.texts[at.file], 1
	for ; line < at.line; line++ {
		end := bytes.IndexByte(content, '\n')
		if end < 0 {
			return at
		}
		content = content[end+1:]
	}
	skip := skipColumns(content, at.col-1)
	i := bytes.Index(content[skip:], []byte(word))
	if at.line == 0 || i < 0 {
		return at
	}
	before := content[:skip+i]
	newline := bytes.LastIndexByte(before, '\n')
	return pos{file: at.file, line: line + bytes.Count(before, []byte("\n")), col: utf8.RuneCount(before[newline+1:]) + 1}
}

// skipColumns gives how many bytes the first columns of a line have.
func skipColumns(line []byte, columns int) int {
	skip := 0
	for ; columns > 0 && skip < len(line); columns-- {
		_, size := utf8.DecodeRune(line[skip:])
		skip += size
	}
	return skip
}

// fields gives the problems in the order of the document, without repetitions.
func (p *problems) fields() []errs.Field {
	slices.SortStableFunc(p.found, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.at.file, b.at.file), cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col),
			cmp.Compare(a.path, b.path), cmp.Compare(a.text, b.text))
	})
	found := slices.Compact(p.found)
	var out []errs.Field
	for i, f := range found {
		if i == maxProblems {
			out = append(out, errs.Field{Path: f.at.String(), Problem: "there are further problems that are not listed, from here on: expected fewer; correct these first"})
			break
		}
		out = append(out, errs.Field{Path: strings.TrimSpace(f.at.String() + " " + string(f.path)), Problem: f.text})
	}
	return out
}

// Invalid makes the error of an invalid document from its wrong places, nil when there are none.
func Invalid(fields []errs.Field) error {
	if len(fields) == 0 {
		return nil
	}
	e := errs.InvalidFields(fields...)
	e.Reason = errorsv1.Reason_REASON_INVALID_SCORE
	e.Msg = "the Score document is not valid"
	return e
}

// tooLarge makes the error of content above a limit.
func tooLarge(field string, size, limit int) error {
	e := errs.InvalidField(field, "is %d bytes, the limit is %d: Score files and the files they carry are configuration; move large data into the image or a volume", size, limit)
	e.Reason = errorsv1.Reason_REASON_TOO_LARGE
	e.Msg = "the content is too large"
	return e.With("limit", fmt.Sprint(limit)).With("field", field)
}

// suggest gives `; did you mean "x"?` when a known word is near, else "".
func suggest(word string, known []string) string {
	if len(known) > maxSuggest {
		return ""
	}
	best, distance := "", len(word)/3+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k), distance); d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// Suggest gives `; did you mean "x"?` when one of the known words is near to the given one, else nothing. It is how every
// message of the renderer hints at a typing mistake.
func Suggest(word string, known []string) string { return suggest(word, known) }

// editDistance is the Levenshtein distance, or limit+1 when it is larger than the limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 100 || len(b) > 100 {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
