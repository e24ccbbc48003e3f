package definition_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// make runs a definition whose outputs are one template, x.
func run(template string, params map[string]any) (definition.Result, error) {
	set := definition.NewSet()
	text := "type: test\nopen: true\nparams: {}\noutputs: |\n  " + strings.ReplaceAll(template, "\n", "\n  ") + "\n"
	if err := set.Add([]byte(text)); err != nil {
		return definition.Result{}, err
	}
	return set.Make(&definition.Request{Uid: "test.default#a", Type: "test", Class: "default", Id: "a", Name: "test-a", Params: params})
}

func TestBuiltinDefinitionsCompile(t *testing.T) {
	if err := definition.Builtin().CompileAll(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"amqp", "dns", "elasticsearch", "endpoint", "environment", "kafka", "kafka-topic", "llm-model", "mongodb", "mssql", "mysql", "postgres", "postgres-instance",
		"postgres.shared", "redis", "route", "s3", "service", "service-port", "volume",
	}
	if diff := cmp.Diff(want, definition.Builtin().Types()); diff != "" {
		t.Error(diff)
	}
}

func TestTemplatesSeeParamsAndPureFunctions(t *testing.T) {
	for template, want := range map[string]any{
		`x: {{ .Params.a | default "d" | upper }}`:                        "D",
		`x: {{ .Params.n | int }}`:                                        7.0,
		`x: {{ list 1 2 | toJson }}`:                                      []any{1.0, 2.0},
		`x: {{ list "b" "a" | sortAlpha | join "," | quote }}`:            "a,b",
		`x: {{ until 3 | join "-" | quote }}`:                             "0-1-2",
		`x: {{ replace "." "-" "a.b" | trunc 2 | quote }}`:                "a-",
		`x: {{ printf "%03d" 7 | quote }}`:                                "007",
		`x: {{ repeat 3 "ab" }}`:                                          "ababab",
		"x: |{{ \"a\\nb\" | nindent 2 }}":                                 "a\nb\n",
		`x: {{ dict "k" "v" | toJson }}`:                                  map[string]any{"k": "v"},
		`x: {{ sha256sum "a" | trunc 4 }}`:                                "ca97",
		`x: {{ semverCompare ">=1.2" "1.3.0" }}`:                          true,
		`{{ define "t" }}{{ . }}{{ end }}x: {{ template "t" .Uid }}`:      "test.default#a",
		`x: {{ range $i, $e := list 1 2 3 }}{{ $e }}{{ else }}-{{ end }}`: 123.0,
		`x: {{ encodeSecretRef "db" "password" | quote }}`:                "(towpath-secret:db/password)",
		`x: {{ label "A.very_odd Name" }}`:                                "a-very-odd-name",
	} {
		got, err := run(template, map[string]any{"n": "7"})
		if err != nil {
			t.Errorf("%s: %v", template, err)
			continue
		}
		if diff := cmp.Diff(want, got.Outputs["x"]); diff != "" {
			t.Errorf("%s: %s", template, diff)
		}
	}
}

func TestTemplatesCannotReachTheMachineTheClockOrChance(t *testing.T) {
	for function, why := range map[string]string{
		`env "HOME"`: "reads the machine", `expandenv "$HOME"`: "reads the machine", `getHostByName "localhost"`: "reads the machine",
		`now`: "depends on the clock", `ago 1`: "depends on the clock", `date "2006" 0`: "depends on the clock", `unixEpoch 0`: "depends on the clock",
		`randAlphaNum 8`: "is random", `randInt 1 2`: "is random", `uuidv4`: "is random", `genPrivateKey "rsa"`: "is random",
		`bcrypt "x"`: "is random", `htpasswd "a" "b"`: "is random", `shuffle "ab"`: "is random",
		`derivePassword 1 "long" "a" "b" "c"`: "is not among the functions", `towpathLoopStep`: "not defined", `exec "ls"`: "not defined",
	} {
		_, err := run("x: {{ "+function+" }}", nil)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: want …%s…, got %v", function, why, err)
		}
	}
}

// Templates are programs; these run without end, or make much of little. Each must end soon and say why. The deadline only
// tells apart "soon" and "never".
func TestTemplatesCannotRunWithoutEnd(t *testing.T) {
	nested := strings.Repeat("{{ range until 1000 }}", 6) + strings.Repeat("{{ end }}", 6)
	data := strings.Repeat("{{ range $.Params.list }}", 6) + strings.Repeat("{{ end }}", 6)
	doubled := `{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range until 60 }}{{ $s = print $s $s }}{{ end }}`
	lists := `{{ $l := list "x" }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}x: {{ toJson $l }}`
	self := `{{ $d := dict }}{{ $_ := set $d "d" $d }}x: {{ toJson $d }}`
	list := make([]any, 1000)
	for name, template := range map[string]string{
		"nested loops over until":   nested,
		"nested loops over data":    data,
		"a template that calls":     `{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" . }}`,
		"templates that call twice": `{{ define "t" }}{{ if gt (int .) 0 }}{{ template "t" (sub . 1) }}{{ template "t" (sub . 1) }}{{ end }}{{ end }}{{ template "t" 100 }}`,
		"much output":               `{{ range until 90000 }}some text that is repeated many times over{{ end }}`,
		"doubled text":              doubled,
		"doubled lists":             lists,
		"a map that holds itself":   self,
		"a long range":              `{{ range until 1000000000 }}{{ end }}`,
		"a range backwards":         `{{ range untilStep 1000000000 0 -1 }}{{ end }}`,
		"a long repeat":             `{{ repeat 1000000000 "abc" }}`,
		"a deep indent":             `{{ indent 1000000000 "abc" }}`,
		"a wide format":             `{{ printf "%1000000d" 1 }}`,
		"a wide format by argument": `{{ printf "%*d" 1000000 1 }}`,
		"a large replacement":       `{{ $s := repeat 100000 "ab" }}{{ replace "a" $s $s }}`,
		"a large separator":         `{{ join (repeat 100000 "ab") (until 10000) }}`,
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got, err := run(template, map[string]any{"list": list})
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED {
				t.Errorf("want REASON_DEFINITION_FAILED, got %v and %v", err, got)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestMakeSaysWhatIsWrong(t *testing.T) {
	for template, want := range map[string]string{
		`{{ fail "give a host" }}`:                  "the resource test.default#a cannot be made: give a host",
		`{{ required "give a port" .Params.port }}`: "give a port",
		`x: {{ .Params.gone }}`:                     "a value that is not there",
		`x: {{ .Nope }}`:                            "Nope",
		`x: [`:                                      "is not the YAML of outputs",
		"x: 1\nx: 2":                                "is not the YAML of outputs",
		`- x`:                                       "is not the YAML of outputs",
		`x: {{ encodeSecretRef "a b" "c" }}`:        "are not the name of a Secret",
	} {
		_, err := run(template, nil)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_DEFINITION_FAILED || !strings.Contains(errs.Message(err), want) {
			t.Errorf("%s: want …%s…, got %v", template, want, err)
		}
	}
}

func TestSplitSecrets(t *testing.T) {
	secret := func(name, key string) definition.Piece {
		return definition.Piece{Secret: &definition.Secret{Name: name, Key: key}}
	}
	for text, want := range map[string][]definition.Piece{
		"":                        {{Text: ""}},
		"plain":                   {{Text: "plain"}},
		"(towpath-secret:db/p)":   {secret("db", "p")},
		"a(towpath-secret:db/p)b": {{Text: "a"}, secret("db", "p"), {Text: "b"}},
		"(towpath-secret:a/b)(towpath-secret:c/d.e)": {secret("a", "b"), secret("c", "d.e")},
		"(towpath-secret:broken":                     {{Text: "(towpath-secret:broken"}},
	} {
		if diff := cmp.Diff(want, definition.SplitSecrets(text)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestShortenMakesLabelsThatStayDifferent(t *testing.T) {
	seen := map[string]bool{}
	for i := range 100 {
		name := definition.Shorten(fmt.Sprintf("%s-%d", strings.Repeat("long", 30), i), 50)
		if len(name) > 50 || seen[name] || strings.HasSuffix(name, "-") {
			t.Errorf("%q", name)
		}
		seen[name] = true
	}
	for text, want := range map[string]string{"a.b": "a-b", "-a-": "a", "Ab_c": "ab-c"} {
		if got := definition.Shorten(text, 50); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := definition.Shorten("äöü", 50); got == "" || strings.HasPrefix(got, "-") {
		t.Errorf("a text without a letter of a label: %q", got)
	}
}
