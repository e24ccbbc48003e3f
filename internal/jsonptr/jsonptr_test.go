package jsonptr_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

func document(t *testing.T, text string) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestApply(t *testing.T) {
	const doc = `{"a":{"b":1,"list":["x","y"],"odd/key~":true},"s":"text"}`
	for name, tc := range map[string]struct {
		ops  []jsonptr.Op
		want string
	}{
		"no operation changes nothing":         {nil, doc},
		"set replaces":                         {[]jsonptr.Op{jsonptr.Set("/a/b", 2.0)}, `{"a":{"b":2,"list":["x","y"],"odd/key~":true},"s":"text"}`},
		"set makes missing maps":               {[]jsonptr.Op{jsonptr.Set("/n/m/o", nil)}, `{"a":{"b":1,"list":["x","y"],"odd/key~":true},"s":"text","n":{"m":{"o":null}}}`},
		"set replaces a list element":          {[]jsonptr.Op{jsonptr.Set("/a/list/1", "z")}, `{"a":{"b":1,"list":["x","z"],"odd/key~":true},"s":"text"}`},
		"set appends":                          {[]jsonptr.Op{jsonptr.Set("/a/list/-", "z")}, `{"a":{"b":1,"list":["x","y","z"],"odd/key~":true},"s":"text"}`},
		"remove takes a list element out":      {[]jsonptr.Op{jsonptr.Remove("/a/list/0")}, `{"a":{"b":1,"list":["y"],"odd/key~":true},"s":"text"}`},
		"remove takes a key out":               {[]jsonptr.Op{jsonptr.Remove("/a")}, `{"s":"text"}`},
		"escapes name slashes and tildes":      {[]jsonptr.Op{jsonptr.Remove("/a/odd~1key~0")}, `{"a":{"b":1,"list":["x","y"]},"s":"text"}`},
		"operations see what earlier ones did": {[]jsonptr.Op{jsonptr.Set("/x", map[string]any{}), jsonptr.Set("/x/y", 1.0), jsonptr.Remove("/a")}, `{"s":"text","x":{"y":1}}`},
		"an empty key is a key":                {[]jsonptr.Op{jsonptr.Set("/", 1.0), jsonptr.Remove("/a")}, `{"s":"text","":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			before := document(t, doc)
			got, err := jsonptr.Apply(before, tc.ops...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(document(t, tc.want), got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(document(t, doc), before); diff != "" {
				t.Errorf("the given document was changed: %s", diff)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		op   jsonptr.Op
		path string
		says string
	}{
		"removing what is not there":         {jsonptr.Remove("/a/x"), "/a/x", `/a has no "x"`},
		"removing below what is not there":   {jsonptr.Remove("/x/y"), "/x/y", `the document has no "x"`},
		"stepping into a string":             {jsonptr.Set("/s/x", 1), "/s/x", "/s is a string"},
		"a word as a list index":             {jsonptr.Set("/a/list/x", 1), "/a/list/x", "use 0 to 1, or - to append"},
		"an index with a leading zero":       {jsonptr.Set("/a/list/00", 1), "/a/list/00", "is not an index"},
		"an index past the end":              {jsonptr.Set("/a/list/2", 1), "/a/list/2", "has 2 elements"},
		"removing the place after the last":  {jsonptr.Remove("/a/list/-"), "/a/list/-", "is not an index"},
		"appending in the middle of the way": {jsonptr.Set("/a/list/-/x", 1), "/a/list/-/x", "is not an index"},
		"a pointer without a slash":          {jsonptr.Set("a", 1), "a", "must begin with a slash"},
		"a tilde that escapes nothing":       {jsonptr.Set("/a~2", 1), "/a~2", "write ~0 for ~"},
		"a tilde at the end":                 {jsonptr.Set("/a~", 1), "/a~", "write ~0 for ~"},
		"the whole document":                 {jsonptr.Set("", 1), "/", "whole document"},
		"a pointer with too many steps":      {jsonptr.Set(strings.Repeat("/a", 65), 1), strings.Repeat("/a", 65), "at most 64"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := jsonptr.Apply(document(t, `{"a":{"list":["x","y"]},"s":"text"}`), tc.op)
			var e *errs.Error
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("want an Invalid error, got %v and %v", err, got)
			}
			e = err.(*errs.Error)
			if len(e.Fields) != 1 || e.Fields[0].Path != tc.path || !strings.Contains(e.Fields[0].Problem, tc.says) {
				t.Errorf("want %s: …%s…, got %+v", tc.path, tc.says, e.Fields)
			}
		})
	}
}

// What Set wrote is what Get finds at the same pointer, whatever the keys are made of; Remove takes it away again.
func TestSetGetRemoveAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := map[string]any{"a": map[string]any{"/": map[string]any{"~": 1}}}
		tokens := rapid.SliceOfN(rapid.OneOf(rapid.StringMatching(`[a/~01]{0,4}`), rapid.String()), 1, 6).Draw(t, "tokens")
		pointer := jsonptr.Join(tokens...)
		parsed, err := jsonptr.Parse(pointer)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tokens, parsed); diff != "" {
			t.Fatal(diff)
		}
		set, err := jsonptr.Apply(doc, jsonptr.Set(pointer, "value"))
		if err != nil {
			if strings.HasPrefix(pointer, "/a/~1/~0/") {
				return // the way leads through the number
			}
			t.Fatal(err)
		}
		if got, ok := jsonptr.Get(set, pointer); !ok || got != "value" {
			t.Fatalf("Get gives %v, %v", got, ok)
		}
		removed, err := jsonptr.Apply(set, jsonptr.Remove(pointer))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := jsonptr.Get(removed, pointer); ok {
			t.Fatalf("after Remove there is %v", got)
		}
	})
}

func TestGet(t *testing.T) {
	doc := document(t, `{"a":{"list":[{"x":1}]}}`)
	for pointer, want := range map[string]any{"/a/list/0/x": 1.0} {
		if got, ok := jsonptr.Get(doc, pointer); !ok || got != want {
			t.Errorf("%s: %v %v", pointer, got, ok)
		}
	}
	for _, pointer := range []string{"/b", "/a/list/1", "/a/list/-", "/a/list/0/x/y", "a", "/~"} {
		if got, ok := jsonptr.Get(doc, pointer); ok {
			t.Errorf("%s points at %v", pointer, got)
		}
	}
}
