package score_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/score"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

const minimal = `apiVersion: score.dev/v1b1
metadata:
  name: api
containers:
  main:
    image: nginx
`

func load(t *testing.T, f *rendererv1.ScoreFile) map[string]any {
	t.Helper()
	doc, err := score.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// problems loads a document that must be invalid and gives its problems as "path: problem" lines.
func problems(t *testing.T, f *rendererv1.ScoreFile) string {
	t.Helper()
	doc, err := score.Load(f)
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_SCORE || !errs.Is(err, errs.Invalid) {
		t.Fatalf("want REASON_INVALID_SCORE, got %v and %v", err, doc)
	}
	var lines []string
	for _, field := range err.(*errs.Error).Fields {
		lines = append(lines, field.Path+": "+field.Problem)
	}
	return strings.Join(lines, "\n")
}

func TestLoadGivesTheCanonicalDocument(t *testing.T) {
	got := load(t, &rendererv1.ScoreFile{
		Content: []byte(`
apiVersion: score.dev/v1b1
metadata: {name: api, zone: eu, build: 17, when: 2024-01-01}
x: &probe
  httpGet: {path: /, port: 80}
containers:
  main:
    image: .
    variables: &vars {A: "1", B: "two"}
    files:
      - {target: /lines, content: [a, b], mode: "0644"}
      - {target: /src, source: ./conf/app.txt}
    volumes:
      - {target: /data, source: "${resources.data}", read_only: true}
    livenessProbe: *probe
  side:
    image: side
    variables:
      <<: *vars
      B: own
resources:
  data: {type: volume, params: {size: 1Gi}}
`),
		Overrides:  []byte("x: null\ncontainers: {side: {args: [one]}}"),
		Properties: []string{"containers.side.args.-1=two", "containers.main.variables.C=\"3\"", "metadata.zone=", `metadata.a\.b=true`},
		Image:      "registry.example.com/api:1",
		Sources:    map[string][]byte{"conf/app.txt": []byte("text")},
	})
	want := map[string]any{
		"apiVersion": "score.dev/v1b1",
		"metadata":   map[string]any{"name": "api", "build": 17.0, "when": "2024-01-01", "a.b": true},
		"containers": map[string]any{
			"main": map[string]any{
				"image":     "registry.example.com/api:1",
				"variables": map[string]any{"A": "1", "B": "two", "C": "3"},
				"files": map[string]any{
					"/lines": map[string]any{"content": "a\nb", "mode": "0644"},
					"/src":   map[string]any{"content": "text"},
				},
				"volumes":       map[string]any{"/data": map[string]any{"source": "${resources.data}", "readOnly": true}},
				"livenessProbe": map[string]any{"httpGet": map[string]any{"path": "/", "port": 80.0}},
			},
			"side": map[string]any{"image": "side", "args": []any{"one", "two"}, "variables": map[string]any{"A": "1", "B": "own"}},
		},
		"resources": map[string]any{"data": map[string]any{"type": "volume", "params": map[string]any{"size": "1Gi"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if found := score.Check(got, "doc"); len(found) > 0 {
		t.Errorf("the canonical document is not valid: %v", found)
	}
}

func TestLoadTakesFilesThatAreNotTextAsBinary(t *testing.T) {
	doc := load(t, &rendererv1.ScoreFile{Content: []byte(minimal + "    files: {/x: {source: x.bin}}\n"), Sources: map[string][]byte{"x.bin": {0xff, 0}}})
	files := doc["containers"].(map[string]any)["main"].(map[string]any)["files"]
	if diff := cmp.Diff(map[string]any{"/x": map[string]any{"binaryContent": "/wA="}}, files); diff != "" {
		t.Error(diff)
	}
}

func TestLoadReportsAllProblemsWithTheirPlaces(t *testing.T) {
	got := problems(t, &rendererv1.ScoreFile{Filename: "shop/score.yaml", Content: []byte(`apiVersion: score.dev/v1b1
metadata:
  name: Api
container: {}
containers:
  main:
    imagee: nginx
    variables:
      PORT: 8080
      URL: ${resources.dbb.host}
resources:
  db:
    type: postgres
`)})
	want := strings.TrimPrefix(`
shop/score.yaml:3:9 metadata.name: "Api" is not valid: expected 2 to 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit
shop/score.yaml:4:1 container: is not a known field; did you mean "containers"? (expected one of: apiVersion, metadata, containers, service, resources)
shop/score.yaml:7:5 containers.main.image: is required and missing: expected an image, such as registry.example.com/shop/api:1.4.2
shop/score.yaml:7:5 containers.main.imagee: is not a known field; did you mean "image"? (expected one of: image, command, args, variables, files, volumes, resources, livenessProbe, readinessProbe, before)
shop/score.yaml:9:13 containers.main.variables.PORT: expected a string, got the number 8080: put it in quotes
shop/score.yaml:10:12 containers.main.variables.URL: ${resources.dbb.host}: the document declares no resource "dbb"; did you mean "db"? (expected one of: db)`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPropertyOverrides(t *testing.T) {
	const base = minimal + "    args: [a, b, c]\n"
	for name, tc := range map[string]struct {
		property string
		args     []any
		says     string
	}{
		"an index replaces":               {"containers.main.args.1=x", []any{"a", "x", "c"}, ""},
		"minus one appends":               {"containers.main.args.-1=x", []any{"a", "b", "c", "x"}, ""},
		"an empty value deletes":          {"containers.main.args.0=", []any{"b", "c"}, ""},
		"a value is YAML":                 {`containers.main.args=["x", "y=z"]`, []any{"x", "y=z"}, ""},
		"deleting nothing is nothing":     {"containers.main.files./x=", []any{"a", "b", "c"}, ""},
		"an index out of range":           {"containers.main.args.3=x", nil, "properties[0]:1:24 containers.main.args.3: index 3 is out of range: the list has 3 elements"},
		"deleting minus one":              {"containers.main.args.-1=", nil, "index -1 is out of range"},
		"a word as an index":              {"containers.main.args.x=1", nil, `"x" is not an index`},
		"a step into a string":            {"metadata.name.first=x", nil, `cannot step into "first": there is a string`},
		"no equals sign":                  {"containers.main.image", nil, "expected path=value"},
		"no path":                         {"=x", nil, "has an empty part"},
		"an empty step":                   {"containers..x=1", nil, "has an empty part"},
		"a value that is not YAML":        {"metadata.x=[1", nil, "properties[0]"},
		"a value that breaks the schema":  {"containers.main.args=1", nil, "properties[0]:1:22 containers.main.args: expected a list of strings"},
		"an unknown field says who it is": {"containers.main.imag=x", nil, `properties[0]:1:22 containers.main.imag: is not a known field; did you mean "image"?`},
	} {
		t.Run(name, func(t *testing.T) {
			f := &rendererv1.ScoreFile{Content: []byte(base), Properties: []string{tc.property}}
			if tc.says != "" {
				if got := problems(t, f); !strings.Contains(got, tc.says) {
					t.Errorf("want …%s…, got %s", tc.says, got)
				}
				return
			}
			got := load(t, f)["containers"].(map[string]any)["main"].(map[string]any)["args"]
			if diff := cmp.Diff(any(tc.args), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOverridesDocument(t *testing.T) {
	doc := load(t, &rendererv1.ScoreFile{Content: []byte(minimal + "    args: [a]\n    variables: {A: a, B: b}\n"),
		Overrides: []byte("containers: {main: {args: [b], variables: {A: null, C: c}, files: {/x: {content: y, mode: null}}}}")})
	want := map[string]any{"image": "nginx", "args": []any{"b"}, "variables": map[string]any{"B": "b", "C": "c"},
		"files": map[string]any{"/x": map[string]any{"content": "y"}}}
	if diff := cmp.Diff(any(want), doc["containers"].(map[string]any)["main"]); diff != "" {
		t.Error(diff)
	}
	if got := problems(t, &rendererv1.ScoreFile{Content: []byte(minimal), Overrides: []byte("metadata:\n  name: 1\n")}); !strings.Contains(got, "score.yaml (overrides):2:9 metadata.name: expected a string") {
		t.Errorf("a problem of the overrides does not say where it is: %s", got)
	}
}

func TestLoadRefusesWhatIsTooLarge(t *testing.T) {
	big := make([]byte, 10<<20)
	for name, tc := range map[string]struct {
		file  *rendererv1.ScoreFile
		field string
	}{
		"the document":  {&rendererv1.ScoreFile{Filename: "a.yaml", Content: big}, "a.yaml content"},
		"the overrides": {&rendererv1.ScoreFile{Content: []byte(minimal), Overrides: big}, "score.yaml overrides"},
		"a source":      {&rendererv1.ScoreFile{Content: []byte(minimal), Sources: map[string][]byte{"x": big}}, `score.yaml sources["x"]`},
	} {
		_, err := score.Load(tc.file)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_TOO_LARGE {
			t.Errorf("%s: want REASON_TOO_LARGE, got %v", name, err)
			continue
		}
		e := err.(*errs.Error)
		if e.Fields[0].Path != tc.field || e.Meta["limit"] != "1048576" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestLoadAll(t *testing.T) {
	other := strings.Replace(minimal, "name: api", "name: web", 1)
	got, err := score.LoadAll([]*rendererv1.ScoreFile{{Content: []byte(minimal)}, {Content: []byte(other)}})
	if err != nil || len(got) != 2 || got["web"].GetFields()["apiVersion"].GetStringValue() != "score.dev/v1b1" {
		t.Fatalf("%v %v", got, err)
	}
	_, err = score.LoadAll([]*rendererv1.ScoreFile{{Filename: "a", Content: []byte(minimal)}, {Filename: "b", Content: []byte("x: 1")}, {Filename: "c", Content: []byte(minimal)}})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_SCORE {
		t.Fatal(err)
	}
	text := err.Error()
	for _, want := range []string{"b:1:1 containers: is required", "c:3:9 metadata.name: the workload \"api\" is in a:3:9 already"} {
		if !strings.Contains(text, want) {
			t.Errorf("want …%s…, got %s", want, text)
		}
	}
	var many []*rendererv1.ScoreFile
	for range 9 {
		many = append(many, &rendererv1.ScoreFile{Content: make([]byte, 1<<20)})
	}
	if _, err := score.LoadAll(many); errs.ReasonOf(err) != errorsv1.Reason_REASON_TOO_LARGE {
		t.Errorf("nine files of a megabyte: want REASON_TOO_LARGE, got %v", err)
	}
}
