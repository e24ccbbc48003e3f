package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/ratelimit"
)

func TestEachSubjectHasItsOwnBucketsForReadsAndWrites(t *testing.T) {
	now := time.Unix(0, 0)
	l := ratelimit.New(ratelimit.Config{
		Reads: ratelimit.Limit{PerSecond: 10, Burst: 3}, Writes: ratelimit.Limit{PerSecond: 1}, Clock: func() time.Time { return now },
	})
	for i := range 3 {
		if w := l.Take("users/ada", true); w != 0 {
			t.Fatalf("read %d waits %s", i, w)
		}
	}
	if w := l.Take("users/ada", true); w != 100*time.Millisecond {
		t.Errorf("a fourth read waits %s, want 100ms", w)
	}
	if w := l.Take("users/ada", false); w != 0 {
		t.Errorf("a write waits %s because of reads", w)
	}
	if w := l.Take("users/ada", false); w != time.Second {
		t.Errorf("a second write waits %s, want 1s", w)
	}
	if w := l.Take("users/bob", true); w != 0 {
		t.Errorf("another subject waits %s", w)
	}
	now = now.Add(100 * time.Millisecond)
	if w := l.Take("users/ada", true); w != 0 {
		t.Errorf("after the wait it still waits %s", w)
	}
}

func TestOnlyFailuresBlockAnAddress(t *testing.T) {
	now := time.Unix(0, 0)
	l := ratelimit.New(ratelimit.Config{Failures: ratelimit.Limit{PerSecond: 0.5, Burst: 2}, Clock: func() time.Time { return now }})
	for range 100 {
		if w := l.Blocked("10.0.0.1"); w != 0 {
			t.Fatalf("asking blocks: %s", w)
		}
	}
	l.Failed("10.0.0.1")
	l.Failed("10.0.0.1")
	if w := l.Blocked("10.0.0.1"); w != 2*time.Second {
		t.Errorf("blocked for %s, want 2s", w)
	}
	if w := l.Blocked("10.0.0.2"); w != 0 {
		t.Errorf("another address is blocked for %s", w)
	}
	now = now.Add(2 * time.Second)
	if w := l.Blocked("10.0.0.1"); w != 0 {
		t.Errorf("still blocked for %s", w)
	}
}

func TestNoLimitIsNoLimit(t *testing.T) {
	l := ratelimit.New(ratelimit.Config{})
	for range 1000 {
		if l.Take("a", true)+l.Take("a", false)+l.Blocked("a") != 0 {
			t.Fatal("limited")
		}
		l.Failed("a")
	}
}

func TestMemoryIsBoundedAndTheLongestUnseenGoes(t *testing.T) {
	now := time.Unix(0, 0)
	l := ratelimit.New(ratelimit.Config{Writes: ratelimit.Limit{PerSecond: 1}, MaxKeys: 10, Clock: func() time.Time { return now }})
	l.Take("keeps", false)
	for i := range 100 {
		l.Take(fmt.Sprint(i), false)
		if l.Take("keeps", false) == 0 {
			t.Fatalf("after %d others the one that calls all the time was forgotten", i+1)
		}
	}
	if l.Take("0", false) != 0 {
		t.Error("one of 100 earlier keys is still remembered among 10")
	}
}
