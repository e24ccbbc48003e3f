package rules_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func doc(t testing.TB, text string) rules.Document {
	t.Helper()
	var d rules.Document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func lines(ops []*rendererv1.Operation) []string {
	out := []string{}
	for _, op := range ops {
		if op.GetAction() == rendererv1.Operation_ACTION_REMOVE {
			out = append(out, "remove "+op.GetPath())
			continue
		}
		v, err := json.Marshal(op.GetValue().AsInterface())
		if err != nil {
			panic(err)
		}
		out = append(out, "set "+op.GetPath()+" "+string(v))
	}
	return out
}

func TestDiffNamesTheSmallestPlaces(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b string
		want []string
	}{
		"nothing for the same":                  {`{"workloads":{"a":{"x":[1,{}]}}}`, `{"workloads":{"a":{"x":[1,{}]}}}`, []string{}},
		"a whole workload":                      {`{"workloads":{"a":{}}}`, `{"workloads":{"b":{"x":1}}}`, []string{"remove /workloads/a", `set /workloads/b {"x":1}`}},
		"a leaf":                                {`{"workloads":{"a":{"x":{"y":1,"z":2}}}}`, `{"workloads":{"a":{"x":{"y":3,"z":2}}}}`, []string{"set /workloads/a/x/y 3"}},
		"null is a value":                       {`{"workloads":{"a":{"x":1}}}`, `{"workloads":{"a":{"x":null}}}`, []string{"set /workloads/a/x null"}},
		"an empty map is a value":               {`{"workloads":{"a":{"x":{"y":1}}}}`, `{"workloads":{"a":{"x":{}}}}`, []string{"remove /workloads/a/x/y"}},
		"a type changes":                        {`{"workloads":{"a":{"x":{"y":1}}}}`, `{"workloads":{"a":{"x":[1]}}}`, []string{"set /workloads/a/x [1]"}},
		"an element of a list":                  {`{"resources":{"a":{"x":[1,2,3]}}}`, `{"resources":{"a":{"x":[1,5,3]}}}`, []string{"set /resources/a/x/1 5"}},
		"a list of another length is one place": {`{"resources":{"a":{"x":[1,2]}}}`, `{"resources":{"a":{"x":[2]}}}`, []string{"set /resources/a/x [2]"}},
		"keys are escaped":                      {`{"workloads":{"a":{"/etc/~x":1}}}`, `{"workloads":{"a":{"/etc/~x":2}}}`, []string{"set /workloads/a/~1etc~1~0x 2"}},
		"an empty key is a key":                 {`{"workloads":{"a":{}}}`, `{"workloads":{"a":{"":0}}}`, []string{"set /workloads/a/ 0"}},
		"resources come before workloads, removals first": {
			`{"workloads":{"a":{"x":1,"y":1}},"resources":{"db":{}}}`, `{"workloads":{"a":{"b":2,"x":2}}}`,
			[]string{"remove /resources/db", "remove /workloads/a/y", "set /workloads/a/b 2", "set /workloads/a/x 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, lines(rules.Diff(doc(t, tc.a), doc(t, tc.b)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConflictsNameWhatBothChange(t *testing.T) {
	a := set("/workloads/a/x", 1.0)
	for name, tc := range map[string]struct {
		theirs *rendererv1.Operation
		want   []string
	}{
		"the same place":          {set("/workloads/a/x", 2.0), []string{"/workloads/a/x"}},
		"the same in both":        {set("/workloads/a/x", 1.0), nil},
		"removed there":           {remove("/workloads/a/x"), []string{"/workloads/a/x"}},
		"above":                   {remove("/workloads/a"), []string{"/workloads/a/x"}},
		"below":                   {set("/workloads/a/x/y", 1.0), []string{"/workloads/a/x/y"}},
		"beside":                  {set("/workloads/a/y", 1.0), nil},
		"a longer name is beside": {set("/workloads/a/xy", 1.0), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, rules.Conflicts([]*rendererv1.Operation{a}, []*rendererv1.Operation{tc.theirs})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.want, rules.Conflicts([]*rendererv1.Operation{tc.theirs}, []*rendererv1.Operation{a})); diff != "" {
				t.Errorf("the other way round: %s", diff)
			}
		})
	}
}

func TestRebaseRefusesWithThePaths(t *testing.T) {
	base := doc(t, `{"workloads":{"a":{"image":"a:1","list":[1,2]}}}`)
	now := doc(t, `{"workloads":{"a":{"image":"a:2","list":[1,2,3]}}}`)
	_, err := rules.Rebase([]*rendererv1.Operation{set("/workloads/a/image", "a:3"), set("/workloads/a/list/0", 9.0)}, base, now, "operations")
	var e *errs.Error
	if !errors.As(err, &e) || e.Reason != errorsv1.Reason_REASON_DRAFT_CONFLICT || e.Kind != errs.Conflict {
		t.Fatalf("err = %v", err)
	}
	if e.Meta["paths"] != "/workloads/a/image\n/workloads/a/list/0" {
		t.Errorf("paths = %q", e.Meta["paths"])
	}
	got, err := rules.Rebase([]*rendererv1.Operation{set("/workloads/a/image", "a:2"), set("/workloads/a/new", 1.0)}, base, now, "operations")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"set /workloads/a/new 1"}, lines(got)); diff != "" {
		t.Error(diff)
	}
}

func TestADifferenceThatNoPointerCanSayIsSetAbove(t *testing.T) {
	deep := func(leaf any, key string) rules.Document {
		v := leaf
		for range 100 {
			v = map[string]any{"k": v}
		}
		return rules.Document{"workloads": map[string]any{"a": map[string]any{"deep": v, strings.Repeat("~", 3000) + key: map[string]any{key: leaf}}}}
	}
	a, b := deep(1.0, "x"), deep(2.0, "x")
	checkDiff(t, a, b)
}

// keys are such that they are hard to escape, and few, so that two documents have some in common.
var keys = rapid.SampledFrom([]string{"a", "b", "", "~", "/", "~1", "0", "-", "ä/ö", "list"})

func value(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.IntRange(-3, 3), func(i int) any { return float64(i) }),
		rapid.Map(rapid.SampledFrom([]string{"", "x", "y"}), func(s string) any { return s }),
	}
	if depth > 0 {
		leaves = append(leaves,
			rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) }), 0, 3), func(l []any) any {
				if l == nil {
					return []any{}
				}
				return l
			}),
			rapid.Map(object(depth-1), func(m map[string]any) any { return m }))
	}
	return rapid.OneOf(leaves...)
}

func object(depth int) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		m := rapid.MapOfN(keys, rapid.Deferred(func() *rapid.Generator[any] { return value(depth) }), 0, 4).Draw(t, "map")
		if m == nil {
			m = map[string]any{}
		}
		return m
	})
}

func documents() *rapid.Generator[rules.Document] {
	part := rapid.MapOfN(keys, rapid.Map(object(3), func(m map[string]any) any { return m }), 0, 3)
	return rapid.Custom(func(t *rapid.T) rules.Document {
		return rules.Document{"workloads": part.Draw(t, "workloads"), "resources": part.Draw(t, "resources")}
	})
}

// fataler is what rapid's and testing's T have in common.
type fataler interface {
	Fatalf(format string, args ...any)
}

// checkDiff checks apply(diff(a, b), a) = b, that nothing can be left out, and that the order is the same each time.
func checkDiff(t fataler, a, b rules.Document) []*rendererv1.Operation {
	ops := rules.Diff(a, b)
	got, err := rules.Operate(a, ops, "operations")
	if err != nil {
		t.Fatalf("apply %v: %v", lines(ops), err)
	}
	if idOf(t, got) != idOf(t, b) {
		t.Fatalf("apply(diff(a, b), a) is not b: %v", lines(ops))
	}
	if diff := cmp.Diff(lines(ops), lines(rules.Diff(a, b))); diff != "" {
		t.Fatalf("another order: %s", diff)
	}
	for i := range ops {
		if len(ops[i].GetPath()) > 4096 {
			t.Fatalf("a path of %d bytes", len(ops[i].GetPath()))
		}
		less := append(append([]*rendererv1.Operation{}, ops[:i]...), ops[i+1:]...)
		if left, err := rules.Operate(a, less, "operations"); err == nil && idOf(t, left) == idOf(t, b) {
			t.Fatalf("%v is not needed", lines(ops[i:i+1]))
		}
	}
	return ops
}

func idOf(t fataler, d rules.Document) string {
	s, err := d.Set()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s.GetName()
}

func TestDiffAppliedToTheFirstGivesTheSecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := documents().Draw(t, "a"), documents().Draw(t, "b")
		before := idOf(t, a)
		checkDiff(t, a, b)
		checkDiff(t, b, a)
		if len(rules.Diff(a, a)) != 0 {
			t.Fatalf("a differs from itself")
		}
		if idOf(t, a) != before {
			t.Fatalf("the document was changed in place")
		}
	})
}

// What is rebased without a conflict has both changes, whichever came first.
func TestRebasedOperationsHoldBothChanges(t *testing.T) {
	rebased := 0
	rapid.Check(t, func(t *rapid.T) {
		base, mine := documents().Draw(t, "base"), documents().Draw(t, "mine")
		// Theirs is the base with some of the places of a third document, so that not everything is a conflict.
		other := documents().Draw(t, "other")
		var some []*rendererv1.Operation
		for _, op := range rules.Diff(base, other) {
			if rapid.Bool().Draw(t, "take") {
				some = append(some, op)
			}
		}
		theirs, err := rules.Operate(base, some, "operations")
		if err != nil {
			t.Fatalf("%v", err)
		}
		if rapid.Bool().Draw(t, "small") {
			ops := rules.Diff(base, mine)
			mine, err = rules.Operate(base, ops[:min(len(ops), 1)], "operations")
			if err != nil {
				t.Fatalf("%v", err)
			}
		}
		ours := rules.Diff(base, mine)
		got, err := rules.Rebase(ours, base, theirs, "operations")
		conflicts := rules.Conflicts(ours, rules.Diff(base, theirs))
		if (err != nil) != (len(conflicts) > 0) {
			t.Fatalf("err = %v, conflicts %v", err, conflicts)
		}
		if err != nil {
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_DRAFT_CONFLICT {
				t.Fatalf("err = %v", err)
			}
			return
		}
		rebased++
		merged, err := rules.Operate(theirs, got, "operations")
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, op := range append(rules.Diff(base, theirs), ours...) {
			v, there := jsonptr.Get(map[string]any(merged), op.GetPath())
			if want := op.GetAction() == rendererv1.Operation_ACTION_SET; there != want {
				t.Fatalf("%s: there is %v", lines([]*rendererv1.Operation{op}), v)
			} else if want {
				is, err := structpb.NewValue(v)
				if err != nil || !proto.Equal(is, op.GetValue()) {
					t.Fatalf("%s: is %v", op.GetPath(), v)
				}
			}
		}
		otherWay, err := rules.Rebase(rules.Diff(base, theirs), base, mine, "operations")
		if err != nil {
			t.Fatalf("the other way round: %v", err)
		}
		same, err := rules.Operate(mine, otherWay, "operations")
		if err != nil {
			t.Fatalf("%v", err)
		}
		if idOf(t, same) != idOf(t, merged) {
			t.Fatalf("the order of the two changes makes a difference: %s", cmp.Diff(merged, same))
		}
	})
	if rebased == 0 {
		t.Error("no random case was rebased: the test says nothing")
	}
}

// Operations come from callers: whatever they are, the answer is a document or a typed error, and the given one stays as it is.
func FuzzOperations(f *testing.F) {
	f.Add([]byte(`{"action":1,"path":"/workloads/a/x/-","value":1}`), []byte(`{"workloads":{"a":{"x":[1]}}}`))
	f.Add([]byte(`{"action":2,"path":"/workloads/a~1b/~0/0"}`), []byte(`{"workloads":{"a/b":{"~":[null]}},"resources":{}}`))
	f.Add([]byte(`{"action":1,"path":"/workloads/~2"}`), []byte(`{"workloads":null}`))
	f.Fuzz(func(t *testing.T, opText, docText []byte) {
		var raw struct {
			Action int32
			Path   string
			Value  any
		}
		var d rules.Document
		if json.Unmarshal(opText, &raw) != nil || json.Unmarshal(docText, &d) != nil {
			return
		}
		if _, err := d.Set(); err != nil {
			return // no document of a set
		}
		v, err := structpb.NewValue(raw.Value)
		if err != nil {
			return
		}
		op := &rendererv1.Operation{Action: rendererv1.Operation_Action(raw.Action), Path: raw.Path, Value: v}
		before := idOf(t, d)
		out, err := rules.Operate(d, []*rendererv1.Operation{op}, "operations")
		if idOf(t, d) != before {
			t.Fatal("the given document was changed")
		}
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("err = %v", err)
			}
			return
		}
		if _, err := out.Set(); err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("err = %v", err)
			}
			return
		}
		checkDiff(t, d, out)
		if rebased, err := rules.Rebase([]*rendererv1.Operation{op}, d, out, "operations"); err == nil && idOf(t, d) != idOf(t, out) && len(rebased) != 0 {
			t.Fatalf("what is there already is left: %v", lines(rebased))
		}
	})
}

func TestRebaseOnTheSameBaseChangesNothing(t *testing.T) {
	base := doc(t, `{"workloads":{"a":{"x":1}}}`)
	ops := []*rendererv1.Operation{set("/workloads/a/x", 1.0), set("/workloads/a/x", 2.0)}
	got, err := rules.Rebase(ops, base, base, "operations")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ops, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
