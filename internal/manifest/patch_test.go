package manifest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEditsNameItemsByKeyWhereTheyHaveOne(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after string
		want          []string
	}{
		"an item changes":      {`{"ports":[{"port":80},{"port":81}]}`, `{"ports":[{"port":80,"name":"x"},{"port":81}]}`, []string{"ports/port=80/name=x"}},
		"an item comes":        {`{"env":[{"name":"a"}]}`, `{"env":[{"name":"a"},{"name":"b"}]}`, []string{`env/name=b={name: b}`}},
		"an item goes":         {`{"env":[{"name":"a"},{"name":"b"}]}`, `{"env":[{"name":"b"}]}`, []string{"-env/name=a"}},
		"the order changes":    {`{"env":[{"name":"a"},{"name":"b"}]}`, `{"env":[{"name":"b"},{"name":"a"}]}`, []string{"env=[{name: b}, {name: a}]"}},
		"a list without keys":  {`{"args":["a","b"]}`, `{"args":["a","c"]}`, []string{"args/1=c"}},
		"another length":       {`{"args":["a"]}`, `{"args":["a","c"]}`, []string{"args=[a, c]"}},
		"a map becomes a text": {`{"a":{"b":1}}`, `{"a":"x"}`, []string{"a=x"}},
		"a map becomes empty":  {`{"a":{"b":1}}`, `{"a":{}}`, []string{"a={}"}},
		"a key goes":           {`{"a":{"b":1,"c":2}}`, `{"a":{"c":2}}`, []string{"-a/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := object(t, tc.before), object(t, tc.after)
			var got []string
			now := a
			for _, e := range Edits(a, b) {
				at := strings.Join(e.Steps, "/")
				if e.Remove {
					at = "-" + at
				} else {
					at += "=" + Show(e.Value)
				}
				got = append(got, at)
				var err error
				if now, err = e.Apply(now); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(b, now); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("edits (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(object(t, tc.before), a); diff != "" {
				t.Errorf("the object itself was changed:\n%s", diff)
			}
		})
	}
}

// Whatever pointer and objects come in, nothing panics, nothing given is changed, and edits between two objects make the second.
func FuzzPatch(f *testing.F) {
	f.Add("/objects/apps~1v1/Deployment/api/spec/env/name=a/value", `{"spec":{"env":[{"name":"a"}]}}`, `{"spec":{"env":[{"name":"a","value":"b"}]}}`)
	f.Add("/objects/v1/Service/x/spec/ports/0", `{"ports":[{"port":80}]}`, `{"ports":[]}`)
	f.Fuzz(func(t *testing.T, pointer, one, two string) {
		var a, b map[string]any
		if json.Unmarshal([]byte(one), &a) != nil || json.Unmarshal([]byte(two), &b) != nil || a == nil || b == nil {
			return
		}
		if target, steps, err := ParsePatch(pointer); err == nil {
			if again, s, err := ParsePatch(target.Pointer(steps...)); err != nil || again != target || len(s) != len(steps) {
				t.Errorf("%q reads as %v %q and that as %v %q, %v", pointer, target, steps, again, s, err)
			}
			_, _ = Edit{Steps: steps, Value: "x"}.Apply(a)
			_, _ = Edit{Steps: steps, Remove: true}.Apply(a)
		}
		now, _ := Plain(a).(map[string]any)
		for _, e := range Edits(a, b) {
			var err error
			if now, err = e.Apply(now); err != nil {
				t.Fatalf("%q: %v", e.Steps, err)
			}
		}
		if want := Plain(b); !reflect.DeepEqual(want, any(now)) {
			t.Errorf("%s", cmp.Diff(want, any(now)))
		}
	})
}
