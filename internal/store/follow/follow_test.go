package follow_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// racing is a log that grows at the worst moment: right after it was read and before the reader waits.
type racing struct {
	follow.Signal
	rev, end int64
}

func (l *racing) ReadLog(_ string, after int64) ([]store.Change, int64, error) {
	seen := l.rev
	if l.rev < l.end {
		l.rev++
		l.Notify()
	}
	var out []store.Change
	for rev := after + 1; rev <= seen; rev++ {
		out = append(out, store.Change{Key: "k", Rev: rev})
	}
	return out, seen, nil
}

func TestAChangeBetweenReadingAndWaitingIsNotMissed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	log := &racing{end: 5}
	var got []int64
	for c, err := range follow.Watch(ctx, log, "", 0) {
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		if got = append(got, c.Rev); c.Rev == log.end {
			break
		}
	}
	if d := cmp.Diff([]int64{1, 2, 3, 4, 5}, got); d != "" {
		t.Errorf("revisions (-want +got):\n%s", d)
	}
}

func TestNotifyWakesEveryoneAndOnlyOnce(t *testing.T) {
	t.Parallel()
	var s follow.Signal
	s.Notify() // nobody waits: nothing to do
	a, b := s.Changed(), s.Changed()
	s.Notify()
	<-a
	<-b
	select {
	case <-s.Changed():
		t.Error("a channel taken after Notify is closed already")
	default:
	}
}

// failing is a log that cannot be read.
type failing struct {
	follow.Signal
	err error
}

func (l *failing) ReadLog(string, int64) ([]store.Change, int64, error) { return nil, 0, l.err }

func TestAnErrorOfTheLogEndsTheWatch(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	n := 0
	for c, err := range follow.Watch(t.Context(), &failing{err: boom}, "", 0) {
		if n++; !errors.Is(err, boom) || c.Key != "" {
			t.Errorf("got %v, %v", c, err)
		}
	}
	if n != 1 {
		t.Errorf("the watch gave %d results, want one", n)
	}
}
