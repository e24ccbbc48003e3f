package findingpath_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/findingpath"
)

const object = `{"metadata":{"labels":{"a.b/c":"1","x]y":"2"},"finalizers":["example.com/hold"]},
"spec":{"ports":[{"name":"web","port":80},{"name":"dns, all","port":53,"protocol":"UDP"}],"args":["-v"]}}`

func TestValuesAreSetAndRemovedWhereAPathSays(t *testing.T) {
	for _, c := range []struct {
		path  string
		value any // nil removes
		want  string
	}{
		{"spec.replicas", 3.0, `"replicas":3`},
		{"spec.template.spec.hostname", "x", `"template":{"spec":{"hostname":"x"}}`},
		{"spec.ports[port=80].name", "http", `{"name":"http","port":80}`},
		{`spec.ports[name="dns, all"].port`, 54.0, `{"name":"dns, all","port":54,"protocol":"UDP"}`},
		{"spec.ports[port=53,protocol=UDP]", nil, `"ports":[{"name":"web","port":80}]`},
		{"spec.ports[port=81]", map[string]any{"port": 81.0}, `{"port":81}]`},
		{"metadata.labels[a.b/c]", nil, `"labels":{"x]y":"2"}`},
		{`metadata.labels["x]y"]`, nil, `"labels":{"a.b/c":"1"}`},
		{"metadata.finalizers[=example.com/hold]", nil, `"finalizers":[]`},
		{"spec.args[0]", "-q", `"args":["-q"]`},
	} {
		t.Run(c.path, func(t *testing.T) {
			steps, ok := findingpath.Parse(c.path)
			if !ok {
				t.Fatal("it is no path")
			}
			v := read(t, object)
			if c.value == nil {
				v, ok = findingpath.Remove(v, steps)
			} else {
				v, ok = findingpath.Set(v, steps, c.value)
			}
			if got := write(t, v); !ok || !strings.Contains(got, c.want) {
				t.Errorf("gives %t, %s; want %s", ok, got, c.want)
			}
		})
	}
}

func TestWhatIsNotThereCannotBeRemovedAndNothingIsChanged(t *testing.T) {
	for _, path := range []string{"spec.replicas", "spec.ports[port=81]", "spec.ports[port=81].name", "metadata.labels[z]", "spec.args[=x]", "spec.args.x"} {
		steps, ok := findingpath.Parse(path)
		if !ok {
			t.Fatalf("%s is no path", path)
		}
		v, ok := findingpath.Remove(read(t, object), steps)
		if ok {
			t.Errorf("%s was removed", path)
		}
		if diff := cmp.Diff(read(t, object), v); diff != "" {
			t.Errorf("%s changed something:\n%s", path, diff)
		}
	}
}

func TestWhatIsNoPathIsRefused(t *testing.T) {
	for _, path := range []string{".a", "a..b", "a[", "a[]", "a[x]b", `a["x]`, "a b", "a]"} {
		if steps, ok := findingpath.Parse(path); ok {
			t.Errorf("%q has %v", path, steps)
		}
	}
}

func read(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
