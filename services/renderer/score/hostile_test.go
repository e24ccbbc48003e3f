package score_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// hostile are inputs that are made to hurt, or that other programs read in their own way. Each says which problem it has, and is
// empty for those that are right after all.
func hostile() map[string]hostileInput {
	out := map[string]hostileInput{}
	add := func(name, content, says string) { out[name] = hostileInput{content: content, says: says} }
	mega := 1 << 20
	fill := func(s string) string { return strings.Repeat(s, (mega-len(minimal)-100)/len(s)) }
	variables := func(s string) string { return minimal + "    variables:\n" + s }

	add("billion laughs", laughs("[x, x, x, x, x, x, x, x, x, x]"), "is one value too many: expected at most 100000")
	add("billion laughs of maps", laughs("{a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8}"), "is one value too many")
	add("billion laughs of merge keys", laughs("{a: 1}")+"m: {<<: [*a12, *a12]}\n", "is one value too many")
	add("quadratic aliases", "a: &a ["+strings.Repeat("x, ", 1000)+"x]\nb: ["+strings.Repeat("*a, ", 1000)+"*a]\n", "is one value too many")
	add("an alias of itself", variables("      A: &a [*a]\n"), "contains itself")
	add("a map that is its own key", "&a {*a : 1}", "has a key that is not a string")
	add("a merge key of itself", "a: &a {<<: *a}", "contains itself")
	add("merges of merges", "a: &a {k: v}\n"+mergeChain(60), "is not a known field")
	add("an alias of nothing", variables("      A: *nope\n"), "unknown anchor 'nope' referenced")
	add("many anchors", anchors(20_000), "is not a known field")
	for name, open := range map[string]string{"flow lists": "[", "flow maps": "{a: ", "block lists": "- ", "explicit keys": "? ", "anchored lists": "[&a "} {
		add("10,000 levels of "+name, strings.Repeat(open, 10_000), "")
		add("a megabyte of "+name, fill(open), "")
	}
	add("9,000 levels closed again", "a: "+strings.Repeat("[", 9000)+strings.Repeat("]", 9000), "is nested deeper than 64 levels")
	add("9,000 levels of maps closed again", strings.Repeat("{a: ", 9000)+"1"+strings.Repeat("}", 9000), "is nested deeper than 64 levels")
	add("9,000 levels of indentation", blockLevels(1400), "is nested deeper than 64 levels")
	add("a string of a megabyte", variables("      A: "+fill("x")), "-")
	add("a string of a megabyte as a name", "? "+fill("x")+"\n: 1", "")
	add("a string of a megabyte in quotes", variables(`      A: "`+fill(`\x41`)+`"`), "-")
	add("a string of a megabyte in lines", variables("      A: |\n"+fill("        xxxxxxxxxxxxxxxxxxxxxxxxxxxx\n")), "-")
	add("a folded string of a megabyte", variables("      A: >\n"+fill("        x\n\n")), "-")
	add("an image of a megabyte", strings.Replace(minimal, "nginx", fill("x"), 1), "-")
	add("dollars", variables(`      A: "`+fill("$")+`"`), "-")
	add("dollars and braces", variables(`      A: "`+strings.Repeat("$${", 120_000)+`"`), "-")
	add("broken references in one string", variables(`      A: "`+strings.Repeat("${x}", 70_000)+`"`), `"x" is no root`)
	add("49,000 keys", variables(lines(49_000, "      A%d: x\n")), "-")
	add("100,000 keys", "m: {"+lines(125_000, "%d,")+"}", "is one value too many")
	add("more keys than there may be", variables(lines(40_000, "      A%d: x\n"))+lines(40_000, "B%d: y\n"), "has too much structure")
	add("100,000 unknown fields", minimal+lines(60_000, "k%d: \n"), "is not a known field")
	add("a key 70,000 times", minimal+strings.Repeat("a: 1\n", 60_000), "is given twice; first at line")
	add("a list of a megabyte", variables("      A: ["+fill("1,")+"]"), "has too much structure")
	add("as much structure as there may be", variables("      A: ["+strings.Repeat("1,", 129_900)+"]"), "is one value too many")
	add("structure in what looks like a text", "a: \"b: |\n  c\"\nd: ["+strings.Repeat("1,", 200_000)+"]", "has too much structure")
	add("structure beside a text", "- a: |\n    x\n  b: ["+strings.Repeat("1,", 200_000)+"]", "has too much structure")
	add("structure after a text", "a: |\n  x\nb: ["+strings.Repeat("1,", 200_000)+"]", "has too much structure")
	add("structure in brackets after a bar", "a: [b |\n  ,c: |\n  "+strings.Repeat("1,", 200_000)+"]", "has too much structure")
	for name, end := range map[string]string{"a carriage return": "\r", "a next line sign": "\u0085", "a line separator": "\u2028"} {
		add("structure behind a comment that ends with "+name, "# x"+end+"b: ["+strings.Repeat("1,", 200_000)+"]", "has too much structure")
		add("structure in a text that ends with "+name, "a: |\n  x"+end+"b: ["+strings.Repeat("1,", 200_000)+"]", "has too much structure")
	}
	add("a table as a text", variables("      # don't count it\n      A: |\n"+fill("        1,2,3,4\n")), "-")
	add("a table as a file", minimal+"    files:\n    - target: /a\n      content: |-\n"+fill("        1,2,3,4\n"), "-")
	add("a list of nothing", "["+fill(",")+"]", "")
	add("dashes", fill("-\n"), "has too much structure")
	add("colons", fill(":\n"), "")
	add("question marks", fill("?\n"), "")
	add("commas in flow maps", "{"+fill("a,")+"}", "")
	add("document marks", fill("---\n"), "has too much structure")
	add("document ends", minimal+fill("...\n"), "has too much structure")
	add("comments", minimal+fill("#\n"), "-")
	add("comments between values", minimal+lines(40_000, "# %d\n")+"x: 1\n", "is not a known field")
	add("a comment of a megabyte", "#"+fill("x"), "is empty")
	add("blanks", fill(" "), "is empty")
	add("line ends", fill("\n"), "is empty")
	add("open quotes", fill(`"`), "is not YAML")
	add("open single quotes", "a: '"+fill("x\n"), "has too much structure")
	add("directives", fill("%TAG ! x\n"), "is not YAML")
	add("a tag of a megabyte", "a: !"+fill("x")+" 1", "")
	add("an anchor of a megabyte", "a: &"+fill("x")+" 1", "")
	add("references without end", variables(lines(5_000, "      A%[1]d: ${metadata.nope%[1]d}\n")), `metadata has no "nope0"`)
	add("containers that wait in a circle", waiting(3000), "the containers wait for each other")
	add("files", minimal+"    files:\n"+lines(10_000, "      /f%d: {content: x}\n"), "-")

	add("a key twice", minimal+"metadata: {name: other}\n", "metadata: is given twice; first at line 2: expected it once")
	add("a key twice in JSON", `{"apiVersion": "score.dev/v1b1", "apiVersion": "score.dev/v1b1"}`, "apiVersion: is given twice")
	add("a key twice beside a merge", variables("      <<: {A: b}\n      A: a\n"), "-")
	add("merge of a string", variables("      <<: x\n"), "the YAML merge key takes a map or a list of maps")
	add("two merge keys", variables("      <<: {A: a}\n      <<: {B: b}\n"), "-")
	add("a tag of YAML", variables("      A: !!str 1\n"), "-")
	add("a tag of another program", variables("      A: !vault secret\n"), "has the YAML tag !vault")
	add("a tag of Python", "a: !!python/object/apply:os.system [id]", "has the YAML tag")
	add("binary", variables("      A: !!binary aGk=\n"), "has the YAML tag !!binary")
	add("a set", variables("      A: !!set {a, b}\n"), "has the YAML tag !!set")
	add("a tag that does not fit", variables("      A: !!int x\n"), "")
	add("invalid UTF-8", minimal+"# \xff\n", "score.yaml:7:3: is not UTF-8: expected UTF-8 text")
	add("overlong UTF-8", minimal+"# \xc0\xaf\n", "is not UTF-8")
	add("a surrogate", minimal+"# \xed\xa0\x80\n", "is not UTF-8")
	add("half a letter", minimal+"# \xe2\x82", "is not UTF-8")
	add("UTF-16", utf16Text(minimal), "got UTF-16")
	add("an archive", "\x1f\x8b\x08\x00\xff\xff", "got a gzip archive")
	add("a NUL", minimal+"x: a\x00b\n", "is not YAML: control characters are not allowed")
	add("an escaped NUL", variables(`      A: "a\0b"`), "-")
	add("a bell", minimal+"x: \a\n", "is not YAML: control characters")
	add("a delete sign", minimal+"# \x7f\n", "is not YAML: control characters")
	add("an escape sequence", minimal+"# \x1b[31m\n", "is not YAML: control characters")
	add("a byte order mark", "\ufeff"+minimal, "-")
	add("two byte order marks", "\ufeff\ufeff"+minimal, "")
	add("a mark inside", variables("      A: \ufeffx\n"), "-")
	add("a line separator", variables("      A: \"a\u2028b\"\n"), "-")
	add("a next line sign", variables("      A: \"a\u0085b\"\n"), "-")
	add("CRLF", strings.ReplaceAll(minimal, "\n", "\r\n"), "-")
	add("CR alone", strings.ReplaceAll(minimal, "\n", "\r"), "-")
	add("a tab as indentation", "metadata:\n\tname: x\n", "score.yaml:2:2: is not YAML: found character that cannot start any token; expected a YAML or JSON document; indent with spaces, not with tabs")
	add("a huge number", variables("      A: 123456789012345678901234567890\n"), "is beyond 9007199254740992")
	add("a number of a megabyte", variables("      A: "+fill("1")), "-")
	add("a float beyond doubles", variables("      A: 1e999\n"), "-")
	add("infinity", variables("      A: .inf\n"), "is not a finite number")
	add("minus infinity", variables("      A: -.Inf\n"), "is not a finite number")
	add("no number", variables("      A: .nan\n"), "is not a finite number")
	add("octal", variables("      A: 0o17\n"), "expected a string, got the number 0o17: put it in quotes")
	add("octal of YAML 1.1", variables("      A: 0644\n"), "expected a string, got the number 0644: put it in quotes")
	add("hexadecimal", variables("      A: 0xff\n"), "expected a string, got the number 0xff")
	add("binary digits", variables("      A: 0b11\n"), "expected a string, got the number 0b11")
	add("a number with underscores", variables("      A: 1_000\n"), "expected a string, got the number 1_000")
	add("minutes", variables("      A: 1:30\n"), "-")
	add("a version", variables("      A: 1.10\n"), "expected a string, got the number 1.10: put it in quotes")
	for _, word := range []string{"yes", "no", "on", "off", "y", "n", "Yes", "NO"} {
		add("the text "+word, variables("      A: "+word+"\n"), "-") // YAML 1.1 has them as booleans, YAML 1.2 and Towpath as text
	}
	add("a boolean of YAML 1.1", minimal+"    files: {/a: {content: x, noExpand: yes}}", "expected true or false, got a string; did you mean true?")
	add("a boolean as text", variables("      A: true\n"), "expected a string, got the boolean true: put it in quotes")
	add("null as text", variables("      A: null\n"), "expected a string, got nothing (null)")
	add("a tilde as text", variables("      A: ~\n"), "expected a string, got nothing (null)")
	add("a date", variables("      A: 2024-01-01\n"), "-")
	add("a time", variables("      A: 2001-12-14t21:59:43.10-05:00\n"), "-")
	add("two documents", minimal+"---\n"+minimal, "score.yaml:7:1: holds a second YAML document: expected one")
	add("a broken second document", minimal+"---\n[", "is not YAML")
	add("a list", "- a", "expected a Score document")
	add("a string", "a", "expected a Score document")
	add("nothing", "", "is empty")
	add("null", "null", "expected a Score document, a map with apiVersion, metadata and containers, got nothing")
	add("an empty map", "{}", "apiVersion: is required and missing: expected score.dev/v1b1")
	add("HTML", "<!DOCTYPE html><html><body>404</body></html>", "expected a Score document")
	add("a template that nobody expanded", "apiVersion: {{ .Version }}\n", "")
	add("a key that is a list", variables("      [a]: b\n"), "has a key that is not a string")
	add("a key that is null", variables("      ~: b\n"), "has a key that is not a string")
	add("a colon in text", variables("      A: b: c\n"), "quote a text that holds a colon and a space")
	return out
}

type hostileInput struct{ content, says string }

func laughs(first string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "a0: &a0 %s\n", first)
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	return b.String()
}

func mergeChain(n int) string {
	var b strings.Builder
	last := "a"
	for i := range n {
		fmt.Fprintf(&b, "b%d: &b%d {<<: *%s}\n", i, i, last)
		last = fmt.Sprintf("b%d", i)
	}
	return b.String()
}

func anchors(n int) string {
	return lines(n, "k%[1]d: &a%[1]d x\n")
}

func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func blockLevels(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func waiting(n int) string {
	var b strings.Builder
	b.WriteString("apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  c%d: {image: x, before: {c%d: {ready: started}}}\n", i+10, (i+1)%n+10)
	}
	return b.String()
}

func utf16Text(s string) string {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return string(out)
}

// What is made to hurt is refused with problems that say where and what, or is right; and it costs no more than a second of processor
// and 256 MiB. The memory is all that was ever allocated, which what is held at a time can only be less than, and the time that of
// the processor, so that a busy machine fails nothing.
func TestHostileInput(t *testing.T) {
	inputs := hostile()
	for i, name := range slices.Sorted(maps.Keys(inputs)) {
		in := inputs[name]
		t.Run(name, func(t *testing.T) {
			if len(in.content) > score.MaxFile {
				t.Fatalf("the input has %d bytes and would be refused for its size", len(in.content))
			}
			expects(t, in.says, costs(t, "as a document", &rendererv1.ScoreFile{Content: []byte(in.content)}))
			others := map[string]*rendererv1.ScoreFile{
				"as a property":  {Content: []byte(minimal), Properties: []string{"metadata.x=" + in.content}},
				"as both":        {Content: []byte(in.content), Overrides: []byte(in.content)},
				"as a source":    {Content: []byte(minimal + "    files: {/x: {source: x}}"), Sources: map[string][]byte{"x": []byte(in.content)}},
				"as an image":    {Content: []byte(strings.Replace(minimal, "nginx", ".", 1)), Image: in.content},
				"as a file name": {Filename: in.content, Content: []byte("x: 1")},
			}
			for j, how := range slices.Sorted(maps.Keys(others)) {
				// The race detector makes this many times as slow: each input then takes one of the other ways in turn.
				if slower == 1 || (i+j)%len(others) == 0 {
					costs(t, how, others[how])
				}
			}
		})
	}
}

func expects(t *testing.T, says string, err error) {
	t.Helper()
	switch {
	case says == "-" && err != nil:
		t.Errorf("want it to be right, got %.500v", err)
	case says != "-" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("want …%s…, got %.500v", says, err)
	}
}

// costs loads a file and checks what that cost and that an error says everything that errors say.
func costs(t *testing.T, how string, file *rendererv1.ScoreFile) error {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := processorTime(t)
	_, err := score.Load(file)
	took := processorTime(t) - began
	runtime.ReadMemStats(&after)
	t.Logf("%s: %d KiB, %s", how, (after.TotalAlloc-before.TotalAlloc)>>10, took.Round(time.Millisecond))
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 256<<20 {
		t.Errorf("%s: %d MiB were allocated", how, allocated>>20)
	}
	if took > time.Second*slower {
		t.Errorf("%s: %s of processor time", how, took)
	}
	if err != nil {
		wellPut(t, err)
	}
	return err
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What one file must not do, many cannot do either.
func TestManyHostileFilesAndProperties(t *testing.T) {
	bomb := laughs("[x, x, x, x, x, x, x, x, x, x]")
	file := &rendererv1.ScoreFile{Content: []byte(minimal)}
	for range 1000 {
		file.Properties = append(file.Properties, "metadata.x={"+strings.ReplaceAll(strings.TrimSuffix(bomb, "\n"), "\n", ", ")+"}")
	}
	expects(t, "is one value too many", costs(t, "a thousand properties", file))
	var files []*rendererv1.ScoreFile
	for i := range 5000 {
		files = append(files, &rendererv1.ScoreFile{Filename: fmt.Sprintf("%d.yaml", i), Content: []byte(bomb)})
	}
	began := processorTime(t)
	_, err := score.LoadAll(files)
	if took := processorTime(t) - began; took > 2*time.Second*slower {
		t.Errorf("%s of processor time", took)
	}
	expects(t, "makes the values of all files too many", err)
	wellPut(t, err)
	var many []*rendererv1.ScoreFile
	for i := range 2000 {
		many = append(many, &rendererv1.ScoreFile{Content: fmt.Appendf(nil, "apiVersion: score.dev/v1b1\nmetadata: {name: w%d}\ncontainers: {main: {image: x}}\n", i)})
	}
	if _, err := score.LoadAll(many); err != nil {
		t.Errorf("2000 workloads are refused: %.300v", err)
	}
}
