package rules_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func ref(name, key string) *rendererv1.SecretReference {
	return &rendererv1.SecretReference{Name: name, Key: key}
}

func TestTheEnvironmentsValueWinsPlainOrSecret(t *testing.T) {
	plain, secret := rules.Variables(&catalogv1.Intent{
		ApplicationVariables:       map[string]string{"A": "app", "B": "app", "C": "app"},
		ApplicationSecretVariables: map[string]*rendererv1.SecretReference{"S": ref("app", "s"), "T": ref("app", "t"), "U": ref("app", "u")},
		Variables:                  map[string]string{"B": "env", "T": "env"},
		SecretVariables:            map[string]*rendererv1.SecretReference{"C": ref("env", "c"), "U": ref("env", "u")},
	})
	if diff := cmp.Diff(map[string]string{"A": "app", "B": "env", "T": "env"}, plain); diff != "" {
		t.Error(diff)
	}
	want := map[string]*rendererv1.SecretReference{"S": ref("app", "s"), "C": ref("env", "c"), "U": ref("env", "u")}
	if diff := cmp.Diff(want, secret, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestAVariableIsPlainOrSecretByTheNewerWord(t *testing.T) {
	state, err := apply(t, nil,
		&catalogv1.Change{Variables: map[string]string{"A": "1", "B": "2"}},
		&catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"A": ref("s", "a"), "C": ref("s", "c")}},
		&catalogv1.Change{Variables: map[string]string{"C": "3"}, VariableDrops: []string{"B"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := &catalogv1.Intent{
		Set: state.Intent.GetSet(), Variables: map[string]string{"C": "3"}, SecretVariables: map[string]*rendererv1.SecretReference{"A": ref("s", "a")},
	}
	if diff := cmp.Diff(want, state.Intent, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	lines := rules.Summary(rules.EmptyState(), state)
	if diff := cmp.Diff([]string{"A set to secret s/a", "C set to 3"}, lines); diff != "" {
		t.Error(diff)
	}
}

func TestChangesOfVariablesThatAreRefused(t *testing.T) {
	many := map[string]string{}
	for i := range rules.MaxVariables + 1 {
		many[fmt.Sprintf("V%d", i)] = "x"
	}
	for name, tc := range map[string]struct {
		change *catalogv1.Change
		field  string
	}{
		"a dot in a new key":        {&catalogv1.Change{Variables: map[string]string{"a.b": "1"}}, `change.variables["a.b"]`},
		"plain and secret at once":  {&catalogv1.Change{Variables: map[string]string{"A": "1"}, SecretVariables: map[string]*rendererv1.SecretReference{"A": ref("s", "a")}}, `change.secret_variables["A"]`},
		"a Secret that can be none": {&catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"A": ref("My_Secret", "a")}}, `change.secret_variables["A"].name`},
		"a key that can be none":    {&catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"A": ref("s", "a/b")}}, `change.secret_variables["A"].key`},
		"a secret without a key":    {&catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"A": ref("s", "")}}, `change.secret_variables["A"].key`},
		"a drop of what is not":     {&catalogv1.Change{VariableDrops: []string{"A"}}, "change.variable_drops[0]"},
		"more than fit":             {&catalogv1.Change{Variables: many}, "change.variables"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apply(t, nil, tc.change)
			var e *errs.Error
			if !errors.As(err, &e) || e.Reason != errorsv1.Reason_REASON_INVALID_FIELD || e.Fields[0].Path != tc.field {
				t.Errorf("error = %v, want one of field %s", err, tc.field)
			}
		})
	}
}

func TestNamesOfVariables(t *testing.T) {
	for name, want := range map[string]string{
		"applications/shop/variables/A":                          "shop||A",
		"applications/shop/environments/dev/variables/LOG_LEVEL": "shop|dev|LOG_LEVEL",
		"applications/shop/variables/old.key-1":                  "shop||old.key-1",
		"applications/shop/variables/1A":                         "",
		"applications/shop/variables/":                           "",
		"applications/-/variables/A":                             "",
		"applications/shop/environments/dev":                     "",
		"applications/shop/environments/dev/x/variables/A":       "",
		"shop/variables/A":                                       "",
		"applications/shop/variables/A/versions/1":               "",
	} {
		sc, key, err := rules.ParseVariable("name", name)
		got := sc.App + "|" + sc.Env + "|" + key
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, want %q (%v)", name, got, want, err)
		}
		if err == nil && sc.Variable(key) != name {
			t.Errorf("%s comes back as %s", name, sc.Variable(key))
		}
	}
}

func TestVariableUsesAreThePlacesThatScoreExpands(t *testing.T) {
	doc := rules.Document{
		"workloads": map[string]any{
			"api": map[string]any{
				"containers": map[string]any{"main": map[string]any{
					"image": "${resources.env.KEY}",
					"variables": map[string]any{
						"A": "${resources.env.KEY}", "B": "x $${resources.env.KEY}", "C": "$$ ${resources.env.KEYS}",
						"D": "${resources.e2.KEY} and ${metadata.name}", "E": "${resources.db.KEY}",
					},
					"files": map[string]any{
						"/etc/a": map[string]any{"content": "k=${resources.env.KEY}"},
						"/etc/b": map[string]any{"content": "k=${resources.env.KEY}", "noExpand": true},
					},
					"volumes": map[string]any{"/data": map[string]any{"source": "${resources.env.KEY}"}},
				}},
				"resources": map[string]any{
					"env": map[string]any{"type": "environment"}, "e2": map[string]any{"type": "environment"},
					"db": map[string]any{"type": "postgres", "params": map[string]any{"list": []any{"a", "${resources.env.KEY}"}}},
				},
			},
			"web": map[string]any{
				"containers": map[string]any{"main": map[string]any{"variables": map[string]any{"A": "${resources.env.KEY}"}}},
				"resources":  map[string]any{"env": map[string]any{"type": "postgres"}},
			},
		},
		"resources": map[string]any{
			"shared": map[string]any{"type": "environment"},
			"dns":    map[string]any{"type": "dns", "params": map[string]any{"domain": "${resources.shared.KEY}"}},
		},
	}
	want := []rules.VariableUse{
		{Workload: "", Paths: []string{"/resources/dns/params/domain"}},
		{Workload: "api", Paths: []string{
			"/workloads/api/containers/main/files/~1etc~1a/content", "/workloads/api/containers/main/variables/A",
			"/workloads/api/containers/main/variables/D", "/workloads/api/containers/main/volumes/~1data/source",
			"/workloads/api/resources/db/params/list/1",
		}},
	}
	if diff := cmp.Diff(want, rules.VariableUses(doc, "KEY")); diff != "" {
		t.Error(diff)
	}
	if got := rules.VariableUses(rules.Document{}, "KEY"); got != nil {
		t.Errorf("an empty document reads %v", got)
	}
}

// Rows brought up by the changes say what the intent says, whatever they said before.
func TestVariableChangesLeadFromAnyRowsToAnyIntent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"A", "B", "C", "D"})
		rows := map[string]*catalogv1.Variable{}
		for _, k := range rapid.SliceOf(key).Draw(t, "rows") {
			rows[k] = &catalogv1.Variable{Value: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "was"), Deleted: rapid.Bool().Draw(t, "deleted")}
		}
		intent := &catalogv1.Intent{Variables: map[string]string{}, SecretVariables: map[string]*rendererv1.SecretReference{}}
		for _, k := range rapid.SliceOf(key).Draw(t, "keys") {
			if rapid.Bool().Draw(t, "secret") {
				delete(intent.Variables, k)
				intent.SecretVariables[k] = ref("s", k)
			} else {
				delete(intent.SecretVariables, k)
				intent.Variables[k] = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "is")
			}
		}
		for _, c := range rules.VariableChanges(rows, intent, nil) {
			if c.To == nil {
				rows[c.Key] = &catalogv1.Variable{Deleted: true}
			} else {
				rows[c.Key] = c.To
			}
		}
		if again := rules.VariableChanges(rows, intent, nil); len(again) != 0 {
			t.Fatalf("changes are left: %v", again)
		}
		live := 0
		for k, v := range rows {
			if v.GetDeleted() {
				continue
			}
			live++
			if r := intent.SecretVariables[k]; r != nil && v.GetSecret().GetKey() != r.GetKey() || r == nil && v.GetValue() != intent.Variables[k] {
				t.Fatalf("%s is %v", k, v)
			}
		}
		if live != len(intent.Variables)+len(intent.SecretVariables) {
			t.Fatalf("%d variables, intent %v", live, intent)
		}
	})
}

func FuzzVariableNames(f *testing.F) {
	f.Add("applications/shop/environments/dev/variables/A")
	f.Add("applications/shop/variables/a.b")
	f.Fuzz(func(t *testing.T, name string) {
		if sc, key, err := rules.ParseVariable("name", name); err == nil && sc.Variable(key) != name {
			t.Errorf("%q comes back as %q", name, sc.Variable(key))
		}
	})
}
