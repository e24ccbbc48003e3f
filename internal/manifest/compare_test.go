package manifest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  labels: {app.kubernetes.io/name: api}
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: main
        image: api:1
        args: [a, b]
        env:
        - {name: LOG_LEVEL, value: info}
        - {name: OLD, value: x}
        ports:
        - {name: http, containerPort: 80}
        - {name: dns, containerPort: 53, protocol: UDP}
`

func compared(t *testing.T, before, after map[string][]byte) (objects, fields []string) {
	t.Helper()
	diff := manifest.Compare(before, after, []*rendererv1.ObjectRef{{File: "api.yaml", Workload: "api"}})
	if diff.GetTruncated() {
		t.Error("not all differences were told")
	}
	for _, c := range diff.GetObjects() {
		objects = append(objects, strings.TrimPrefix(c.GetAction().String(), "ACTION_")+" "+c.GetObject().GetKind()+"/"+c.GetObject().GetName()+" "+c.GetObject().GetWorkload())
	}
	show := func(v *structpb.Value) string {
		if v == nil {
			return "-"
		}
		b, err := json.Marshal(v.AsInterface())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, o := range diff.GetObjects() {
		for _, c := range o.GetFields() {
			fields = append(fields, c.GetPath()+" "+show(c.GetBefore())+" "+show(c.GetAfter()))
		}
	}
	return objects, fields
}

func TestFieldsOfAnObjectAreToldByKey(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to string // what is replaced in the deployment, pairs separated by |
		want     []string
	}{
		"a scalar":                        {"replicas: 1", "replicas: 2", []string{"spec.replicas 1 2"}},
		"a container's image":             {"image: api:1", "image: api:2", []string{`spec.template.spec.containers[name=main].image "api:1" "api:2"`}},
		"a variable by its name":          {"value: info", "value: debug", []string{`spec.template.spec.containers[name=main].env[name=LOG_LEVEL].value "info" "debug"`}},
		"a variable that goes":            {"        - {name: OLD, value: x}\n", "", []string{`spec.template.spec.containers[name=main].env[name=OLD] {"name":"OLD","value":"x"} -`}},
		"a port by number and protocol":   {"name: dns, containerPort: 53", "name: domain, containerPort: 53", []string{`spec.template.spec.containers[name=main].ports[containerPort=53,protocol=UDP].name "dns" "domain"`}},
		"a default in a key is not told":  {"name: http", "name: web", []string{`spec.template.spec.containers[name=main].ports[containerPort=80].name "http" "web"`}},
		"a list without keys by place":    {"[a, b]", "[a, c]", []string{`spec.template.spec.containers[name=main].args[1] "b" "c"`}},
		"a list of another length":        {"[a, b]", "[a]", []string{`spec.template.spec.containers[name=main].args ["a","b"] ["a"]`}},
		"a key of a free map in brackets": {"app.kubernetes.io/name: api", "app.kubernetes.io/name: web", []string{`metadata.labels[app.kubernetes.io/name] "api" "web"`}},
		"another spelling is nothing":     {"replicas: 1", "\"replicas\":   1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			after := strings.Replace(deployment, tc.from, tc.to, 1)
			if after == deployment {
				t.Fatal("nothing is replaced")
			}
			objects, fields := compared(t, map[string][]byte{"api.yaml": []byte(deployment)}, map[string][]byte{"api.yaml": []byte(after)})
			if diff := cmp.Diff(tc.want, fields); diff != "" {
				t.Error(diff)
			}
			if want := min(len(tc.want), 1); len(objects) != want || want == 1 && objects[0] != "MODIFY Deployment/api api" {
				t.Errorf("objects = %v", objects)
			}
		})
	}
}

func TestObjectsComeAndGoAndMove(t *testing.T) {
	config := []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n")
	service := []byte("apiVersion: v1\nkind: Service\nmetadata: {name: api}\n")
	before := map[string][]byte{"a.yaml": config, "b.yaml": service, "README.md": []byte("# hello\n\tnot yaml: [")}
	after := map[string][]byte{"z.yaml": config, "api.yaml": []byte(deployment)}
	objects, fields := compared(t, before, after)
	if diff := cmp.Diff([]string{"ADD Deployment/api api", "DELETE Service/api "}, objects); diff != "" {
		t.Error(diff)
	}
	if len(fields) != 0 {
		t.Errorf("fields = %v", fields)
	}
}

func TestValuesOfSecretsAreNeverTold(t *testing.T) {
	const s = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: hunter2\ndata: {a: aHVudGVyMg==}\nstringData: {b: hunter2, c: hunter2}\n"
	t1 := strings.NewReplacer("aHVudGVyMg==", "aHVudGVyMw==", "b: hunter2", "b: hunter3", ", c: hunter2", "", "configuration: hunter2", "configuration: hunter3").Replace(s)
	_, fields := compared(t, map[string][]byte{"s": []byte(s)}, map[string][]byte{"s": []byte(t1)})
	want := []string{
		`data[a] "(secret)" "(secret)"`, `metadata.annotations[kubectl.kubernetes.io/last-applied-configuration] "(secret)" "(secret)"`,
		`stringData[b] "(secret)" "(secret)"`, `stringData[c] "(secret)" -`,
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{s, t1, "a: 1\n---\n" + s, "kind: Secret\ndata: hunter2\n", "kind: Secret\ndata: {a: hunter2\n\t", `{"kind":"Secret","data":{"a":"hunter2"}}`} {
		if got := string(manifest.MaskFile([]byte(text))); strings.Contains(got, "hunter") || strings.Contains(got, "aHVu") || !strings.Contains(got, manifest.Masked) {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
	if got := string(manifest.MaskFile([]byte(deployment + "# Secret\n"))); got != deployment+"# Secret\n" {
		t.Errorf("a file without secrets is shown as %q", got)
	}
}

func TestPlanFieldsAreBounded(t *testing.T) {
	var a, b strings.Builder
	for i := range 3000 {
		a.WriteString("  k" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + jsonInt(i) + ": a\n")
		b.WriteString("  k" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + jsonInt(i) + ": b\n")
	}
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n"
	diff := manifest.Compare(map[string][]byte{"c": []byte(head + a.String())}, map[string][]byte{"c": []byte(head + b.String())}, nil)
	if n := len(diff.GetObjects()[0].GetFields()); !diff.GetTruncated() || n != 2000 {
		t.Errorf("%d fields, truncated %v", n, diff.GetTruncated())
	}
	long := strings.Repeat("x", 10000)
	diff = manifest.Compare(map[string][]byte{"c": []byte(head + "  a: b\n")}, map[string][]byte{"c": []byte(head + "  a: " + long + "\n")}, nil)
	fields := diff.GetObjects()[0].GetFields()
	if n := len(fields[0].GetAfter().GetStringValue()); n > 5000 || fields[0].GetBefore().GetStringValue() != "b" {
		t.Errorf("%d bytes", n)
	}
}

func jsonInt(i int) string {
	b, err := json.Marshal(i)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Files come from whoever may push to the repository: whatever they are, nothing breaks, and no value of a Secret is shown.
func FuzzManifests(f *testing.F) {
	f.Add([]byte(deployment), []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: hunter2hunter2}\n"))
	f.Add([]byte("a: &x [*x]\n---\n- 1\n---\n"), []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: hunter2hunter2\n"))
	f.Add([]byte("? {a: 1}\n: 2\n"), []byte("{\"kind\": \"Secret\", \"data\": {\"a\": \"hunter2hunter2\"}}"))
	f.Add([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 1}, {port: 1}, 3, null]}\n"),
		[]byte("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: .inf}, {port: 2020-01-01}]}\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, files := range [][2]map[string][]byte{
			{{"a": a}, {"a": b}}, {{"a": b}, {"a": a}}, {{"a": a, "b": b}, {}}, {{}, {"a": a, "b": b}},
		} {
			for _, o := range manifest.Compare(files[0], files[1], nil).GetObjects() {
				for _, c := range o.GetFields() {
					if o.GetObject().GetKind() == "Secret" && o.GetObject().GetApiVersion() == "v1" &&
						(strings.HasPrefix(c.GetPath(), "data") || strings.HasPrefix(c.GetPath(), "stringData")) &&
						strings.Contains(c.String(), "hunter2hunter2") && !strings.Contains(c.GetPath(), "hunter2hunter2") {
						t.Fatalf("a secret is shown: %v", c)
					}
				}
			}
		}
		manifest.MaskFile(a)
		manifest.MaskFile(b)
	})
}
