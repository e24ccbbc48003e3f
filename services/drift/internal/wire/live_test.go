package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

func TestOnlyTheFieldsOfALiveObjectsManagersStayText(t *testing.T) {
	// What only looks like managedFields is decoded as everything else.
	const in = `{"metadata":{"labels":{"managedFields":"x"},"managedFields":[{"manager":"a","fieldsV1":{"f:spec":{ ".":{}, "k:{\"name\":\"b\"}":{}}}}],"z":{"y":{"fieldsV1":{"a":{}}}}},` +
		`"spec":{"managedFields":[{"fieldsV1":{"f:a":{}}}],"x":{"fieldsV1":{}}},"managedFields":[{"fieldsV1":{}}]}`
	d := wire.NewDecoder()
	want, err := d.Decode([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.DecodeLive([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	entry := got["metadata"].(map[string]any)["managedFields"].([]any)[0].(map[string]any)
	text, ok := entry["fieldsV1"].(string)
	if !ok {
		t.Fatalf("fieldsV1 is %T", entry["fieldsV1"])
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	entry["fieldsV1"] = fields
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMembersAreFoundByWhatTheirNamesStandFor(t *testing.T) {
	const in = ` { "a" : {"b":1} , "k:{\"name\":\"x\"}":{}, "q\\\"":2, "\u0041/\/":3, "":4 }`
	for key, want := range map[string]string{"a": `{"b":1}`, `k:{"name":"x"}`: "{}", `q\"`: "2", "A//": "3", "": "4", "b": "", `k:{\"name\":\"x\"}`: ""} {
		if got := string(wire.Lookup([]byte(in), key)); got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	}
	var names []string
	wire.Members([]byte(in), func(k string, _ []byte) bool { names = append(names, k); return true })
	if diff := cmp.Diff([]string{"a", `k:{"name":"x"}`, `q\"`, "A//", ""}, names); diff != "" {
		t.Error(diff)
	}
	if wire.Empty([]byte(in)) || !wire.Empty([]byte(" { } ")) || wire.Empty([]byte("[]")) || wire.Lookup([]byte("[]"), "a") != nil {
		t.Error("what is empty is not told")
	}
}

// FuzzLookup holds finding a member against decoding the object.
func FuzzLookup(f *testing.F) {
	f.Add(`{"k:{\"port\":80}":{"f:x":{}},"b":"c"}`, `k:{"port":80}`)
	f.Add(`{"\u00e9":1}`, "é")
	f.Fuzz(func(t *testing.T, in, key string) {
		got := wire.Lookup([]byte(in), key) // it only must not crash for what is no JSON
		var want map[string]any
		if json.Unmarshal([]byte(in), &want) != nil || strings.Count(in, `"`) != 2*len(want)+countText(want) {
			return
		}
		v, ok := want[key]
		if ok != (got != nil) {
			t.Fatalf("%q in %s: %q, want %v", key, in, got, v)
		}
		var x any
		if ok && (json.Unmarshal(got, &x) != nil || !reflect.DeepEqual(x, v)) {
			t.Fatalf("%q in %s: %q, want %v", key, in, got, v)
		}
	})
}

// countText gives how many quotes the values of an object are written with at least; with more, a name may be there twice.
func countText(m map[string]any) (n int) {
	for _, v := range m {
		if _, ok := v.(string); ok {
			n += 2
		}
	}
	return n
}
