package weekly_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/internal/weekly"
)

func TestNextIsTheFirstMomentOfTheWindowAfterNow(t *testing.T) {
	t.Parallel()
	w, err := weekly.Parse("Fri 16:00 - Mon 08:00")
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := weekly.Zone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(1_700_000_000, 2_000_000_000).Draw(t, "now"), 0)
		next := w.Next(now, berlin)
		if !next.After(now) || next.Sub(now) > 8*24*time.Hour {
			t.Fatalf("after %s it begins at %s", now, next)
		}
		if _, in := w.Until(next, berlin); !in {
			t.Fatalf("%s is not in the window that begins then", next)
		}
		if _, in := w.Until(next.Add(-time.Second), berlin); in {
			t.Fatalf("the second before %s is in the window", next)
		}
		if end, in := w.Until(now, berlin); in && !end.After(now) {
			t.Fatalf("it is in the window at %s, which ended at %s", now, end)
		}
	})
}

func TestWhatIsNoTimeOfTheWeekIsRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "Fri 16:00", "Fri 24:00 - Mon 08:00", "Fre 16:00 - Mon 08:00", "Fri 16:00 - Fri 16:00", "Fri 16:60 - Sat 01:00"} {
		if _, err := weekly.Parse(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	if _, err := weekly.Zone("Local"); err == nil {
		t.Error("the machine's own zone was taken")
	}
}
