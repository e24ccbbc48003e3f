package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// formats are the values of --output.
var formats = []string{"table", "wide", "json", "yaml", "name"}

// printer writes results. Tables are for people, with times relative to now; wide adds columns and gives times in RFC 3339, UTC; json and
// yaml are the API's messages; name is the full names, one a line.
type printer struct {
	out    io.Writer
	format string
	colour bool
	now    time.Time
	// files tells to show the differences of files with a plan.
	files bool
}

func (t *tow) outputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "table", "output: "+strings.Join(formats, ", "))
	complete(cmd, "output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func (t *tow) printer(format string) (*printer, error) {
	if !slices.Contains(formats, format) {
		return nil, usagef("--output %q is none of %s", format, strings.Join(formats, ", "))
	}
	return &printer{out: t.Stdout, format: format, colour: t.colour(), now: t.Now(), files: t.files}, nil
}

// colourModes are the values of --color.
var colourModes = []string{"auto", "always", "never"}

// colour tells whether to colour: for a person at a terminal who has not asked for none (no-color.org), unless --color decides.
func (t *tow) colour() bool {
	if t.colourMode == "always" || t.colourMode == "never" {
		return t.colourMode == "always"
	}
	return t.OutTerminal && t.Getenv("NO_COLOR") == "" && t.Getenv("TERM") != "dumb"
}

// column is one column of a table of T.
type column[T any] struct {
	title string
	// wide columns show only with -o wide.
	wide bool
	cell func(p *printer, m T) string
}

type named interface {
	proto.Message
	GetName() string
}

// printOne writes one message.
func printOne[T named](p *printer, m T, columns []column[T]) error {
	if done, err := p.structured(m, m.GetName()); done {
		return err
	}
	return printTable(p, []T{m}, columns)
}

// printList writes a list: list is the API's answer with all items in it, so that its JSON form is an object with one array.
func printList[T named](p *printer, list proto.Message, items []T, columns []column[T]) error {
	names := make([]string, len(items))
	for i, m := range items {
		names[i] = m.GetName()
	}
	if done, err := p.structured(list, names...); done {
		return err
	}
	return printTable(p, items, columns)
}

func printTable[T any](p *printer, items []T, columns []column[T]) error {
	if len(items) == 0 {
		return nil
	}
	rows := [][]string{titlesOf(p, columns)}
	for _, m := range items {
		rows = append(rows, cellsOf(p, m, columns))
	}
	return p.rows(rows)
}

func shownColumns[T any](p *printer, columns []column[T]) []column[T] {
	return slices.DeleteFunc(slices.Clone(columns), func(c column[T]) bool { return c.wide && p.format != "wide" })
}

func titlesOf[T any](p *printer, columns []column[T]) []string {
	var out []string
	for _, c := range shownColumns(p, columns) {
		out = append(out, c.title)
	}
	return out
}

func cellsOf[T any](p *printer, m T, columns []column[T]) []string {
	var out []string
	for _, c := range shownColumns(p, columns) {
		out = append(out, strings.ReplaceAll(clean(c.cell(p, m)), "\n", " "))
	}
	return out
}

// structured writes the formats that are for programs, and reports whether it was one of them.
func (p *printer) structured(m proto.Message, names ...string) (bool, error) {
	return p.programs(func() ([]byte, error) { return jsonOf(m) }, names...)
}

// document is structured for what is no message of the API: what is known of this program and its machine.
func (p *printer) document(v any, names ...string) (bool, error) {
	return p.programs(func() ([]byte, error) {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("print as JSON: %w", err)
		}
		return indented(b)
	}, names...)
}

// programs writes a document as JSON or YAML, or the names alone.
func (p *printer) programs(document func() ([]byte, error), names ...string) (bool, error) {
	var text []byte
	var err error
	switch p.format {
	case "json":
		text, err = document()
	case "yaml":
		if text, err = document(); err == nil {
			text, err = yamlOf(text)
		}
	case "name":
		for _, n := range names {
			text = append(append(text, n...), '\n')
		}
	default:
		return false, nil
	}
	if err == nil {
		_, err = p.out.Write(text)
	}
	return true, err
}

// jsonOf gives a message's JSON form, always the same for the same message: protojson varies its white space on purpose. Fields
// without a value are there too, so that a script can rely on them.
func jsonOf(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("print as JSON: %w", err)
	}
	return indented(b)
}

// jsonCompact gives a message's JSON form in one line, without fields that have no value.
func jsonCompact(m proto.Message) ([]byte, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("print as JSON: %w", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, fmt.Errorf("print as JSON: %w", err)
	}
	return out.Bytes(), nil
}

func indented(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return nil, fmt.Errorf("print as JSON: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// yamlOf turns JSON into YAML in the same order.
func yamlOf(b []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil { // JSON is YAML
		return nil, fmt.Errorf("print as YAML: %w", err)
	}
	var block func(n *yaml.Node)
	block = func(n *yaml.Node) {
		n.Style = 0
		for _, c := range n.Content {
			block(c)
		}
	}
	block(&doc)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return nil, fmt.Errorf("print as YAML: %w", err)
	}
	return out.Bytes(), nil
}

// rows writes aligned columns, the first row as titles. It aligns before it colours: escape sequences have no width.
func (p *printer) rows(rows [][]string) error { return p.rowsWith(columnWidths(rows), rows, true) }

func columnWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	return widths
}

// rowsWith writes rows in columns of the given widths; the first one may hold titles, which have no colour.
func (p *printer) rowsWith(widths []int, rows [][]string, titles bool) error {
	var b strings.Builder
	for n, r := range rows {
		var line strings.Builder
		for i, c := range r {
			text := c
			if n > 0 || !titles {
				text = p.painted(c)
			}
			line.WriteString(text)
			if i < len(r)-1 {
				line.WriteString(strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(c), 0)+3))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

// fields writes titles and values below each other; empty values are left out.
func (p *printer) fields(pairs ...string) error {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, utf8.RuneCountInString(pairs[i]))
		}
	}
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		value := strings.ReplaceAll(clean(pairs[i+1]), "\n", "\n"+strings.Repeat(" ", width+3))
		fmt.Fprintf(&b, "%s%s   %s\n", pairs[i], strings.Repeat(" ", width-utf8.RuneCountInString(pairs[i])), p.paintedFirst(value))
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
	bold   = "1"
)

var wordColours = map[string]string{
	"HEALTHY": green, "SYNCED": green, "ACTIVE": green,
	"DEGRADED": red, "FAILED": red, "MISSING": red, "REMOVED": red, "CHANGED": red, "ORPHANED": red, "EXTRA": red, "DELETING": red,
	"PENDING": yellow, "RENDERING": yellow, "COMMITTING": yellow, "SYNCING": yellow, "PROGRESSING": yellow, "SUPERSEDED": yellow,
	"AWAITING_APPROVAL": yellow, "PROVISIONING": yellow, "PULL_REQUEST_OPEN": yellow, "CANCELLED": yellow, "REJECTED": red,
	"UNKNOWN": yellow, "UNVERIFIED": yellow, "RESIDUE": yellow,
}

// painted colours a text that is one of the words for states.
func (p *printer) painted(text string) string { return p.paint(wordColours[text], text) }

// paintedFirst colours a text by its first word.
func (p *printer) paintedFirst(text string) string {
	first, rest, _ := strings.Cut(text, " ")
	if rest != "" {
		rest = " " + rest
	}
	return p.painted(first) + rest
}

func (p *printer) paint(colour, text string) string {
	if !p.colour || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// when gives a time as the format wants it: relative for people, absolute else.
func (p *printer) when(ts *timestamppb.Timestamp) string {
	if ts == nil {
		return ""
	}
	if p.format == "wide" {
		return stamp(ts)
	}
	return ago(p.now, ts.AsTime())
}

// stamp gives a time in RFC 3339, UTC, with whole seconds.
func stamp(ts *timestamppb.Timestamp) string {
	if ts == nil {
		return ""
	}
	return ts.AsTime().UTC().Format(time.RFC3339)
}

// ago tells how long before or after now a time is.
func ago(now, at time.Time) string {
	if d := now.Sub(at); d > -time.Second {
		return coarse(max(d, 0)) + " ago"
	}
	return "in " + coarse(at.Sub(now))
}

func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// took gives a duration with as many digits as are of interest.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

// clean shows control characters instead of sending them to the terminal: messages and manifests come from other people, and
// an escape sequence in them could rewrite what is on the screen.
func clean(s string) string {
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if control(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// clip shortens a text to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// shortHash gives as much of a commit or tree id as people compare.
func shortHash(h string) string {
	if len(h) > 10 {
		return h[:10]
	}
	return h
}
