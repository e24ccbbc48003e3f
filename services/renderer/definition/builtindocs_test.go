package definition

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	resourceTypes = "../../../docs/resource-types.md"
	tableBegin    = "<!-- begin: written by UPDATE=1 go test ./services/renderer/definition -->\n"
	tableEnd      = "<!-- end -->\n"
)

// sampleParams are what types cannot do without.
var sampleParams = map[string]map[string]any{
	"endpoint": {"host": "example.com"}, "service": {"workload": "api"}, "service-port": {"workload": "api", "port": "web"},
	"route": {"host": "example.com", "port": "web"},
}

func sampleRequest(typ string) *Request {
	return &Request{
		Uid: typ + ".default#api.x", Type: typ, Class: "default", Id: "api.x", Name: typ + "-api-x", SourceWorkload: "api", Params: sampleParams[typ],
		Application: "shop", Environment: "dev", Namespace: "shop-dev", Instance: "shop-dev", Domain: "example.com", Variables: map[string]string{"KEY": "value"},
		WorkloadServices: map[string]any{"api": Service{ServiceName: "api", Ports: map[string]any{"web": Port{Name: "web", Port: 80, TargetPort: 8080, Protocol: "TCP"}}}},
		Output:           func(r Reference) (any, error) { return strings.Join(r.Path, "-"), nil },
	}
}

// The page about resource types is what the built-in files are: a row for each, with its params and the outputs that it gives.
func TestTheTableOfResourceTypes(t *testing.T) {
	var b strings.Builder
	b.WriteString("| type | params | outputs | what it is |\n| --- | --- | --- | --- |\n")
	for _, d := range Builtins() {
		file := Builtin().byType[d.Spec.GetType()]
		if d.Spec.GetClass() != "default" {
			file = Builtin().byType[d.Spec.GetType()+"."+d.Spec.GetClass()]
		}
		made, err := d.Make(sampleRequest(d.Spec.GetType()))
		if err != nil {
			t.Fatal(err)
		}
		outputs := make([]string, 0, len(made.Outputs))
		for _, name := range slices.Sorted(maps.Keys(made.Outputs)) {
			text := "`" + name + "`"
			if HasSecret(made.Outputs[name]) {
				text += " (secret)"
			}
			outputs = append(outputs, text)
		}
		if d.Spec.GetType() == EnvironmentType {
			outputs = []string{"every variable"}
		}
		class := ""
		if d.Spec.GetClass() != "default" {
			class = ", class `" + d.Spec.GetClass() + "`"
		}
		params := "none"
		if len(file.Params) > 0 {
			params = "`" + strings.Join(slices.Sorted(maps.Keys(file.Params)), "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s`%s | %s | %s | %s |\n", d.Spec.GetType(), class, params, strings.Join(outputs, ", "), file.Description)
	}
	text, err := os.ReadFile(resourceTypes)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), tableBegin)
	table, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", resourceTypes)
	}
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(resourceTypes, []byte(head+tableBegin+b.String()+tableEnd+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, b.String()); diff != "" {
		t.Errorf("%s is not what the files are (-page +files); UPDATE=1 rewrites it\n%s", resourceTypes, diff)
	}
}

// usual are the outputs that the Score community expects of a type; whoever wrote a workload for another tool finds them here.
var usual = map[string]string{
	"amqp": "host port vhost username password", "dns": "host", "mongodb": "host port username password connection",
	"mssql": "server port connection database username password", "mysql": "host port name database username password",
	"postgres": "host port name database username password", "postgres-instance": "host port username password", "redis": "host port username password",
	"s3": "endpoint region bucket access_key_id secret_key aws_access_key_id aws_secret_key", "service-port": "hostname port",
	"kafka-topic": "host port name num_partitions", "volume": "source", "elasticsearch": "host port username password", "llm-model": "model url api-key",
}

// secretOutputs must never be text.
var secretOutputs = []string{"password", "secret_key", "aws_secret_key", "connection"}

func TestEachTypeGivesTheUsualOutputsAndItsSecretsAsReferences(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Builtins() {
		seen[d.Spec.GetType()] = true
		made, err := d.Make(sampleRequest(d.Spec.GetType()))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(usual[d.Spec.GetType()]) {
			v, ok := made.Outputs[name]
			if !ok {
				t.Errorf("%s gives no %s", d.Spec.GetName(), name)
			}
			if slices.Contains(secretOutputs, name) && !HasSecret(v) {
				t.Errorf("%s gives %s as text", d.Spec.GetName(), name)
			}
		}
		for _, o := range made.Manifests {
			if o["kind"] == "Secret" && (o["data"] != nil || o["stringData"] != nil) {
				t.Errorf("%s makes a Secret with a value", d.Spec.GetName())
			}
		}
	}
	for typ := range usual {
		if !seen[typ] {
			t.Errorf("nothing answers %s", typ)
		}
	}
	for _, typ := range []string{"service", "endpoint", "route", EnvironmentType} {
		if !seen[typ] {
			t.Errorf("nothing answers %s", typ)
		}
	}
}
