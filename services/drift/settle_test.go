package drift

import (
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/wire"
)

// stage is an environment with one ConfigMap, whose clock and whose cluster the test moves.
type stage struct {
	*environment
	t       *testing.T
	now     time.Time
	version int
	data    map[string]any
	key     objectKey
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), version: 10, data: map[string]any{"v": "declared"}}
	svc, err := New(Config{MaskKey: []byte("0123456789abcdef0123456789abcdef"), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	s.environment = newEnvironment(svc, "applications/shop/environments/dev")
	s.cluster = &cluster{svc: svc, comparer: svc.comparer, entitled: map[string]map[evidenceKey]entitlement{}}
	s.desired = &eventsv1.DesiredState{Environment: s.name, Generation: 1}
	s.synced = s.desired
	u := parsed(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata: {v: declared}\n")
	x := &tracked{key: keyOf(u), gvr: configMaps}
	x.declare(u)
	s.key, s.objects[x.key] = x.key, x
	s.show()
	return s
}

// object is the live ConfigMap, a version later each time.
func (s *stage) object() *unstructured.Unstructured {
	s.version++
	data := map[string]any{}
	for k, v := range s.data {
		data[k] = v
	}
	fields := map[string]any{"f:data": map[string]any{".": map[string]any{}, "f:v": map[string]any{}}}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": map[string]any{
		"name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": strconv.Itoa(s.version), "managedFields": []any{map[string]any{
			"manager": "rogue", "operation": string(metav1.ManagedFieldsOperationUpdate), "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
		}},
	}}}
}

// show lets drift see the ConfigMap as it is now.
func (s *stage) show() { s.observe(configMaps, s.object()) }

func (s *stage) set(v string) { s.data["v"] = v; s.show() }

// told gives what was told since the last call.
func (s *stage) told() []string {
	s.svc.out.mu.Lock()
	defer s.svc.out.mu.Unlock()
	out := []string{}
	for _, a := range s.svc.out.queue {
		if strings.HasPrefix(a.typ, "drift.") {
			out = append(out, strings.TrimPrefix(a.typ, "drift."))
		}
	}
	s.svc.out.queue = nil
	return out
}

func (s *stage) expect(when string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), s.told()); diff != "" {
		s.t.Errorf("%s: %s", when, diff)
	}
}

func TestAFindingIsToldAtOnceAndClearedAtOnce(t *testing.T) {
	s := newStage(t)
	s.expect("in order")
	s.set("changed")
	s.expect("changed", "detected")
	s.show()
	s.expect("the same again")
	s.set("changed otherwise")
	s.expect("changed otherwise", "detected")
	s.set("declared")
	s.expect("put back", "resolved")
}

func TestDuringASyncNothingIsToldAndAfterItWhatIsStillThere(t *testing.T) {
	s := newStage(t)
	s.begin(busySync)
	s.set("changed")
	s.set("declared")
	s.set("changed")
	s.expect("during the sync")
	s.end()
	s.expect("after it", "detected")
	s.begin(busySync)
	s.set("declared")
	s.end()
	s.expect("put right in a sync", "resolved")
	s.begin(busySync)
	s.set("changed")
	s.set("declared")
	s.end()
	s.expect("half-done work is no finding")
}

func TestAPlaceThatWasUndoneTwiceInTenSecondsHasToLastTwo(t *testing.T) {
	s := newStage(t)
	for range 2 {
		s.set("changed")
		s.now = s.now.Add(time.Second)
		s.set("declared")
		s.expect("a coming and going", "detected", "resolved")
	}
	s.set("changed")
	s.expect("the third time")
	s.now = s.now.Add(flapSettle - time.Millisecond)
	s.tellHeld()
	s.expect("not yet two seconds")
	s.now = s.now.Add(time.Millisecond)
	s.tellHeld()
	s.expect("two seconds", "detected")
	s.set("declared")
	s.expect("cleared at once", "resolved")
	s.now = s.now.Add(flapWindow + time.Second)
	s.set("changed")
	s.expect("calm again", "detected")
}

func TestAFlappingPlaceIsToldAlsoWhenTheClockWasPutBack(t *testing.T) {
	s := newStage(t)
	for range 2 {
		s.set("changed")
		s.set("declared")
	}
	s.told()
	s.set("changed")
	s.expect("held")
	s.now = s.now.Add(-time.Hour)
	s.tellHeld()
	s.expect("the clock was put back", "detected")
}

func TestAContestedFindingIsLeftForLongerAndLonger(t *testing.T) {
	c := &contest{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range contestRounds {
		if !c.round(at) {
			t.Fatal("stopped too early")
		}
		at = at.Add(10 * time.Second)
	}
	for _, truce := range []time.Duration{firstTruce, 2 * firstTruce, 4 * firstTruce, 8 * firstTruce, lastTruce, lastTruce} {
		if c.round(at) || !c.stands(at) {
			t.Fatalf("one revert too many is made before a truce of %s", truce)
		}
		if got := c.until.Sub(at); got != truce {
			t.Errorf("a truce of %s, want %s", got, truce)
		}
		if at = c.until; c.stands(at) || !c.round(at) {
			t.Fatal("after the truce it is tried once more")
		}
		at = at.Add(time.Second)
	}
	// One that is undone now and then, but not at once, is no contest.
	slow := &contest{}
	for range 20 {
		if !slow.round(at) {
			t.Fatal("one revert in a while is no contest")
		}
		at = at.Add(contestWindow/2 + time.Second)
	}
}

func TestTheGateDropsWhatCannotChangeAnything(t *testing.T) {
	s := newStage(t)
	w := &kindWatch{c: &cluster{svc: s.svc, namespaces: map[string]*environment{"shop": s.environment}}, gvr: configMaps, dec: decoder{wire.NewDecoder()}}
	send := func(kind string, u *unstructured.Unstructured) (dropped bool) {
		t.Helper()
		b, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		h, err := wire.HeadOf(b)
		before := s.svc.stats.dropped.Load()
		if err == nil {
			err = w.event(kind, &h, b)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s.svc.stats.dropped.Load() > before
	}
	modified := func(edit func(u *unstructured.Unstructured)) bool {
		t.Helper()
		u := s.object()
		edit(u)
		return send("MODIFIED", u)
	}
	nothing := func(*unstructured.Unstructured) {}
	if modified(nothing) {
		t.Error("the first one by this way is looked at")
	}
	compared := s.svc.stats.compared.Load()
	last := s.object()
	newer, again := send("MODIFIED", last), send("MODIFIED", last)
	if !newer || !again || !modified(func(u *unstructured.Unstructured) { u.SetGeneration(7) }) {
		t.Error("one that differs in its version only is not dropped")
	}
	if s.objects[s.key].version != uint64(s.version) {
		t.Errorf("version %d is noted, want %d", s.objects[s.key].version, s.version)
	}
	if modified(func(u *unstructured.Unstructured) { u.Object["status"] = map[string]any{"a": "b"} }) {
		t.Error("another status may be another health")
	}
	if s.svc.stats.compared.Load() != compared {
		t.Error("a status is compared")
	}
	if !send("MODIFIED", func() *unstructured.Unstructured { u := s.object(); u.SetNamespace("elsewhere"); return u }()) {
		t.Error("a namespace of nobody is looked at")
	}
	s.lookAgain()
	if modified(nothing) || s.svc.stats.compared.Load() != compared+1 {
		t.Error("after evidence or a policy changed, the same object is compared again")
	}
	s.begin(busySync)
	if modified(nothing) {
		t.Error("during a sync all is kept for later")
	}
	s.end()
	s.expect("nothing is wrong")
	if modified(func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"v": "x"} }) {
		t.Error("an edit is dropped")
	}
	s.expect("an edit", "detected")
	if send("DELETED", s.object()) {
		t.Error("a removal is dropped")
	}
	if send("ADDED", func() *unstructured.Unstructured { u := s.object(); u.SetUID("u-2"); return u }()) {
		t.Error("another object of the same name is dropped")
	}
}
