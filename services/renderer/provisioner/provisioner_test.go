package provisioner_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/match"
	"github.com/towpath-dev/towpath/services/renderer/provisioner"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func load(t testing.TB, text string) (*provisioner.Loaded, error) {
	t.Helper()
	return provisioner.Load(map[string][]byte{"a.provisioners.yaml": []byte(text)})
}

// problemsOf gives the wrong places of an error, one a line.
func problemsOf(t testing.TB, err error) string {
	t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Invalid {
		t.Fatalf("error = %v", err)
	}
	var out []string
	for _, f := range e.Fields {
		out = append(out, f.Path+" "+f.Problem)
	}
	return strings.Join(out, "\n")
}

// The file in testdata is one as organisations have them; the golden case of the renderer renders what comes of it.
func TestAFileBecomesTheDefinitionsOfTheGoldenCase(t *testing.T) {
	text, err := os.ReadFile("testdata/10-company.provisioners.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := provisioner.Load(map[string][]byte{"10-company.provisioners.yaml": text})
	if err != nil {
		t.Fatal(err)
	}
	input, err := os.ReadFile("../render/testdata/provisioners/input.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(input)
	if err != nil {
		t.Fatal(err)
	}
	want := &rendererv1.RenderInput{}
	if err := protojson.Unmarshal(asJSON, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.GetDefinitions(), got.Definitions, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if len(got.Warnings) > 0 {
		t.Errorf("warnings: %q", got.Warnings)
	}
}

func TestEveryWrongPlaceIsToldWithItsLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"":     "a.provisioners.yaml:1:1 is empty",
		"a: b": "a.provisioners.yaml:1:1 is not a list of provisioners",
		"- a":  "a.provisioners.yaml:1:3 is no provisioner",
		"- {":  "a.provisioners.yaml:1:1 is not YAML",
		"- uri: template://a/b\n  type: x1\n  outputs: 'a: 1'\n---\n- {}": "is a second YAML document",
		"\xff":                       "is not UTF-8",
		"- type: a1":                 "a.provisioners.yaml:1:3 has no uri",
		"- uri: template://a/b":      "a.provisioners.yaml:1:3 has no type",
		"- uri: nothing\n  type: x1": `a.provisioners.yaml:1:8 uri "nothing" is none: write template://`,
		"- uri: tmplate://a\n  type: x1\n  outputs: 'a: 1'":                                      `has the scheme "tmplate"; did you mean "template"?`,
		"- uri: template://a\n  type: x1":                                                        "has neither outputs nor manifests",
		"- uri: template://a\n  type: x1\n  output: a":                                           `a.provisioners.yaml:3:3 "output" is not known; did you mean "outputs"?`,
		"- uri: template://a\n  type: x1\n  services: a":                                         `a.provisioners.yaml:3:3 "services" is of provisioner files for score-compose`,
		"- uri: template://a\n  uri: template://b\n  type: x1\n  outputs: 'a: 1'":                `a.provisioners.yaml:2:3 "uri" is given twice`,
		"- uri: template://a\n  type: x1\n  args: [a]\n  outputs: 'a: 1'":                        "has args, which belong to cmd://",
		"- uri: cmd://a\n  type: x1\n  outputs: 'a: 1'":                                          "has templates, which belong to template://",
		"- uri: template://a\n  type: [x1]\n  outputs: 'a: 1'":                                   "a.provisioners.yaml:2:9 type is not text",
		"- uri: template://a\n  type: null\n  outputs: 'a: 1'":                                   "type is empty",
		"- uri: template://a\n  type: a b\n  outputs: 'a: 1'":                                    `a.provisioners.yaml:2:9 type "a b" is not valid`,
		"- uri: template://a\n  type: x1\n  class: ''\n  outputs: 'a: 1'":                        `class "" is not valid`,
		"- uri: template://a\n  type: x1\n  id: A\n  outputs: 'a: 1'":                            `id "A" is not valid`,
		"- uri: template://a\n  type: x1\n  supported_params: a\n  outputs: 'a: 1'":              "supported_params is not a list of names",
		"- uri: template://a\n  type: x1\n  expected_outputs: [{}]\n  outputs: 'a: 1'":           "a.provisioners.yaml:3:22 expected_outputs has an entry that is no name",
		"- uri: template://a/b\n  type: x1\n  outputs: |\n    a: 1\n    b: {{ nope }}\n":         `a.provisioners.yaml:5:1 template://a/b outputs function "nope" not defined`,
		"- uri: template://a/b\n  type: x1\n  outputs: |\n    b: {{ now }}\n":                    `a.provisioners.yaml:4:1 template://a/b outputs the function "now" depends on the clock`,
		"- uri: template://a/b\n  type: x1\n  manifests: |\n    - {{ genPrivateKey \"rsa\" }}\n": `the function "genPrivateKey" is random; for a password give a Secret the annotation towpath.dev/generate`,
		"- uri: template://a/b\n  type: x1\n  outputs: 'a: {{ env \"HOME\" }}'":                  `reads the machine`,
		"- uri: cmd://bash\n  type: x1\n- uri: cmd://sh\n  type: y1":                             "a.provisioners.yaml:1:3 cmd://bash runs a program (cmd://), which Towpath does not do",
		"- &a {uri: template://a, type: x1, outputs: 'a: 1'}\n- *a":                              "a.provisioners.yaml:2:3 is no provisioner",
	} {
		_, err := load(t, text)
		if got := problemsOf(t, err); !strings.Contains(got, want) {
			t.Errorf("%q: want %q in:\n%s", text, want, got)
		}
	}
}

func TestProblemsOfAllFilesAreToldAtOnce(t *testing.T) {
	_, err := provisioner.Load(map[string][]byte{"b": []byte("- uri: template://a\n  typ: x\n"), "a": []byte("{")})
	got := problemsOf(t, err)
	for _, want := range []string{"a:1:1 is not YAML", `b:2:3 "typ" is not known; did you mean "type"?`, "b:1:3 has no type"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in:\n%s", want, got)
		}
	}
}

func TestFilesThatAreTooLargeAreRefused(t *testing.T) {
	_, err := load(t, "- uri: template://a/b\n  type: x1\n  outputs: "+strings.Repeat("a", 600<<10))
	if got := problemsOf(t, err); !strings.Contains(got, "the limit is") {
		t.Error(got)
	}
	_, err = load(t, strings.Repeat("- uri: template://a/b\n  type: x1\n  outputs: 'a: 1'\n", 501))
	if got := problemsOf(t, err); !strings.Contains(got, "there may be 500 provisioners") {
		t.Error(got)
	}
}

func TestAProgramIsRefusedWhereSomebodyAsksForIt(t *testing.T) {
	got, err := load(t, "- uri: cmd://bash#first\n  type: tool\n  args: [-c, 'echo']\n- uri: template://a/tool\n  type: tool\n  class: large\n  outputs: 'a: 1'\n- uri: template://a/b\n  type: other\n  outputs: 'a: 1'\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a.provisioners.yaml:4:3 template://a/tool can never answer: a.provisioners.yaml:1:3 cmd://bash#first comes before it and answers all that it could",
		"a.provisioners.yaml:1:3 cmd://bash#first runs a program, which Towpath does not do; whoever asks for this resource is told so",
	}
	if diff := cmp.Diff(want, got.Warnings); diff != "" {
		t.Error(diff)
	}
	d, err := definition.Compile(got.Definitions[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Make(&definition.Request{Uid: "tool.default#a"})
	if err == nil || !strings.Contains(err.Error(), "the provisioner cmd://bash#first runs a program (cmd://), which Towpath does not do") {
		t.Errorf("error = %v", err)
	}
}

func TestResourcesOfTheTypeEnvironmentStayTheVariables(t *testing.T) {
	got, err := load(t, "- uri: template://a/env\n  type: environment\n  outputs: 'a: 1'\n")
	if err != nil || len(got.Definitions) != 0 || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "answered by the variables") {
		t.Errorf("%v %v", got, err)
	}
}

func TestNamesAreMadeOfURIsAndUnlikeEachOther(t *testing.T) {
	got, err := load(t, `
- {uri: "template://Company/PostgreSQL", type: x1, outputs: "a: 1"}
- {uri: "template://company/postgresql", type: x2, outputs: "a: 1"}
- {uri: "template://1", type: x3, outputs: "a: 1"}
- {uri: "template://`+strings.Repeat("long-", 30)+`", type: x4, outputs: "a: 1"}
`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range got.Definitions {
		names = append(names, strings.TrimPrefix(d.GetName(), "resourceDefinitions/"))
	}
	if diff := cmp.Diff([]string{"company-postgresql", "company-postgresql-2", "provisioner-1"}, names[:3]); diff != "" {
		t.Error(diff)
	}
	if n := names[3]; len(n) > 63 || !strings.HasPrefix(n, "long-long-") {
		t.Errorf("name of %d characters: %s", len(n), n)
	}
}

// Whatever entries there are, in whatever order: who answers is the first that fits, as score-k8s has it.
func TestTheFirstEntryThatFitsAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes, ids := []string{"", "default", "large", "small"}, []string{"", "shared", "api.db"}
		type rule struct{ class, id string }
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rule {
			return rule{rapid.SampledFrom(classes).Draw(t, "class"), rapid.SampledFrom(ids).Draw(t, "id")}
		}), 1, 8).Draw(t, "rules")
		files := map[string][]byte{}
		for i, r := range rules {
			text := fmt.Sprintf("- uri: template://o/n%d\n  type: store\n  outputs: 'a: 1'\n", i)
			if r.class != "" {
				text += "  class: " + r.class + "\n"
			}
			if r.id != "" {
				text += "  id: " + r.id + "\n"
			}
			files[fmt.Sprintf("%d.provisioners.yaml", i)] = []byte(text)
		}
		loaded, err := provisioner.Load(files)
		if err != nil {
			t.Fatal(err)
		}
		for _, class := range classes[1:] {
			for _, id := range append(ids[1:], "web.other") {
				want := ""
				for i, r := range rules {
					if (r.class == "" || r.class == class) && (r.id == "" || r.id == id) {
						want = fmt.Sprintf("resourceDefinitions/o-n%d", i)
						break
					}
				}
				got, err := match.Find(&rendererv1.MatchRequest{Type: "store", Class: class, ResId: id, App: "shop", Env: "dev"}, loaded.Definitions)
				if err != nil {
					t.Fatal(err)
				}
				if got.GetName() != want {
					t.Fatalf("store.%s#%s is answered by %q, want %q; rules %v", class, id, got.GetName(), want, rules)
				}
			}
		}
		for _, d := range loaded.Definitions {
			for _, other := range loaded.Definitions {
				if text, both := match.Conflict(d, other); both && d != other {
					t.Fatalf("%s and %s both have %s: the catalog would refuse one", d.GetName(), other.GetName(), text)
				}
			}
		}
	})
}
