package rules_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func moment(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestFreezeWindowsGoByTheClocksOnTheWall(t *testing.T) {
	for name, tc := range map[string]struct {
		weekly, zone, now string
		until             string // empty for not frozen
	}{
		"before it":                            {"Fri 16:00 - Mon 08:00", "", "2026-03-06T15:59:59Z", ""},
		"its first moment":                     {"Fri 16:00 - Mon 08:00", "", "2026-03-06T16:00:00Z", "2026-03-09T08:00:00Z"},
		"the day between":                      {"Fri 16:00 - Mon 08:00", "", "2026-03-08T12:00:00Z", "2026-03-09T08:00:00Z"},
		"its last moment":                      {"Fri 16:00 - Mon 08:00", "", "2026-03-09T07:59:59Z", "2026-03-09T08:00:00Z"},
		"its end is out":                       {"Fri 16:00 - Mon 08:00", "", "2026-03-09T08:00:00Z", ""},
		"within one day":                       {"Tue 09:00 - Tue 10:30", "", "2026-03-10T10:29:00Z", "2026-03-10T10:30:00Z"},
		"within one day, the day after":        {"Tue 09:00 - Tue 10:30", "", "2026-03-11T09:30:00Z", ""},
		"nearly the whole week":                {"Tue 10:00 - Tue 09:00", "", "2026-03-17T08:59:00Z", "2026-03-17T09:00:00Z"},
		"nearly the whole week, the gap":       {"Tue 10:00 - Tue 09:00", "", "2026-03-17T09:30:00Z", ""},
		"from Saturday to Sunday":              {"Sat 22:00 - Sun 04:00", "", "2026-03-08T03:00:00Z", "2026-03-08T04:00:00Z"},
		"a zone ahead":                         {"Fri 16:00 - Mon 08:00", "Asia/Tokyo", "2026-03-06T07:00:00Z", "2026-03-08T23:00:00Z"},
		"a zone behind":                        {"Fri 16:00 - Mon 08:00", "America/New_York", "2026-03-06T21:30:00Z", "2026-03-09T12:00:00Z"}, // the clocks change on the 8th
		"over the change to summer time":       {"Sat 12:00 - Mon 08:00", "Europe/Berlin", "2026-03-28T11:00:00Z", "2026-03-30T06:00:00Z"},
		"over the change to winter time":       {"Sat 12:00 - Mon 08:00", "Europe/Berlin", "2026-10-24T10:00:00Z", "2026-10-26T07:00:00Z"},
		"ends at a time that does not exist":   {"Sat 12:00 - Sun 02:30", "Europe/Berlin", "2026-03-29T01:29:00Z", "2026-03-29T01:30:00Z"},
		"begins at a time that does not exist": {"Sun 02:30 - Sun 12:00", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T10:00:00Z"},
		"ends at a time that comes twice":      {"Sat 12:00 - Sun 02:30", "Europe/Berlin", "2026-10-25T01:29:00Z", "2026-10-25T01:30:00Z"},
		"begins at a time that comes twice":    {"Sun 02:30 - Sun 12:00", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T11:00:00Z"},
		"noon on a day of change":              {"Sun 12:00 - Sun 13:00", "Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-29T11:00:00Z"},
		"an hour off on a day of change":       {"Sun 12:00 - Sun 13:00", "Europe/Berlin", "2026-03-29T09:59:00Z", ""},
		"half-hour steps":                      {"Sun 02:00 - Sun 03:00", "Australia/Lord_Howe", "2026-04-05T16:29:00Z", ""},
		"any spelling":                         {" fri 16:00-MON 8:00 ", "", "2026-03-06T16:00:00Z", "2026-03-09T08:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &catalogv1.FreezeWindow{Id: "aa", Weekly: tc.weekly, TimeZone: tc.zone}
			if err := rules.CheckFreezes("freezes", []*catalogv1.FreezeWindow{w}); err != nil {
				t.Fatal(err)
			}
			until, frozen := rules.FrozenUntil(w, moment(t, tc.now))
			got := ""
			if frozen {
				got = until.UTC().Format(time.RFC3339)
			}
			if got != tc.until {
				t.Errorf("frozen until %q, want %q", got, tc.until)
			}
		})
	}
}

// A weekly window and its complement never hold together and never leave a moment out, but for the hour that does not exist
// or comes twice.
func TestWeeklyWindowAndItsComplementFillTheWeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}
		a := rapid.SampledFrom(days).Draw(t, "a") + " " + rapid.SampledFrom([]string{"00:00", "08:15", "23:59"}).Draw(t, "a at")
		b := rapid.SampledFrom(days).Draw(t, "b") + " " + rapid.SampledFrom([]string{"00:01", "12:30", "23:58"}).Draw(t, "b at")
		zone := rapid.SampledFrom([]string{"", "Europe/Berlin", "America/St_Johns", "Pacific/Auckland"}).Draw(t, "zone")
		now := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "now"), 0)
		_, in := rules.FrozenUntil(&catalogv1.FreezeWindow{Weekly: a + " - " + b, TimeZone: zone}, now)
		until, out := rules.FrozenUntil(&catalogv1.FreezeWindow{Weekly: b + " - " + a, TimeZone: zone}, now)
		if in == out {
			t.Fatalf("%s: in %t, out %t until %s", now.UTC(), in, out, until)
		}
	})
}

func TestLockIsToldBeforeAFreezeAndWhatRefusesFirst(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lock := &catalogv1.Lock{Actor: "users/ada", Hold: catalogv1.Hold_HOLD_QUEUE, ExpireTime: timestamppb.New(now.Add(time.Hour))}
	frozen := &catalogv1.FreezeWindow{Id: "sunday", Weekly: "Sun 00:00 - Mon 00:00"}
	refusing := &catalogv1.FreezeWindow{Id: "strict", Weekly: "Sun 00:00 - Mon 00:00", Hold: catalogv1.Hold_HOLD_REFUSE}
	const change, rollback = catalogv1.Deployment_KIND_CHANGE, catalogv1.Deployment_KIND_ROLLBACK
	for name, tc := range map[string]struct {
		lock    *catalogv1.Lock
		windows []*catalogv1.FreezeWindow
		kind    catalogv1.Deployment_Kind
		now     time.Time
		want    string
	}{
		"nothing":                    {nil, nil, change, now, ""},
		"a lock before a freeze":     {lock, []*catalogv1.FreezeWindow{frozen}, change, now, "users/ada"},
		"an expired lock":            {lock, []*catalogv1.FreezeWindow{frozen}, change, now.Add(time.Hour), "sunday"},
		"what refuses first":         {lock, []*catalogv1.FreezeWindow{frozen, refusing}, change, now, "strict"},
		"a rollback passes a freeze": {nil, []*catalogv1.FreezeWindow{frozen, refusing}, rollback, now, ""},
		"a rollback passes no lock":  {lock, nil, rollback, now, "users/ada"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if h := rules.HeldBy(tc.lock, tc.windows, tc.kind, tc.now); h != nil {
				got = h.Lock + h.Freeze
			}
			if got != tc.want {
				t.Errorf("held by %q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzFreezeWindow(f *testing.F) {
	f.Add("Fri 16:00 - Mon 08:00", "Europe/Berlin", int64(1_772_000_000))
	f.Fuzz(func(t *testing.T, weekly, zone string, now int64) {
		w := &catalogv1.FreezeWindow{Id: "aa", Weekly: weekly, TimeZone: zone}
		if rules.CheckFreezes("freezes", []*catalogv1.FreezeWindow{w}) != nil {
			return
		}
		at := time.Unix(now%4_000_000_000, 0)
		if until, frozen := rules.FrozenUntil(w, at); frozen && (!until.After(at) || until.Sub(at) > 8*24*time.Hour) {
			t.Errorf("at %s frozen until %s", at, until)
		}
	})
}
