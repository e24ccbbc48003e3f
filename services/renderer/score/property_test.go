package score_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// real are the Score files of this repository: the example shop and the golden cases.
func real(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	for _, pattern := range []string{"../render/testdata/*/*.score.yaml", "../../../examples/shop/*.score.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, content)
		}
	}
	return append(out, []byte(everything))
}

// everything uses every field there is.
const everything = `apiVersion: score.dev/v1b1
metadata: {name: api, annotations: {towpath.dev/replicas: "2"}, team: shop}
service:
  ports:
    http: {port: 80, targetPort: 8080, protocol: TCP}
containers:
  main:
    image: registry.example.com/api:1
    command: [/api]
    args: ["--verbose"]
    variables: {URL: "http://${resources.db.host}:${resources.db.port}/${metadata.team}", A: $$x}
    files:
      /etc/a: {content: "${metadata.name}", mode: "0644", noExpand: false}
      /etc/b: {binaryContent: aGk=}
    volumes:
      /data: {source: "${resources.data}", path: sub, readOnly: true}
    resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 100m, memory: 64Mi}}
    livenessProbe: {exec: {command: [/check]}}
    readinessProbe: {httpGet: {path: /ready, port: 8080, scheme: HTTP, host: h, httpHeaders: [{name: A, value: b}]}}
    before: {init: {ready: complete}}
  init:
    image: init
    files: [{target: /x, content: [one, two]}]
    volumes: [{target: /y, source: "${resources.data}", read_only: true}]
resources:
  db: {type: postgres, class: large, id: shop.db, metadata: {annotations: {example.com/team: b}}, params: {version: "16"}}
  data: {type: volume}
`

// Whatever is changed in a real document, every problem that comes of it says where it is, line and column, and what was expected.
func TestEveryProblemOfAMutatedDocumentSaysWhereAndWhat(t *testing.T) {
	documents := real(t)
	wrong := 0
	rapid.Check(t, func(rt *rapid.T) {
		lines := strings.SplitAfter(string(rapid.SampledFrom(documents).Draw(rt, "document")), "\n")
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			lines = mutated(rt, lines)
		}
		file := &rendererv1.ScoreFile{Filename: "a.yaml", Content: []byte(strings.Join(lines, ""))}
		if rapid.Bool().Draw(rt, "overrides") {
			file.Overrides = []byte(strings.Join(mutated(rt, []string{"containers:\n", "  main:\n", "    image: x\n", "    variables: {A: null, B: \"${resources.db.x}\"}\n"}), ""))
		}
		if rapid.Bool().Draw(rt, "properties") {
			file.Properties = []string{rapid.SampledFrom([]string{"containers.main.image=", "metadata.name=[", "containers.main.args.7=x", "a", "=", "resources.db.type=1", "metadata=x", "service.ports.http.port=x"}).Draw(rt, "property")}
		}
		if _, err := score.Load(file); err != nil {
			wrong++
			wellPut(t, err)
		}
		if t.Failed() {
			rt.Fatalf("%s", file.GetContent())
		}
	})
	if wrong == 0 {
		t.Error("no document was wrong")
	}
}

func mutated(t *rapid.T, lines []string) []string {
	lines = slices.Clone(lines)
	i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
	line := lines[i]
	at := rapid.IntRange(0, len(line)).Draw(t, "column")
	switch rapid.IntRange(0, 6).Draw(t, "change") {
	case 0:
		return slices.Delete(lines, i, i+1)
	case 1:
		return slices.Insert(lines, i, lines[rapid.IntRange(0, len(lines)-1).Draw(t, "other")])
	case 2: // a typing mistake
		if at < len(line) {
			lines[i] = line[:at] + line[at+1:]
		}
	case 3:
		lines[i] = line[:at] + rapid.SampledFrom([]string{"x", "\"", ":", " ", "{", "[", "]", "}", "\t", "&a ", "*a", "!x ", "- ", "${", "${a.b}", "\xff", "\x00", "1", "#", ", "}).Draw(t, "text") + line[at:]
	case 4: // another value
		key, _, _ := strings.Cut(line, ":")
		lines[i] = key + ": " + rapid.SampledFrom([]string{"1", "true", "", "~", "[]", "{}", "[1]", "{a: b}", ".nan", "2024-01-01", "'${resources.nope.x}'", "'${}'", "9999999999999999999"}).Draw(t, "value") + "\n"
	case 5: // other indentation
		lines[i] = strings.Repeat(" ", rapid.IntRange(0, 3).Draw(t, "blanks")) + line
	default:
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return append(lines, "")
}

// All problems are told at once, also those beside a part that cannot be read.
func TestAProblemHidesNoOther(t *testing.T) {
	got := problems(t, &rendererv1.ScoreFile{Filename: "a.yaml", Content: []byte(`apiVersion: score.dev/v1b1
metadata: {name: ab, name: cd}
containers:
  main:
    image: !secret x
    variables: {A: 1, B: .nan, C: "${metadata.nope}"}
    files: [{contnt: x}]
`), Overrides: []byte("containers: {main: {args: x}}\nmetadata: [\n"), Properties: []string{"x"}})
	for _, want := range []string{
		"a.yaml:2:22 metadata.name: is given twice",
		"a.yaml:5:12 containers.main.image: has the YAML tag !secret",
		"a.yaml:6:20 containers.main.variables.A: expected a string, got the number 1",
		"a.yaml:6:26 containers.main.variables.B: .nan is not a finite number",
		`a.yaml:6:36 containers.main.variables.C: ${metadata.nope}: metadata has no "nope"`,
		"a.yaml:7:13 containers.main.files.0: needs a target",
		`a.yaml:7:14 containers.main.files.0.contnt: is not a known field; did you mean "content"?`,
		"a.yaml (overrides):2:1: is not YAML",
		"properties[0]:1:1: expected path=value",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want …%s… in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 10 { // and that the file needs some content
		t.Errorf("%d problems:\n%s", n, got)
	}
}

// A placeholder that means nothing is pointed at inside of the text it stands in, also in a block of text and in a source file.
func TestAPlaceholderIsPointedAtWhereItStands(t *testing.T) {
	got := problems(t, &rendererv1.ScoreFile{Filename: "dir/a.yaml", Content: []byte(minimal + `    variables: {A: "x ${metadata.b}"}
    files:
      /a:
        content: |
          first
            second ${metadata.c} ${metadata.name}
      /b: {source: ./conf/b.txt}
`), Sources: map[string][]byte{"conf/b.txt": []byte("one\n  é ${metadata.d}\n")}})
	want := strings.TrimPrefix(`
dir/a.yaml:7:23 containers.main.variables.A: ${metadata.b}: metadata has no "b" (expected one of: name)
dir/a.yaml:12:20 containers.main.files./a.content: ${metadata.c}: metadata has no "c" (expected one of: name)
dir/conf/b.txt:2:5 containers.main.files./b.content: ${metadata.d}: metadata has no "d" (expected one of: name)`, "\n")
	if got != want {
		t.Errorf("want\n%s\ngot\n%s", want, got)
	}
}
