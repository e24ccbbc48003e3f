package drift

import (
	"fmt"
	"testing"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestAWatchOfFindingsGoesOnWhereItWas(t *testing.T) {
	h := newHub()
	publish := func(from, to int) {
		for i := from; i <= to; i++ {
			h.publish("applications/shop/environments/dev", &driftv1.Finding{Name: fmt.Sprint(i)})
		}
	}
	publish(1, 3)
	_, token, changes, stop, err := h.watch("")
	if err != nil {
		t.Fatal(err)
	}
	publish(4, 4)
	if c := <-changes; c.finding.GetName() != "4" || c.seq != 4 {
		t.Errorf("change = %v", c)
	}
	stop()
	publish(5, 2*maxRecent-10)
	missed, _, _, stop, err := h.watch(token)
	if err != nil || len(missed) != 2*maxRecent-10-3 || missed[0].finding.GetName() != "4" || missed[len(missed)-1].seq != h.seq {
		t.Errorf("%d missed, %v", len(missed), err)
	}
	stop()
	publish(2*maxRecent-9, 2*maxRecent+1) // the oldest are forgotten
	if _, _, _, _, err := h.watch(token); !errs.Is(err, errs.OutOfRange) {
		t.Errorf("a place that is forgotten: %v", err)
	}
	if missed, _, _, stop, err := h.watch(h.token(h.seq)); err != nil || len(missed) != 0 {
		t.Errorf("the place of now: %d missed, %v", len(missed), err)
	} else {
		stop()
	}
	if _, _, _, _, err := newHub().watch(token); !errs.Is(err, errs.OutOfRange) {
		t.Errorf("a token of another process: %v", err)
	}
	for _, bad := range []string{"x", "-", h.id + "-", h.id + "--1", h.id + "-01", h.id + "-1 "} {
		if _, _, _, _, err := h.watch(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if len(h.watchers) != 0 {
		t.Errorf("%d watchers are left", len(h.watchers))
	}
}
