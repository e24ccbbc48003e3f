package wire_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apijson "k8s.io/apimachinery/pkg/util/json"

	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

const object = `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"shop","uid":"u-1","resourceVersion":"12","generation":3,` +
	`"labels":{"app":"web"},"managedFields":[{"manager":"towpath","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}},` +
	`{"manager":"kube-controller-manager","operation":"Update","time":"2026-01-02T03:04:06Z","fieldsV1":{"f:status":{}},"subresource":"status"}]},` +
	`"spec":{"replicas":2,"text":"a \"quoted\" \\ one \u003c"},"status":{"replicas":2}}`

func TestTheHeadOfAnObjectIsReadWithoutDecodingIt(t *testing.T) {
	h, err := wire.HeadOf([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{string(h.APIVersion), string(h.Kind), string(h.Name), string(h.Namespace), string(h.UID), string(h.Version)}
	if diff := cmp.Diff([]string{"apps/v1", "Deployment", "web", "shop", "u-1", "12"}, got); diff != "" {
		t.Error(diff)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = wire.HeadOf([]byte(object)) }); n > 1 { // one for the conversion
		t.Errorf("%v allocations", n)
	}
}

func TestTheHashChangesWithWhatIsComparedAndShownAndWithNothingElse(t *testing.T) {
	hash := func(s string) uint64 {
		t.Helper()
		h, err := wire.HeadOf([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return h.Hash
	}
	base := hash(object)
	for _, c := range []struct {
		name, old, new string
		same           bool
	}{
		{"another resourceVersion", `"resourceVersion":"12"`, `"resourceVersion":"13"`, true},
		{"another generation", `"generation":3`, `"generation":4`, true},
		{"the time of the status' manager", "03:04:06Z", "03:09:09Z", true},
		{"the status' fields", `{"f:status":{}}`, `{"f:status":{"f:replicas":{}}}`, true},
		{"an item of a list has no kind", `"kind":"Deployment","apiVersion":"apps/v1",`, ``, true},
		{"a field of the spec", `"replicas":2,"text"`, `"replicas":3,"text"`, false},
		{"the status, which health depends on", `"status":{"replicas":2}`, `"status":{"replicas":1}`, false},
		{"a label", `"app":"web"`, `"app":"api"`, false},
		{"the time of another manager", "03:04:05Z", "03:04:09Z", false},
		{"a manager more", `"managedFields":[`, `"managedFields":[{"manager":"rogue"},`, false},
		{"a deletion", `"generation":3`, `"generation":3,"deletionTimestamp":"x"`, false},
	} {
		changed := strings.Replace(object, c.old, c.new, 1)
		if changed == object {
			t.Fatalf("%s: nothing is changed", c.name)
		}
		if (hash(changed) == base) != c.same {
			t.Errorf("%s: the same hash is %v, want %v", c.name, !c.same, c.same)
		}
	}
}

func TestAPageGivesItsItemsAndWhatToAskNext(t *testing.T) {
	body := `{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{"resourceVersion":"77","continue":"abc","remainingItemCount":3},"items":[` + object + `, ` + object + "]}\n"
	p, err := wire.PageOf([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != "Deployment" || p.APIVersion != "apps/v1" || p.Version != "77" || p.Continue != "abc" {
		t.Errorf("read %+v", p)
	}
	n := 0
	if err := p.Each(func(_ *wire.Head, o []byte) error {
		n++
		if string(o) != object {
			t.Errorf("item %s", o)
		}
		return nil
	}); err != nil || n != 2 {
		t.Errorf("%d items, %v", n, err)
	}
	stop := errors.New("stop")
	if err := p.Each(func(*wire.Head, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a caller's error is lost: %v", err)
	}
	for _, items := range []string{`"items":null`, `"items":[]`, `"metadata":{}`} {
		if p, err := wire.PageOf([]byte("{" + items + "}")); err != nil || p.Each(func(*wire.Head, []byte) error { return stop }) != nil {
			t.Errorf("%s: %v", items, err)
		}
	}
}

func TestAFrameThatIsCutSaysSo(t *testing.T) {
	frame := `{"type":"MODIFIED","object":` + object + `}`
	kind, o, err := wire.EventOf([]byte(frame))
	if err != nil || kind != "MODIFIED" || string(o) != object {
		t.Fatalf("%s %s %v", kind, o, err)
	}
	for i := range len(frame) {
		if _, _, err := wire.EventOf([]byte(frame[:i])); !errors.Is(err, wire.ErrShort) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// FuzzDecode holds the decoder against apimachinery's own.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		object, `{"a":[1,-2,3.5,1e3,9223372036854775807,9223372036854775808,-0],"b":{"":null},"c":"\ud83d\ude00 ü \u0000","d":[[],{}],"e":true,"f":false}`,
		`{"a":1,"a":2}`, ` {"a" : "x" } `, `{"a":01}`, `{"a":"` + "\xff" + `"}`, `{"a":1,}`, `[1]`, `{"a":tru}`, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := wire.NewDecoder().Decode(in)
		_, _ = wire.HeadOf(in) // they only must not crash
		if p, err := wire.PageOf(in); err == nil {
			_ = p.Each(func(*wire.Head, []byte) error { return nil })
		}
		_, _, _ = wire.EventOf(in)
		var want any
		if apijson.Unmarshal(in, &want) != nil || !json.Valid(in) {
			return
		}
		m, ok := want.(map[string]any)
		if !ok {
			return
		}
		if err != nil {
			t.Fatalf("apimachinery reads %q, this does not: %v", in, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("%q: %s", in, cmp.Diff(m, got))
		}
	})
}

func BenchmarkHead(b *testing.B) {
	for b.Loop() {
		_, _ = wire.HeadOf([]byte(object))
	}
}

func BenchmarkDecode(b *testing.B) {
	d := wire.NewDecoder()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = d.Decode([]byte(object))
	}
}
