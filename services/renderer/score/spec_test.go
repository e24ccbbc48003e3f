package score_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/renderer/score"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Names, numbers and amounts are taken and refused at exactly the borders that the specification draws.
func TestSpellings(t *testing.T) {
	l62, l63, l64 := strings.Repeat("a", 62), strings.Repeat("a", 63), strings.Repeat("a", 64)
	host253 := strings.Join([]string{l63, l63, l63, strings.Repeat("a", 60)}, ".") // with a name of 62, a key of 315
	label := [2][]string{{"ab", "a0", "0a", "a-b", "a--b", l63}, {"a", l64, "-a", "a-", "A1", "a.b", "a_b", ""}}
	typ := [2][]string{{"ab", "Ab", "A9", "a-B", l63}, {"a", l64, "-a", "a-", "a.b", "a_b", "''"}}
	for where, texts := range map[string][2][]string{
		"metadata.name=%":                 label,
		"service.ports.%={port: 1}":       label,
		"containers.%={image: x}":         label,
		"resources.%={type: dns}":         label,
		"resources.db.type=%":             typ,
		"resources.db.class=%":            typ,
		"resources.db.id=%":               {{"ab", "a.b", "a-b.c--d", "0.1x", l63}, {"a", l64, "a..b", ".a", "a.", "a-.b", "a.-b", "A.b", "a_b", "''"}},
		"service.ports.http.port=%":       {{"1", "65535", "80.0"}, {"0", "65536", "-1", "1.5", "'80'", "true", "http", "[1]"}},
		"service.ports.http.targetPort=%": {{"1", "65535"}, {"0", "65536", "http"}},
		"service.ports.http.protocol=%":   {{"TCP", "UDP"}, {"tcp", "SCTP", "''"}},
		"containers.main.resources.limits.memory=%": {{"'1'", "1K", "1M", "1G", "1T", "1P", "1E", "1Ki", "64Mi", "1.5Gi", "1Ti", "1Pi", "1Ei", "0.5Gi", "'0.1'", "'10'"},
			{"'0'", "0Mi", "1k", "1m", "1B", "01Mi", "1.Mi", ".5Mi", "1.5.5Gi", "1e3", "1 Mi", "-1Mi", "''"}},
		"containers.main.resources.requests.cpu=%":                                                         {{"'0'", "'1'", "100m", "'0.5'", "'007'"}, {"1.5m", "'1.'", "'.5'", "1k", "-1m", "''", "1"}},
		"containers.main.files./a={content: x, mode: %}":                                                   {{"'644'", "'0644'", "'777'", "'000'"}, {"'64'", "'00644'", "'888'", "'1777'", "644", "''"}},
		"containers.main.readinessProbe={httpGet: {path: /, port: 1, scheme: %}}":                          {{"HTTP", "HTTPS"}, {"http", "TCP"}},
		"containers.main.readinessProbe={httpGet: {path: /, port: 1, httpHeaders: [{name: %, value: x}]}}": {{"A", "x-Y_9"}, {"''", "a b", "a:", "ä"}},
		"containers.main.before={other: {ready: %}}":                                                       {{"started", "healthy", "complete"}, {"running", "Started", "''"}},
		"containers.main.files./a={binaryContent: %}":                                                      {{"''", "aGk=", "aGkh", `"aG\nk="`, "++//"}, {"aGk", "a", "aG-_", "'aGk= x'", "===="}},
		"metadata.annotations={%: x}": {{"ab", "a.b", "a_B-c", "ab/cd", "ab.cd/ef", l63, host253 + "/" + l62},
			{"a", "'-a'", "a-", l64, "a/bc", "Ab/cd", "ab..cd/ef", "ab/c", "ab/cd/ef", "/ab", "ab/", "'a b'", "''"}},
		"containers.main.variables={%: x}": {{"A", "a b", "ä", "1", "'a.b'"}, {"''", "A=B", "'='"}},
	} {
		for verdict, list := range texts {
			for _, text := range list {
				property := strings.Replace(where, "%", text, 1)
				_, err := score.Load(&rendererv1.ScoreFile{Content: []byte(spelled), Properties: []string{property}})
				if name, _, _ := strings.Cut(property, "="); strings.Contains(text, ".") && strings.Contains(where[:strings.Index(where, "=")], "%") && name != "" {
					continue // a dot there is a step
				}
				if right := err == nil; right != (verdict == 0) {
					t.Errorf("%s: want right %t, got %.300v", property, verdict == 0, err)
				}
			}
		}
	}
}

const spelled = minimal + `  other: {image: y}
service: {ports: {http: {port: 80}}}
resources: {db: {type: dns}}
`

// The root and every part that is closed refuse what the specification does not name; what is open takes it.
func TestClosedAndOpenObjects(t *testing.T) {
	for where, open := range map[string]bool{
		"": false, "service.": false, "service.ports.http.": false, "containers.main.": false, "containers.main.resources.": false, "containers.main.resources.limits.": false,
		"containers.main.livenessProbe.": false, "containers.main.livenessProbe.exec.": false, "containers.main.readinessProbe.httpGet.": false, "containers.main.files./etc/a.": false,
		"containers.main.volumes./data.": false, "containers.main.before.init.": false, "resources.db.": false,
		"metadata.": true, "resources.db.metadata.": true, "resources.db.params.": true,
	} {
		_, err := score.Load(&rendererv1.ScoreFile{Content: []byte(everything), Properties: []string{where + "extra={a: [1]}"}})
		if (err == nil) != open {
			t.Errorf("%sextra: want it taken %t, got %.300v", where, open, err)
		}
	}
}

// The older spellings give the document that today's spellings give.
func TestUpgrades(t *testing.T) {
	older := load(t, &rendererv1.ScoreFile{Content: document(`files:
- {target: /a, content: [one, two, ""], mode: "0600"}
- {target: /b, binaryContent: aGk=}
volumes:
- {target: /v, source: "${resources.data}", path: sub, read_only: true}`, "resources: {data: {type: volume}}")})
	today := load(t, &rendererv1.ScoreFile{Content: document(`files:
  /a: {content: "one\ntwo\n", mode: "0600"}
  /b: {binaryContent: aGk=}
volumes:
  /v: {source: "${resources.data}", path: sub, readOnly: true}`, "resources: {data: {type: volume}}")})
	if diff := cmp.Diff(today, older); diff != "" {
		t.Error(diff)
	}
	inMap := load(t, &rendererv1.ScoreFile{Content: document("volumes: {/v: {source: x, read_only: true}}\nfiles: {/a: {content: [a, b]}}", "")})
	main := inMap["containers"].(map[string]any)["main"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"/v": map[string]any{"source": "x", "readOnly": true}}, main["volumes"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"/a": map[string]any{"content": "a\nb"}}, main["files"]); diff != "" {
		t.Error(diff)
	}
}

// Overrides document, property overrides, upgrades, validation, image: each sees what the one before has made.
func TestOverridesComeInOrder(t *testing.T) {
	doc := load(t, &rendererv1.ScoreFile{
		Content:   document(`args: [a]`+"\nvariables: {A: one, B: 2, C: three}\nfiles: [{target: /x, content: [a]}]", ""),
		Overrides: []byte("containers: {main: {image: ., args: [b, c], variables: {B: two, C: null, D: {not: right}}, files: [{target: /y, content: [b]}]}}"),
		Properties: []string{"containers.main.args.0=B", "containers.main.args.-1=d", "containers.main.variables.D=four", "containers.main.files.0.content.-1=c", "containers.main.files.0.mode='0600'",
			"containers.main.args.1=", "metadata.deep.er=1", "metadata.deep.er=2"},
		Image: "app:1",
	})
	want := map[string]any{"image": "app:1", "args": []any{"B", "d"}, "variables": map[string]any{"A": "one", "B": "two", "D": "four"},
		"files": map[string]any{"/y": map[string]any{"content": "b\nc", "mode": "0600"}}}
	if diff := cmp.Diff(any(want), doc["containers"].(map[string]any)["main"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(any(map[string]any{"name": "api", "deep": map[string]any{"er": 2.0}}), doc["metadata"]); diff != "" {
		t.Error(diff)
	}
}

func TestOverridesThatSayNothing(t *testing.T) {
	want := load(t, &rendererv1.ScoreFile{Content: []byte(minimal)})
	for _, over := range []string{"", " \n", "# nothing yet\n", "---\n", "null", "{}"} {
		if diff := cmp.Diff(want, load(t, &rendererv1.ScoreFile{Content: []byte(minimal), Overrides: []byte(over)})); diff != "" {
			t.Errorf("%q changes the document: %s", over, diff)
		}
	}
	for _, over := range []string{"[]", "x", "1"} {
		if got := problems(t, &rendererv1.ScoreFile{Content: []byte(minimal), Overrides: []byte(over)}); !strings.Contains(got, "score.yaml (overrides):1:1: expected a Score document") {
			t.Errorf("%q: %s", over, got)
		}
	}
}

// How a property override is taken apart, and what its value becomes.
func TestPropertyPathsAndValues(t *testing.T) {
	for property, want := range map[string]map[string]any{
		`metadata.a\.b=x`:          {"a.b": "x"},
		`metadata.a\\.b=x`:         {`a\`: map[string]any{"b": "x"}},
		`metadata.a\\\.b=x`:        {`a\.b`: "x"},
		`metadata.a\b=x`:           {`a\b`: "x"},
		`metadata.a=b=c`:           {"a": "b=c"},
		`metadata.a.b.c=x`:         {"a": map[string]any{"b": map[string]any{"c": "x"}}},
		`metadata.a.0=x`:           {"a": map[string]any{"0": "x"}},
		`metadata.a=1`:             {"a": 1.0},
		`metadata.a="1"`:           {"a": "1"},
		`metadata.a=true`:          {"a": true},
		`metadata.a=null`:          {"a": nil},
		`metadata.a= `:             {"a": nil},
		`metadata.a=''`:            {"a": ""},
		`metadata.a=[1, {b: c}]`:   {"a": []any{1.0, map[string]any{"b": "c"}}},
		"metadata.a={b: c}":        {"a": map[string]any{"b": "c"}},
		"metadata.list.0.name=z":   {"list": []any{map[string]any{"name": "z"}, "b"}},
		"metadata.list.1=":         {"list": []any{map[string]any{"name": "a"}}},
		"metadata.list.-1={c: d}":  {"list": []any{map[string]any{"name": "a"}, "b", map[string]any{"c": "d"}}},
		"metadata.list.-1.x.y=z":   {"list": []any{map[string]any{"name": "a"}, "b", map[string]any{"x": map[string]any{"y": "z"}}}},
		"metadata.empty.x=y":       {"empty": map[string]any{"x": "y"}},
		"metadata.list=":           {"list": nil},
		"metadata.nothing.there=":  {},
		"metadata.list.0.nothing=": {},
	} {
		doc := load(t, &rendererv1.ScoreFile{Content: []byte(strings.Replace(minimal, "  name: api\n", "  name: api\n  list: [{name: a}, b]\n  empty:\n", 1)), Properties: []string{property}})
		got := doc["metadata"].(map[string]any)
		expected := map[string]any{"name": "api", "list": []any{map[string]any{"name": "a"}, "b"}, "empty": nil}
		for k, v := range want {
			if expected[k] = v; k == "list" && v == nil {
				delete(expected, k)
			}
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s: %s", property, diff)
		}
	}
	for _, property := range []string{"metadata.list.2=x", "metadata.list.-2=x", "metadata.list.+1=x", "metadata.list.01=x", "metadata.list.-1=", "metadata.list.2=", "metadata.name.x=y", "x", "", "=", ".a=x", "a.=x", "metadata.a={", "metadata.a=a: b: c"} {
		if got := problems(t, &rendererv1.ScoreFile{Content: []byte(strings.Replace(minimal, "  name: api\n", "  name: api\n  list: [{name: a}, b]\n", 1)), Properties: []string{property}}); !strings.Contains(got, "properties[0]:1:") {
			t.Errorf("%s: %s", property, got)
		}
	}
}

// Where a "." stands, the image is given when deploying, and must be.
func TestTheImageOfTheDeployment(t *testing.T) {
	dot := strings.Replace(minimal, "nginx", ".", 1) + "  side: {image: side}\n"
	containers := load(t, &rendererv1.ScoreFile{Content: []byte(dot), Image: "app:2"})["containers"]
	if diff := cmp.Diff(any(map[string]any{"main": map[string]any{"image": "app:2"}, "side": map[string]any{"image": "side"}}), containers); diff != "" {
		t.Error(diff)
	}
	for _, image := range []string{"", ".", " "} {
		if got := problems(t, &rendererv1.ScoreFile{Content: []byte(dot), Image: image}); !strings.Contains(got, `score.yaml:6:12 containers.main.image: is ".", so the image must be given when deploying: expected --image`) {
			t.Errorf("%q: %s", image, got)
		}
	}
}

// What a placeholder may name is checked when the file is loaded: roots, resources, keys of metadata, steps into what is no map.
func TestReferences(t *testing.T) {
	const doc = "apiVersion: score.dev/v1b1\nmetadata: {name: ab, a: {b: [1], c.d: x}, annotations: {example.com/tt: u}}\ncontainers: {main: {image: x, variables: {V: '%'}}}\nresources: {db: {type: postgres}, e.f: {type: dns}}\n"
	for text, right := range map[string]bool{
		"${metadata.name}": true, "${metadata.a}": true, "${metadata.a.b}": true, `${metadata.a.c\.d}`: true, `${metadata.annotations.example\.com/tt}`: true,
		"${resources.db}": true, "${resources.db.any.thing}": true, "$": true, "$$": true, "$5": true, "$HOME": true, "$${nope}": true, "$${}": true, "${open": true, "{}": true,
		"${}": false, "${metadata}": false, "${resources}": false, "${other.x}": false, "${name}": false, "${metadata.x}": false, "${metadata.a.x}": false, "${metadata.name.x}": false,
		"${metadata.a.b.0}": false, "${metadata.a.c.d}": false, "${resources.x}": false, "${resources.}": false, "${.}": false, "${ metadata.name }": false, "${Metadata.name}": false,
		"$$${nope}": false, "a ${metadata.name} ${nope} b": false,
	} {
		_, err := score.Load(&rendererv1.ScoreFile{Content: []byte(strings.Replace(strings.Replace(doc, ", e.f: {type: dns}", "", 1), "%", text, 1))})
		if (err == nil) != right {
			t.Errorf("%s: want right %t, got %v", text, right, err)
		}
	}
}

// Containers start after those that they list; the listed ones must be there, and no two may wait for each other.
func TestBefore(t *testing.T) {
	const two = "  bb: {image: x, before: {cc: {ready: started}, dd: {ready: healthy}}}\n  cc: {image: x, before: {dd: {ready: complete}}}\n  dd: {image: x}\n"
	load(t, &rendererv1.ScoreFile{Content: []byte(minimal + two)})
	got := problems(t, &rendererv1.ScoreFile{Content: []byte(minimal + two + "  ee: {image: x, before: {ff: {ready: started}}}\n  ff: {image: x, before: {ee: {ready: started}}}\n" +
		"  gg: {image: x, before: {hh: {ready: started}, gg: {ready: started}, mian: {ready: started}}}\n  hh: {image: x, before: {gg: {ready: started}}}\n")})
	for _, want := range []string{
		"score.yaml:10:27 containers.ee.before.ff: the containers wait for each other: ee -> ff -> ee",
		"score.yaml:12:27 containers.gg.before.hh: the containers wait for each other: gg -> hh -> gg",
		"score.yaml:12:49 containers.gg.before.gg: a container cannot start before itself",
		`score.yaml:12:71 containers.gg.before.mian: there is no container "mian"; did you mean "main"? (expected one of: bb, cc, dd, ee, ff, hh, main)`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want …%s… in\n%s", want, got)
		}
	}
}

// People who come from other formats are told where the thing belongs here.
func TestHintsForNamesOfOtherFormats(t *testing.T) {
	for property, want := range map[string]string{
		"containers.main.env={}":              `did you mean "variables"?`,
		"containers.main.entrypoint=[x]":      `did you mean "command"?`,
		"containers.main.ports=[]":            "ports belong under service.ports",
		"containers.main.volumeMounts=[]":     `did you mean "volumes"?`,
		"containers.main.dependsOn={}":        `did you mean "before"?`,
		"kind=Deployment":                     "a Score document has no kind",
		"replicas=2":                          `the annotation "towpath.dev/replicas"`,
		"labels={}":                           "a Score document has no labels",
		"service.ports.http.containerPort=80": `did you mean "targetPort"?`,
	} {
		if got := problems(t, &rendererv1.ScoreFile{Content: []byte(spelled), Properties: []string{property}}); !strings.Contains(got, want) {
			t.Errorf("%s: want …%s…, got %s", property, want, got)
		}
	}
}
