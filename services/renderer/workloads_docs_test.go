package renderer_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	files "github.com/towpath-dev/towpath/services/renderer/document"
	"github.com/towpath-dev/towpath/services/renderer/kube"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Every example of the page about workloads is what comes out: workloads render with the defaults before them, and files and errors
// are those. UPDATE=1 writes the files of the page anew.
func TestTheExamplesOfThePageAboutWorkloads(t *testing.T) {
	const path = "../../docs/workloads.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, counts := string(page), map[string]int{}
	x := &example{t: t, svc: newService(t)}
	var defaults *rendererv1.EnvironmentDefaults
	update := os.Getenv("UPDATE") == "1"
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		kind, arg, _ := strings.Cut(m[2], " ")
		counts[kind]++
		switch kind {
		case "defaults":
			defaults, err = files.Defaults([]byte(m[3]))
			x.check(err)
		case "score":
			x.renderWith(m[3], defaults)
			defaults = nil
		case "file":
			got := named(t, x.resp.GetBundle(), arg)
			if update {
				text = strings.Replace(text, m[0], "```yaml "+m[2]+"\n"+string(got)+"```", 1)
				continue
			}
			x.same(m[3], string(got))
		case "error":
			x.take(kind, nil, m[3])
		}
	}
	if update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for kind, least := range map[string]int{"score": 9, "defaults": 4, "file": 8, "error": 2} {
		if counts[kind] < least {
			t.Errorf("the page has %d examples of %s, want %d", counts[kind], kind, least)
		}
	}
}

// named gives a file of a bundle, or the one whose name begins like a name with a star at its end.
func named(t *testing.T, bundle *rendererv1.Bundle, name string) []byte {
	t.Helper()
	for file, content := range bundle.GetFiles() {
		if start, open := strings.CutSuffix(name, "*"); file == name || open && strings.HasPrefix(file, start) {
			return content
		}
	}
	t.Errorf("there is no file %s", name)
	return nil
}

// Each annotation that is obeyed, and each default, is on the page.
func TestThePageAboutWorkloadsIsComplete(t *testing.T) {
	page, err := os.ReadFile("../../docs/workloads.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, annotation := range kube.Annotations() {
		if !strings.Contains(string(page), "| `"+annotation+"` |") {
			t.Errorf("the page does not tell of %s", annotation)
		}
	}
	fields := (&rendererv1.EnvironmentDefaults{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		if name == "secrets" || name == "allowed_kinds" { // of other pages
			continue
		}
		if !regexp.MustCompile("(?m)^\\| .*`" + name + "`.* \\|").Match(page) {
			t.Errorf("the page does not tell of the default %s", name)
		}
	}
}
