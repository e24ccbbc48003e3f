package score

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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
}

type problem struct {
	at   pos
	path path
	text string
}

func (p *problems) add(at pos, where path, format string, args ...any) {
	p.found = append(p.found, problem{at: at, path: where, text: fmt.Sprintf(format, args...)})
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
			out = append(out, errs.Field{Path: f.at.file, Problem: "there are further problems that are not listed: correct these first"})
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
