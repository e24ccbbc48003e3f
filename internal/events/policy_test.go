package events

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
)

func TestFailuresWaitLongerEachTimeAndThenEnd(t *testing.T) {
	var tl tally
	var got []string
	d := Delays{}.withDefaults()
	for {
		act, wait := tl.next(errors.New("boom"), d, 7)
		if act == actionDeadLetter {
			got = append(got, "dead letter")
			break
		}
		got = append(got, wait.String())
	}
	want := []string{"1s", "5s", "30s", "2m0s", "10m0s", "10m0s", "dead letter"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestParkedLaneProbesWithinItsBounds(t *testing.T) {
	var tl tally
	d := Delays{}.withDefaults()
	for n := range 100 {
		act, wait := tl.next(errs.New(errs.Unavailable, 0, "down"), d, 1)
		hi := min(d.ParkMin<<min(n, 20), d.ParkMax)
		if act != actionPark || wait > hi || wait < hi*8/10-time.Nanosecond {
			t.Fatalf("probe %d: action %d after %s, want a park of about %s", n, act, wait, hi)
		}
	}
	if act, _ := tl.next(nil, d, 1); act != actionAck {
		t.Errorf("success after an outage: action %d", act)
	}
}

func TestConflictsThatDoNotEndBecomeVisible(t *testing.T) {
	var tl tally
	var acts []action
	for range patience + 1 {
		act, _ := tl.next(errs.New(errs.Conflict, 0, "moved"), Delays{}.withDefaults(), 1)
		acts = append(acts, act)
	}
	if acts[patience-1] != actionRetry || acts[patience] != actionPark {
		t.Errorf("actions = %v, want a park after %d retries", acts, patience)
	}
}

func TestSubjectsTakeOnlyPlainTokens(t *testing.T) {
	if s, err := CommandSubject("main", "shop", "dev"); s != "towpath.cmd.commit.main.shop.dev" || err != nil {
		t.Errorf("CommandSubject = %q, %v", s, err)
	}
	if s, err := EventSubject("shop", NoToken, "drift.detected"); s != "towpath.evt.shop._.drift.detected" || err != nil {
		t.Errorf("EventSubject = %q, %v", s, err)
	}
	if s, err := DesiredSubject("shop", "dev"); s != "towpath.desired.shop.dev" || err != nil {
		t.Errorf("DesiredSubject = %q, %v", s, err)
	}
	for _, token := range []string{"", "*", ">", "a.b", "a b", "a\n", "é", "$JS", strings.Repeat("a", maxToken+1)} {
		for name, err := range map[string]error{
			"shard":       second(CommandSubject(token, "a", "e")),
			"application": second(EventSubject(token, "e", "t")),
			"environment": second(DesiredSubject("a", token)),
		} {
			var e *errs.Error
			if !errors.As(err, &e) || e.Kind != errs.Invalid || len(e.Fields) != 1 || e.Fields[0].Path != name {
				t.Errorf("token %q as %s: %v, want Invalid naming the field", token, name, err)
			}
		}
	}
	if _, err := EventSubject("a", "e", "done..x"); !errs.Is(err, errs.Invalid) {
		t.Errorf("an empty token in the type: %v, want Invalid", err)
	}
}

func second(_ string, err error) error { return err }

func TestEveryDurableIsProtectedFromOperators(t *testing.T) {
	deny := permissions(RoleOperator).Publish.Deny
	for _, d := range Durables {
		if !strings.Contains(strings.Join(deny, " ")+" ", "$JS.API.CONSUMER.MSG.NEXT."+StreamEvents+"."+d+" ") {
			t.Errorf("operators may take the messages of %s", d)
		}
	}
}

func TestLaneKeepsTheStreamsOrderButNotBeforeTheOneInWork(t *testing.T) {
	var l lane
	for _, seq := range []uint64{5, 9, 7, 3, 8} {
		l.insert(&item{place: place{1, seq}})
	}
	var got []uint64
	for _, it := range l.queue {
		got = append(got, it.place.seq)
	}
	if d := cmp.Diff([]uint64{5, 3, 7, 8, 9}, got); d != "" {
		t.Errorf("queue (-want +got):\n%s", d)
	}
}
