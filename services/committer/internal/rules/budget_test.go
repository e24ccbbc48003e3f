package rules_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

func TestAQuietBranchPushesAtOnceAndABusyOneSteadily(t *testing.T) {
	var b rules.Budget
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := start
	var got []string
	for range 12 { // somebody who always has something to push
		if next := b.Next(6, now); next.After(now) {
			now = next
		}
		b.Spend(now)
		got = append(got, now.Sub(start).String())
	}
	want := []string{"0s", "0s", "0s", "10s", "20s", "30s", "1m0s", "1m10s", "1m20s", "1m30s", "1m40s", "1m50s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pushes (-want +got):\n%s", diff)
	}
	later := now.Add(time.Hour)
	if b.Next(6, later).After(later) {
		t.Error("a branch that was quiet for an hour waits")
	}
	if b.Next(0, now).After(now) {
		t.Error("a branch without a budget waits")
	}
}

func TestWhatTheHostImposesHoldsForAsLongAsItSaid(t *testing.T) {
	var b rules.Budget
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.Impose(now.Add(time.Minute))
	b.Impose(now.Add(time.Second)) // a later, shorter wish does not end the first
	if got := b.Next(0, now).Sub(now); got != time.Minute {
		t.Errorf("the next push is in %s", got)
	}
	if then := now.Add(time.Minute); b.Next(0, then).After(then) {
		t.Error("it waits for longer than the host said")
	}
}

func TestWhatIsLeftOfABudgetIsCountedByTheMinute(t *testing.T) {
	var b rules.Budget
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if got := b.Left(0, now); got != -1 {
		t.Errorf("without a budget %d are left", got)
	}
	b.Spend(now)
	b.Spend(now.Add(30 * time.Second))
	for after, want := range map[time.Duration]int{30 * time.Second: 1, 59 * time.Second: 1, time.Minute: 2, 2 * time.Minute: 3} {
		if got := b.Left(3, now.Add(after)); got != want {
			t.Errorf("after %s %d are left, want %d", after, got, want)
		}
	}
	if got := b.Left(1, now.Add(30*time.Second)); got != 0 {
		t.Errorf("after more pushes than the budget of now %d are left", got)
	}
	b.Impose(now.Add(time.Hour))
	if got := b.Left(0, now.Add(10*time.Minute)); got != 0 {
		t.Errorf("while the host wants none, %d are left", got)
	}
}

func TestNoMinuteHasMorePushesThanTheBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "budget")
		var b rules.Budget
		now := time.Unix(1_700_000_000, 0)
		var sent []time.Time
		for range rapid.IntRange(1, 300).Draw(t, "attempts") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pause")))
			next := b.Next(n, now)
			if next.Sub(now) > time.Minute {
				t.Fatalf("a push waits for %s", next.Sub(now))
			}
			if next.After(now) {
				if rapid.Bool().Draw(t, "gives up") {
					continue
				}
				now = next
			}
			b.Spend(now)
			sent = append(sent, now)
			if k := len(sent) - 1 - n; k >= 0 && now.Sub(sent[k]) < time.Minute {
				t.Fatalf("%d pushes within %s", n+1, now.Sub(sent[k]))
			}
		}
	})
}
