package rules_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestRenderedFilesSayWhatFindingsFound(t *testing.T) {
	made := map[string][]byte{"service-web.yaml": []byte("apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {a: b}}\nspec:\n  ports:\n  - {name: web, port: 8080}\n")}
	find := func(kind driftv1.Finding_Kind, object, field string, live any) *driftv1.Finding {
		v, err := structpb.NewValue(live)
		if err != nil {
			t.Fatal(err)
		}
		return &driftv1.Finding{Name: field, Kind: kind, ApiVersion: "v1", ObjectKind: object, ObjectName: "web", Field: field, Live: v}
	}
	for name, c := range map[string]struct {
		finding *driftv1.Finding
		want    string // of the file; "" for none, "!" for a problem
	}{
		"a port added":    {find(driftv1.Finding_KIND_EXTRA, "Service", "spec.ports[port=80]", map[string]any{"port": 80}), `{"port":80}]`},
		"a port changed":  {find(driftv1.Finding_KIND_CHANGED, "Service", "spec.ports[port=8080].name", "x"), `"name":"x","port":8080`},
		"a label removed": {find(driftv1.Finding_KIND_REMOVED, "Service", "metadata.labels[a]", nil), `"labels":{}`},
		"a label added":   {find(driftv1.Finding_KIND_EXTRA, "Service", "metadata.annotations[x.y/z]", "1"), `"x.y/z":"1"`},
		"deleted":         {find(driftv1.Finding_KIND_MISSING, "Service", "", nil), ""},
		"a Secret":        {find(driftv1.Finding_KIND_CHANGED, "Secret", "data[password]", "x"), "!"},
		"another object":  {find(driftv1.Finding_KIND_CHANGED, "ConfigMap", "data[a]", "x"), "!"},
		"left over":       {find(driftv1.Finding_KIND_ORPHANED, "Service", "", nil), "!"},
	} {
		t.Run(name, func(t *testing.T) {
			wanted, problems := rules.Live(made, []*driftv1.Finding{c.finding})
			got := string(wanted["service-web.yaml"])
			switch {
			case c.want == "!" && problems[c.finding.GetName()] == "":
				t.Error("it was taken")
			case c.want == "!":
			case len(problems) > 0 || (c.want == "") != (got == "") || !strings.Contains(got, c.want):
				t.Errorf("got %s %v, want %s", got, problems, c.want)
			}
		})
	}
}
