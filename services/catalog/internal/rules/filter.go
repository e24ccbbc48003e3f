package rules

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/towpath-dev/towpath/internal/errs"
)

// FieldKind says how the values of a filter's field compare.
type FieldKind int

const (
	// TextField compares whole texts, with = and !=.
	TextField FieldKind = iota
	// NameField is a resource name; = holds for the resource and everything below it, != is its opposite.
	NameField
	// TimeField compares moments, with all operators. A value is a date or an RFC 3339 time.
	TimeField
)

// FilterField is one field that a list can be filtered by.
type FilterField struct {
	Name string
	Kind FieldKind
	// Values are the only texts that there are, such as states; any when empty.
	Values []string
}

// FilterValue is what a row has in a field. Make it with FilterText or FilterTime.
type FilterValue struct {
	Text string
	Time time.Time
}

// FilterText is the value of a text or name field.
func FilterText(s string) FilterValue { return FilterValue{Text: s} }

// FilterTime is the value of a time field; the zero time matches no comparison but !=.
func FilterTime(t time.Time) FilterValue { return FilterValue{Time: t} }

// Filter is a list of terms that must all hold. The zero value holds for everything.
type Filter struct{ terms []filterTerm }

type filterTerm struct {
	field FilterField
	op    string
	text  string
	time  time.Time
}

// maxFilterTerms bounds the work that one row costs.
const maxFilterTerms = 32

// ParseFilter reads `field = "value" AND time >= "2026-01-31T00:00:00Z"`. A value of letters, digits and -_./: needs no quotes.
// An empty text is the filter that holds for everything. The error is errs.Invalid for the field filter and says where.
func ParseFilter(text string, fields []FilterField) (Filter, error) {
	s := filterScanner{text: text}
	var f Filter
	for {
		word, ok := s.word()
		if !ok && len(f.terms) == 0 && s.atEnd() {
			return f, nil
		}
		if !ok {
			return Filter{}, s.bad("a field is expected: one of %s", fieldNames(fields))
		}
		t, err := s.term(word, fields)
		if err != nil {
			return Filter{}, err
		}
		if f.terms = append(f.terms, t); len(f.terms) > maxFilterTerms {
			return Filter{}, s.bad("there are more than %d terms; ask for less", maxFilterTerms)
		}
		if s.atEnd() {
			return f, nil
		}
		if and, _ := s.word(); and != "AND" {
			return Filter{}, s.bad("AND is expected between two terms, in capitals; OR, NOT and parentheses are not supported")
		}
	}
}

// Empty reports whether the filter holds for everything.
func (f Filter) Empty() bool { return len(f.terms) == 0 }

// Match reports whether all terms hold for a row. get gives the row's value of a field that ParseFilter knew.
func (f Filter) Match(get func(field string) FilterValue) bool {
	for _, t := range f.terms {
		if !t.holds(get(t.field.Name)) {
			return false
		}
	}
	return true
}

// String gives the filter in one spelling: equal filters written differently have equal texts. ParseFilter reads it.
func (f Filter) String() string {
	parts := make([]string, len(f.terms))
	for i, t := range f.terms {
		v := t.text
		if t.field.Kind == TimeField {
			v = t.time.UTC().Format(time.RFC3339Nano)
		}
		parts[i] = t.field.Name + " " + t.op + " " + strconv.Quote(v)
	}
	return strings.Join(parts, " AND ")
}

// Only gives the one text that the field must have where a term asks for it with =, so that a list can begin there.
func (f Filter) Only(field string) (string, bool) {
	for _, t := range f.terms {
		if t.field.Name == field && t.op == "=" && t.field.Kind != TimeField {
			return t.text, true
		}
	}
	return "", false
}

// Between gives the bounds of a time field, both included and zero for none: rows outside of them cannot match. A list in the
// order of that field needs to read only what is between.
func (f Filter) Between(field string) (from, to time.Time) {
	for _, t := range f.terms {
		if t.field.Name != field || t.field.Kind != TimeField {
			continue
		}
		if (t.op == "=" || t.op[0] == '>') && t.time.After(from) {
			from = t.time
		}
		if (t.op == "=" || t.op[0] == '<') && (to.IsZero() || t.time.Before(to)) {
			to = t.time
		}
	}
	return from, to
}

func (t filterTerm) holds(v FilterValue) bool {
	equal := v.Text == t.text
	switch t.field.Kind {
	case TimeField:
		return t.holdsTime(v.Time)
	case NameField:
		equal = equal || strings.HasPrefix(v.Text, t.text+"/")
	case TextField:
	}
	return equal == (t.op == "=")
}

func (t filterTerm) holdsTime(v time.Time) bool {
	if v.IsZero() {
		return t.op == "!="
	}
	c := v.Compare(t.time)
	switch t.op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

func fieldNames(fields []FilterField) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// filterScanner takes a filter's text apart from left to right.
type filterScanner struct {
	text string
	pos  int
}

func (s *filterScanner) bad(format string, args ...any) error {
	return errs.InvalidField("filter", "at character %d: "+format, append([]any{utf8.RuneCountInString(s.text[:s.pos]) + 1}, args...)...)
}

func (s *filterScanner) space() {
	s.pos = len(s.text) - len(strings.TrimLeftFunc(s.text[s.pos:], unicode.IsSpace))
}

func (s *filterScanner) atEnd() bool {
	s.space()
	return s.pos == len(s.text)
}

// word reads letters, digits and what names and times have beside them.
func (s *filterScanner) word() (string, bool) {
	s.space()
	rest := s.text[s.pos:]
	n := strings.IndexFunc(rest, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:", r)
	})
	if n < 0 {
		n = len(rest)
	}
	s.pos += n
	return rest[:n], n > 0
}

var filterOps = []string{"!=", "<=", ">=", "=", "<", ">"} // the longer ones first

func (s *filterScanner) term(name string, fields []FilterField) (filterTerm, error) {
	i := slices.IndexFunc(fields, func(f FilterField) bool { return f.Name == name })
	if i < 0 {
		return filterTerm{}, s.bad("%s is no field of this list; these are: %s", quote(name), fieldNames(fields))
	}
	t := filterTerm{field: fields[i]}
	s.space()
	for _, op := range filterOps {
		if strings.HasPrefix(s.text[s.pos:], op) {
			t.op = op
			break
		}
	}
	switch {
	case t.op == "":
		return t, s.bad("an operator is expected behind %s: = or !=, and for times also <, <=, > and >=", name)
	case t.field.Kind != TimeField && t.op != "=" && t.op != "!=":
		return t, s.bad("%s can be compared with = and != only", name)
	}
	s.pos += len(t.op)
	value, err := s.value(name)
	if err != nil {
		return t, err
	}
	return t, s.set(&t, value)
}

func (s *filterScanner) value(name string) (string, error) {
	s.space()
	if !strings.HasPrefix(s.text[s.pos:], `"`) {
		if w, ok := s.word(); ok {
			return w, nil
		}
		return "", s.bad("a value is expected for %s, as in %s = \"value\"", name, name)
	}
	quoted, err := strconv.QuotedPrefix(s.text[s.pos:])
	if err != nil {
		return "", s.bad("the quoted value does not end, or has an escape that is none; quotes within are written \\\"")
	}
	value, err := strconv.Unquote(quoted)
	if err != nil {
		return "", s.bad("the quoted value has an escape that is none")
	}
	s.pos += len(quoted)
	return value, nil
}

func (s *filterScanner) set(t *filterTerm, value string) error {
	if t.field.Kind == TimeField {
		for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
			at, err := time.Parse(layout, value)
			if err == nil {
				t.time = at.UTC()
				return nil
			}
		}
		return s.bad("%s is no time; write it as \"2026-01-31T00:00:00Z\" or \"2026-01-31\"", quote(value))
	}
	if len(t.field.Values) > 0 && !slices.Contains(t.field.Values, value) {
		return s.bad("%s is no %s; use one of %s", quote(value), t.field.Name, strings.Join(t.field.Values, ", "))
	}
	t.text = value
	if t.field.Kind == NameField {
		t.text = strings.TrimSuffix(value, "/")
	}
	return nil
}
