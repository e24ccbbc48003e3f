package provisioner_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"
	"github.com/towpath-dev/towpath/services/renderer/provisioner"
)

// Limits of what any bytes as a provisioner file may cost. The race detector and a busy machine make everything slower; see hangs.
const (
	maxTime   = time.Second
	maxMemory = 256 << 20
)

// FuzzLoad takes any bytes as a provisioner file: never a panic, never a hang over a second, never more than 256 MB. What loads is
// made too, for a provisioner's templates are part of the file.
func FuzzLoad(f *testing.F) {
	text, err := os.ReadFile("testdata/10-company.provisioners.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range hostile() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) { checkOne(t, content) })
}

// hostile are inputs that have brought readers of YAML and templates down.
func hostile() []string {
	entry := func(stage, text string) string {
		return "- uri: template://a/b\n  type: x1\n  " + stage + ": |\n    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
	}
	return []string{
		"", "-", "- {}", "- null", "[[[[", strings.Repeat("[", 20_000), strings.Repeat("{a: ", 20_000), strings.Repeat("- ", 20_000) + "a",
		"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]", "- &a [*a]", "- uri: cmd://x\n  type: x1", "- ? [a]\n  : b",
		entry("outputs", "a: {{ range until 100000 }}{{ range until 100000 }}x{{ end }}{{ end }}"),
		entry("outputs", `{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`),
		entry("outputs", "a: {{ repeat 1000000 \"x\" | repeat 1000000 }}"),
		entry("outputs", "a: {{ range until 2000 }}{{ randAlphaNum 1024 }}{{ end }}"),
		entry("outputs", "a: {{ randAlphaNum -1 }}"), entry("outputs", "a: {{ randInt 5 5 }}"), entry("outputs", "a: {{ randBytes 99999999 }}"),
		entry("outputs", "{{ $l := list 1 }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}a: {{ $l | toJson }}"),
		entry("outputs", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]"),
		entry("manifests", "- kind: Secret\n  metadata: 5\n  data: [a]\n- kind: Secret\n  data: {a: {b: c}}\n- {}\n- null"),
		entry("manifests", "- kind: Secret\n  metadata: {name: a, annotations: 7}\n  data: {a: {{ randAlphaNum 16 | b64enc }}, ? b : null}"),
		entry("shared", "a: null\nb: {c: null}"), entry("state", "[]"), entry("init", "{1: 2, true: x}"),
	}
}

// hangs reports whether a time is too long for this machine as it is now: longer than a hundred times what a plain loop takes, which
// is some 10 ms where nothing else runs.
func hangs(t *testing.T, d time.Duration) bool {
	t.Helper()
	start := time.Now()
	loaded, err := provisioner.Load(map[string][]byte{"a": []byte("- uri: template://a/b\n  type: x1\n  outputs: 'a: {{ range until 20000 }}x{{ end }}'\n")})
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := definition.Compile(loaded.Definitions[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compiled.Make(&definition.Request{Uid: "x1.default#a.b"}); err != nil {
		t.Fatal(err)
	}
	return d > 100*time.Since(start)
}

func checkOne(t *testing.T, content []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	loaded, err := provisioner.Load(map[string][]byte{"a.provisioners.yaml": content})
	if err == nil {
		for _, d := range loaded.Definitions {
			compiled, err := definition.Compile(d)
			if err != nil {
				t.Fatalf("what was loaded does not compile: %v", err)
			}
			_, err = compiled.Make(&definition.Request{Uid: "x1.default#a.b", Type: "x1", Class: "default", Id: "a.b", SourceWorkload: "a", Workloads: []string{"a"}, Namespace: "n"})
			var typed *errs.Error
			if err != nil && !errors.As(err, &typed) {
				t.Fatalf("an error that is none of ours: %v", err)
			}
		}
	}
	var typed *errs.Error
	if err != nil && !errors.As(err, &typed) {
		t.Fatalf("an error that is none of ours: %v", err)
	}
	if d := time.Since(start); d > maxTime && hangs(t, d) {
		t.Fatalf("%d bytes take %s", len(content), d)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > maxMemory {
		t.Fatalf("%d bytes of input allocate %d MB", len(content), used>>20)
	}
}
