package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func workload(t testing.TB, image string) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(map[string]any{
		"apiVersion": "score.dev/v1b1",
		"containers": map[string]any{"main": map[string]any{"image": image, "variables": map[string]any{"LOG_LEVEL": "info"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(path string, v any) *rendererv1.Operation {
	value, err := structpb.NewValue(v)
	if err != nil {
		panic(err)
	}
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: value}
}

func remove(path string) *rendererv1.Operation {
	return &rendererv1.Operation{Action: rendererv1.Operation_ACTION_REMOVE, Path: path}
}

// apply applies changes one after the other; the last one's error counts.
func apply(t testing.TB, loaded map[string]*structpb.Struct, changes ...*catalogv1.Change) (rules.State, error) {
	t.Helper()
	state := rules.EmptyState()
	for i, c := range changes {
		var l map[string]*structpb.Struct
		if i == 0 {
			l = loaded
		}
		next, err := rules.Apply(state, c, l)
		if err != nil {
			if i < len(changes)-1 {
				t.Fatal(err)
			}
			return state, err
		}
		state = next
	}
	return state, nil
}

const logLevel = "/workloads/api/containers/main/variables/LOG_LEVEL"

func TestApplyGivesTheIntentAndSaysWhatIsDifferent(t *testing.T) {
	for name, tc := range map[string]struct {
		changes []*catalogv1.Change
		summary []string
		overlay []string
	}{
		"loaded workloads join the set": {
			changes: []*catalogv1.Change{{}}, summary: []string{"added workload api", "added workload web"},
		},
		"a removed workload leaves, with what the overlay did to it": {
			changes: []*catalogv1.Change{{OverlayOperations: []*rendererv1.Operation{set(logLevel, "debug")}}, {RemoveWorkloads: []string{"api"}}},
			summary: []string{"removed workload api"},
		},
		"a set operation changes one place": {
			changes: []*catalogv1.Change{{}, {SetOperations: []*rendererv1.Operation{set(logLevel, "debug")}}},
			summary: []string{"api: LOG_LEVEL info -> debug"},
		},
		"an image and a new variable are told by their short names": {
			changes: []*catalogv1.Change{{}, {SetOperations: []*rendererv1.Operation{
				set("/workloads/api/containers/main/image", "api:2"), set("/workloads/api/containers/main/variables/NEW", "x"),
				remove(logLevel),
			}}},
			summary: []string{"api: image api:1 -> api:2", "api: LOG_LEVEL removed (was info)", "api: NEW set to x"},
		},
		"the overlay shows in the summary and not in the set": {
			changes: []*catalogv1.Change{{}, {OverlayOperations: []*rendererv1.Operation{set(logLevel, "debug")}}},
			summary: []string{"api: LOG_LEVEL info -> debug"}, overlay: []string{logLevel},
		},
		"an overlay operation of the same path takes the earlier one's place": {
			changes: []*catalogv1.Change{
				{OverlayOperations: []*rendererv1.Operation{set(logLevel, "debug"), set("/workloads/api/extra", map[string]any{"a": "b"})}},
				{OverlayOperations: []*rendererv1.Operation{set(logLevel, "trace")}},
			},
			summary: []string{"api: LOG_LEVEL debug -> trace"}, overlay: []string{logLevel, "/workloads/api/extra"},
		},
		"a dropped overlay operation is gone": {
			changes: []*catalogv1.Change{{OverlayOperations: []*rendererv1.Operation{set(logLevel, "debug")}}, {OverlayDrops: []string{logLevel}}},
			summary: []string{"api: LOG_LEVEL debug -> info"},
		},
		"variables are set, changed and dropped": {
			changes: []*catalogv1.Change{
				{Variables: map[string]string{"A": "1", "B": "2"}},
				{Variables: map[string]string{"A": "3", "C": ""}, VariableDrops: []string{"B"}},
			},
			summary: []string{"A 1 -> 3", "B unset (was 2)", `C set to ""`},
		},
		"an overlay may add a whole workload": {
			changes: []*catalogv1.Change{{}, {OverlayOperations: []*rendererv1.Operation{
				set("/workloads/extra", map[string]any{"x": "y"}), set("/workloads/extra/x", "z"),
			}}},
			summary: []string{"added workload extra"}, overlay: []string{"/workloads/extra", "/workloads/extra/x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			loaded := map[string]*structpb.Struct{"api": workload(t, "api:1"), "web": workload(t, "web:1")}
			before, err := apply(t, loaded, tc.changes[:len(tc.changes)-1]...)
			if err != nil {
				t.Fatal(err)
			}
			after, err := apply(t, loaded, tc.changes...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.summary, rules.Summary(before, after)); diff != "" {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
			var overlay []string
			for _, op := range after.Intent.GetOverlay() {
				overlay = append(overlay, op.GetPath())
			}
			if diff := cmp.Diff(tc.overlay, overlay); diff != "" {
				t.Errorf("overlay (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyNamesTheWrongField(t *testing.T) {
	for name, tc := range map[string]struct {
		change *catalogv1.Change
		field  string
	}{
		"a workload that is not there cannot be removed": {&catalogv1.Change{RemoveWorkloads: []string{"api", "nope"}}, "change.remove_workloads[1]"},
		"a path outside of the set":                      {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set("/metadata/x", 1)}}, "change.set_operations[0].path"},
		"a whole part of the set":                        {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set("/workloads", map[string]any{})}}, "change.set_operations[0].path"},
		"a typing error in a workload's name":            {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set("/workloads/apy/image", "x")}}, "change.set_operations[0].path"},
		"removing what is not there": {&catalogv1.Change{SetOperations: []*rendererv1.Operation{
			set(logLevel, "x"), remove(logLevel), remove(logLevel),
		}}, "change.set_operations[2].path"},
		"stepping into a string":                         {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set(logLevel+"/deeper", "x")}}, "change.set_operations[0].path"},
		"no action":                                      {&catalogv1.Change{SetOperations: []*rendererv1.Operation{{Path: logLevel}}}, "change.set_operations[0].action"},
		"no value":                                       {&catalogv1.Change{SetOperations: []*rendererv1.Operation{{Path: logLevel, Action: 1}}}, "change.set_operations[0].value"},
		"a workload that is no map":                      {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set("/workloads/api", "x")}}, "change.set_operations[0].value"},
		"a broken pointer":                               {&catalogv1.Change{OverlayOperations: []*rendererv1.Operation{set("/workloads/api/~x", 1)}}, "change.overlay_operations[0].path"},
		"an overlay operation on nothing":                {&catalogv1.Change{OverlayOperations: []*rendererv1.Operation{remove("/workloads/api/nope")}}, "change.overlay_operations[0].path"},
		"an overlay drop of nothing":                     {&catalogv1.Change{OverlayDrops: []string{"/workloads/api/x"}}, "change.overlay_drops[0]"},
		"a variable without a name":                      {&catalogv1.Change{Variables: map[string]string{"1X": "x"}}, `change.variables["1X"]`},
		"a variable drop of nothing":                     {&catalogv1.Change{VariableDrops: []string{"X"}}, "change.variable_drops[0]"},
		"an older overlay operation that no longer fits": {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set("/workloads/api/extra", "text")}}, "change.overlay_drops"},
	} {
		t.Run(name, func(t *testing.T) {
			loaded := map[string]*structpb.Struct{"api": workload(t, "api:1")}
			base := &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{set("/workloads/api/extra/deep", "x")}}
			_, err := apply(t, loaded, base, tc.change)
			var e *errs.Error
			if !errors.As(err, &e) || e.Kind != errs.Invalid || len(e.Fields) != 1 {
				t.Fatalf("error = %v", err)
			}
			if e.Fields[0].Path != tc.field {
				t.Errorf("field = %s, want %s (%s)", e.Fields[0].Path, tc.field, e.Fields[0].Problem)
			}
		})
	}
}

func TestApplyLeavesItsInputAlone(t *testing.T) {
	loaded := map[string]*structpb.Struct{"api": workload(t, "api:1")}
	before, err := apply(t, loaded, &catalogv1.Change{Variables: map[string]string{"A": "1"}, OverlayOperations: []*rendererv1.Operation{set(logLevel, "x")}})
	if err != nil {
		t.Fatal(err)
	}
	set0, intent0 := proto.CloneOf(before.Set), proto.CloneOf(before.Intent)
	_, err = rules.Apply(before, &catalogv1.Change{
		Variables: map[string]string{"A": "2"}, OverlayOperations: []*rendererv1.Operation{set(logLevel, "y")},
		SetOperations: []*rendererv1.Operation{set("/workloads/api/containers/main/image", "api:9")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set0, before.Set, protocmp.Transform()) + cmp.Diff(intent0, before.Intent, protocmp.Transform()); diff != "" {
		t.Errorf("the state that was given in has changed:\n%s", diff)
	}
}

func TestSetsOfTheSameContentHaveTheSameName(t *testing.T) {
	loaded := func() map[string]*structpb.Struct {
		return map[string]*structpb.Struct{"api": workload(t, "api:1"), "web": workload(t, "web:<&>")}
	}
	a, err := apply(t, loaded(), &catalogv1.Change{})
	if err != nil {
		t.Fatal(err)
	}
	// There and back again.
	b, err := apply(t, loaded(), &catalogv1.Change{}, &catalogv1.Change{SetOperations: []*rendererv1.Operation{set(logLevel, "debug")}},
		&catalogv1.Change{SetOperations: []*rendererv1.Operation{set(logLevel, "info")}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Set.GetName() != b.Set.GetName() {
		t.Errorf("%s and %s have the same content", a.Set.GetName(), b.Set.GetName())
	}
	// The encoding is part of the data of every installation: this id may never change.
	const empty = "sets/644c252f408320fa1dcbf0f643780e7134609893cd6351ea331e952810127400"
	if got := rules.EmptyState().Set.GetName(); got != empty {
		t.Errorf("empty set = %s, want %s", got, empty)
	}
	canonical, err := rules.DocumentOf(a.Set).Canonical()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"resources":{},"workloads":{"api":{"apiVersion":"score.dev/v1b1","containers":{"main":{"image":"api:1","variables":{"LOG_LEVEL":"info"}}}},` +
		`"web":{"apiVersion":"score.dev/v1b1","containers":{"main":{"image":"web:<&>","variables":{"LOG_LEVEL":"info"}}}}}}`
	if string(canonical) != want {
		t.Errorf("canonical = %s", canonical)
	}
}

func TestSecretsAreRefusedWhereverTheyStand(t *testing.T) {
	// Put together here so that no scanner takes this file for a leak.
	pem := "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
	aws, gh := "AKIA"+"IOSFODNN7EXAMPLE", "ghp_"+strings.Repeat("a1B2", 9)
	for name, tc := range map[string]struct {
		change *catalogv1.Change
		secret bool
	}{
		"a private key":                      {&catalogv1.Change{Variables: map[string]string{"X": pem}}, true},
		"an AWS key":                         {&catalogv1.Change{Variables: map[string]string{"X": aws}}, true},
		"a GitHub token within text":         {&catalogv1.Change{Variables: map[string]string{"X": "use " + gh + " here"}}, true},
		"a password by its name":             {&catalogv1.Change{Variables: map[string]string{"DB_PASSWORD": "hunter2"}}, true},
		"a password of digits":               {&catalogv1.Change{Variables: map[string]string{"PASSWORD": "1234"}}, true},
		"an API key by its name":             {&catalogv1.Change{Variables: map[string]string{"STRIPE_API_KEY": "abc"}}, true},
		"a password in a URL":                {&catalogv1.Change{Variables: map[string]string{"DSN": "postgres://u:p4ss@db/x"}}, true},
		"a key in a set operation":           {&catalogv1.Change{SetOperations: []*rendererv1.Operation{set("/workloads/api/x", map[string]any{"a": []any{"b", aws}})}}, true},
		"a named variable in an overlay":     {&catalogv1.Change{OverlayOperations: []*rendererv1.Operation{set("/workloads/api/containers/main/variables/DB_PASSWORD", "x")}}, true},
		"a reference":                        {&catalogv1.Change{Variables: map[string]string{"DB_PASSWORD": "${resources.db.password}"}}, false},
		"a URL with a reference":             {&catalogv1.Change{Variables: map[string]string{"DSN": "postgres://u:${resources.db.password}@db/x"}}, false},
		"a setting that ends like a secret":  {&catalogv1.Change{Variables: map[string]string{"MAX_TOKEN": "100", "USE_TOKEN": "true"}}, false},
		"a name that only contains the word": {&catalogv1.Change{Variables: map[string]string{"TOKEN_TTL": "5m", "PASSWORD_FILE": "/run/x"}}, false},
		"an empty password":                  {&catalogv1.Change{Variables: map[string]string{"DB_PASSWORD": ""}}, false},
		"a port in a URL":                    {&catalogv1.Change{Variables: map[string]string{"URL": "http://api:8080/a@b"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apply(t, map[string]*structpb.Struct{"api": workload(t, "api:1")}, &catalogv1.Change{}, tc.change)
			if !tc.secret {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_PLAINTEXT_SECRET || !errs.Is(err, errs.Precondition) {
				t.Fatalf("error = %v", err)
			}
			for _, leaked := range []string{aws, gh, "hunter2", "p4ss", "MIIE"} {
				if strings.Contains(err.Error(), leaked) {
					t.Errorf("the error shows the secret: %v", err)
				}
			}
		})
	}
	_, err := apply(t, map[string]*structpb.Struct{"api": workload(t, gh)}, &catalogv1.Change{})
	if errs.ReasonOf(err) != errorsv1.Reason_REASON_PLAINTEXT_SECRET {
		t.Errorf("a token in a Score document: %v", err)
	}
}

func TestPathTemplates(t *testing.T) {
	for template, ok := range map[string]bool{
		rules.DefaultPathTemplate: true, "{environment_type}/{application}/{environment}": true, "clusters/prod": true, "a-{application}.x": true,
		"": false, "/abs": false, "a/": false, "a//b": false, "../x": false, "a/../b": false, ".": false, "{owner}/x": false, "{team}/x": true, "{hash}/{environment}": true, "x./y": false, "git~1/x": false, "e\u0301/x": false, "{application": false,
		"}x": false, ".git/x": false, "x/.GIT": false, ".towpath/state": false, "a b": false, "a\\b": false, "a:b": false,
	} {
		if err := rules.CheckPathTemplate("repository.path_template", template); (err == nil) != ok {
			t.Errorf("%q: error = %v, want ok %v", template, err, ok)
		}
	}
	if diff := cmp.Diff([]string{"a", "a/b"}, rules.Ancestors("a/b/c")); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	for id, ok := range map[string]bool{
		"shop": true, "a1": true, "a-b": true, strings.Repeat("a", 40): true,
		"": false, "a": false, "1a": false, "a-": false, "A": false, "a_b": false, "a.b": false, "a/b": false, "-": false, strings.Repeat("a", 41): false,
	} {
		if err := rules.CheckID("id", id, rules.MaxAppID); (err == nil) != ok {
			t.Errorf("%q: error = %v, want ok %v", id, err, ok)
		}
	}
	for name, ok := range map[string]bool{
		"applications/shop/environments/dev/deployments/7": true, "applications/shop/environments/dev/deployments/latest": true,
		"applications/shop/environments/dev/deployments/0": false, "applications/shop/environments/dev/deployments/07": false,
		"applications/shop/environments/dev/deployments/-1": false, "applications/shop/environments/../deployments/1": false,
		"applications/shop/environments/dev": false, "": false, "applications/shop/environments/dev/deployments/1/x": false,
	} {
		if _, _, err := rules.ParseDeployment("name", name); (err == nil) != ok {
			t.Errorf("%q: error = %v, want ok %v", name, err, ok)
		}
	}
}

func TestPlanHashChangesWithEveryPart(t *testing.T) {
	base := func() rules.PlanParts {
		return rules.PlanParts{
			Environment: "e", Set: "s", Overlay: []string{"o"}, Variables: map[string]string{"a": "b"}, Place: "p", Defaults: "d",
			RendererVersion: "r", BaseTree: "b", Tree: "t", SHA256: "h",
		}
	}
	// Old plans stay valid only while their hash is made the same way.
	if one, two := base(), base(); one.Hash() != two.Hash() || len(one.Hash()) != 64 {
		t.Fatal("the same plan must have the same SHA-256")
	}
	for moved, change := range map[string]func(*rules.PlanParts){
		"environment": func(p *rules.PlanParts) { p.RollbackOf = "x" }, "set": func(p *rules.PlanParts) { p.Set = "x" },
		"overlay": func(p *rules.PlanParts) { p.Overlay = nil }, "variables": func(p *rules.PlanParts) { p.Variables["a"] = "c" },
		"place": func(p *rules.PlanParts) { p.Place = "x" }, "environment_type": func(p *rules.PlanParts) { p.Defaults = "x" },
		"renderer_version": func(p *rules.PlanParts) { p.RendererVersion = "x" }, "base_tree": func(p *rules.PlanParts) { p.BaseTree = "x" },
		"tree": func(p *rules.PlanParts) { p.SHA256 = "x" },
	} {
		p := base()
		change(&p)
		if p.Hash() == base().Hash() {
			t.Errorf("%s: same hash", moved)
		}
		if diff := cmp.Diff([]string{moved}, base().Moved(p)); diff != "" {
			t.Errorf("moved (-want +got):\n%s", diff)
		}
	}
}
