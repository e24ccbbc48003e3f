package drift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apijson "k8s.io/apimachinery/pkg/util/json"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

func parsed(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	us, err := manifest.Parse("m.yaml", []byte(text))
	if err != nil || len(us) != 1 {
		t.Fatalf("%d objects, %v", len(us), err)
	}
	return us[0]
}

const secretText = `apiVersion: v1
kind: Secret
metadata: {name: given, namespace: shop}
stringData: {token: planted-declared-7391}
`

func TestADeclarationComesBackAsItWas(t *testing.T) {
	for name, text := range map[string]string{
		"a Deployment": replayedManifest(3), "a Secret": secretText,
		"numbers, nulls and odd texts": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\nspec: {a: 1, b: 2.5, c: null, d: [], e: {}, f: true, g: \"<&> \\u2028 ü \\\"\", h: -900719925}\n",
	} {
		t.Run(name, func(t *testing.T) {
			var tr tracked
			u := parsed(t, text)
			tr.declare(u.DeepCopy())
			var want map[string]any // whole numbers come back as such
			if b, err := json.Marshal(u.Object); err != nil || apijson.Unmarshal(b, &want) != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, tr.declared().Object); diff != "" {
				t.Error(diff)
			}
			tr.declared().SetName("changed by a caller")
			if tr.declared().GetName() != u.GetName() {
				t.Error("a caller's change is kept")
			}
		})
	}
}

func TestASecretIsNotInMemoryInClear(t *testing.T) {
	var tr tracked
	tr.declare(parsed(t, secretText))
	for range 3 {
		if tr.declared() == nil {
			t.Fatal("lost")
		}
	}
	for _, text := range []string{"planted", "given"} {
		if bytes.Contains(tr.want, []byte(text)) {
			t.Errorf("%q stands in what is kept of a Secret", text)
		}
	}
}

func TestThePreparedCacheKeepsWhatWasUsedLastWithinItsBytes(t *testing.T) {
	c := newPreparedCache(100)
	all := make([]*tracked, 8)
	for i := range all {
		all[i] = &tracked{}
		c.put(all[i], &compare.Prepared{}, 30)
		c.get(all[0]) // used again and again
	}
	for i, tr := range all {
		if want := i == 0 || i >= 6; (c.get(tr) != nil) != want {
			t.Errorf("object %d is kept: %v, want %v", i, !want, want)
		}
	}
	c.forget(all[7])
	if c.get(all[7]) != nil || c.used != 60 {
		t.Errorf("after forget: %d bytes", c.used)
	}
	c.put(all[6], &compare.Prepared{}, 10)
	if c.used != 40 {
		t.Errorf("an entry that is put again counts twice: %d bytes", c.used)
	}
	c.put(all[1], &compare.Prepared{}, 5000)
	if c.get(all[1]) == nil || len(c.by) != 1 {
		t.Error("one that is larger than all the cache is kept alone")
	}
	c.clear()
	if c.used != 0 || len(c.by) != 0 || c.order.Len() != 0 {
		t.Error("it is not empty after clear")
	}
}

func TestASettledObjectHasNoMaps(t *testing.T) {
	tr := tracked{findings: map[string]*driftv1.Finding{}, flaps: map[string]*flap{}}
	tr.trim()
	if tr.findings != nil || tr.flaps != nil {
		t.Error("empty maps are kept")
	}
	tr = tracked{findings: map[string]*driftv1.Finding{}, flaps: map[string]*flap{"x": {}}}
	tr.trim()
	if tr.findings == nil || tr.flaps == nil {
		t.Error("a flapping place is told into the map later")
	}
}

func TestNamesAreShared(t *testing.T) {
	var n names
	a := n.share(strings.Clone("shop"))
	if n.share(strings.Clone("shop")) != a || len(n.all) != 1 {
		t.Errorf("known are %v", n.all)
	}
	for i := range maxNames + 10 {
		n.share(fmt.Sprint(i))
	}
	if len(n.all) > maxNames {
		t.Errorf("%d names are kept", len(n.all))
	}
}

// random text, as images and hashes are.
func digits(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.IntN(16)]
	}
	return string(b)
}
