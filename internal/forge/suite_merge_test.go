package forge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
)

func merged(t *testing.T, s *site, method forge.MergeMethod) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	before := s.tip(t, "main")
	settled(t, c, pr.Number)
	if err := c.Merge(t.Context(), pr.Number, forge.Merge{Method: method, HeadCommit: pr.HeadCommit, Title: "Merge shop", Body: "By hand"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(t.Context(), pr.Number)
	if err != nil {
		t.Fatal(err)
	}
	tip := s.tip(t, "main")
	if tip == before || got.State != forge.Merged || got.MergeCommit != tip || got.Actor != s.login || got.WaitsFor != "" {
		t.Errorf("main went from %s to %s, and the pull request is %+v", before, tip, got)
	}
	if found, err := c.Find(t.Context(), "towpath/shop", "main"); found != nil || err != nil {
		t.Errorf("still found as open: %v, %v", found, err)
	}
}

func byPeople(t *testing.T, s *site) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	for _, step := range []struct {
		what string
		want forge.State
	}{{"close", forge.Closed}, {"reopen", forge.Open}, {"merge", forge.Merged}} {
		settled(t, c, pr.Number)
		s.act(t, pr.Number, step.what)
		got, err := c.Get(t.Context(), pr.Number)
		if err != nil || got.State != step.want {
			t.Fatalf("after %s it is %+v, %v", step.what, got, err)
		}
		found, err := c.Find(t.Context(), "towpath/shop", "main")
		if err != nil || (found != nil) != (step.want == forge.Open) {
			t.Errorf("after %s Find gives %v, %v", step.what, found, err)
		}
		if step.what == "merge" && got.Actor != s.reviewer {
			t.Errorf("%q merged it", got.Actor)
		}
	}
}

func approved(t *testing.T, s *site) {
	c := s.client(t)
	s.protect(t, 1)
	pr := open(t, s, c, "towpath/shop")
	if got := settled(t, c, pr.Number); !strings.Contains(got.WaitsFor, "approval") {
		t.Errorf("it waits for %q", got.WaitsFor)
	}
	err := c.Merge(t.Context(), pr.Number, forge.Merge{HeadCommit: pr.HeadCommit})
	wantError(t, err, errs.Precondition, "approval")
	if w := metaOf(err)["waits_for"]; !strings.Contains(w, "approval") {
		t.Errorf("waits_for is %q", w)
	}
	s.act(t, pr.Number, "approve")
	if got := settled(t, c, pr.Number); got.WaitsFor != "" {
		t.Errorf("with an approval it waits for %q", got.WaitsFor)
	}
	if err := c.Merge(t.Context(), pr.Number, forge.Merge{HeadCommit: pr.HeadCommit}); err != nil {
		t.Error(err)
	}
}

func closedFirst(t *testing.T, s *site) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	s.act(t, pr.Number, "close")
	wantError(t, c.Merge(t.Context(), pr.Number, forge.Merge{HeadCommit: pr.HeadCommit}), errs.Precondition, "closed")
}

func moved(t *testing.T, s *site) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	newer := s.commit(t, "towpath/shop")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got := settled(t, c, pr.Number); got.HeadCommit == newer {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the service does not see the new head")
		}
	}
	err := c.Merge(t.Context(), pr.Number, forge.Merge{HeadCommit: pr.HeadCommit})
	wantError(t, err, errs.Conflict, newer[:12])
	settled(t, c, pr.Number)
	if err := c.Merge(t.Context(), pr.Number, forge.Merge{HeadCommit: newer}); err != nil {
		t.Error(err)
	}
}

func twice(t *testing.T, s *site) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	settled(t, c, pr.Number)
	s.act(t, pr.Number, "merge")
	tip := s.tip(t, "main")
	if err := c.Merge(t.Context(), pr.Number, forge.Merge{HeadCommit: pr.HeadCommit}); err != nil {
		t.Error(err)
	}
	if now := s.tip(t, "main"); now != tip {
		t.Error("main moved")
	}
}

func automatic(t *testing.T, s *site) {
	c := s.client(t)
	s.protect(t, 1)
	pr := open(t, s, c, "towpath/shop")
	settled(t, c, pr.Number)
	for range 2 {
		if done, err := c.AutoMerge(t.Context(), pr.Number, forge.Merge{HeadCommit: pr.HeadCommit}); done || err != nil {
			t.Fatalf("merged is %t, %v, %v", done, err, metaOf(err))
		}
	}
	s.act(t, pr.Number, "approve")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got, err := c.Get(t.Context(), pr.Number)
		if err != nil {
			t.Fatal(err)
		}
		if got.State == forge.Merged {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it was not merged: %+v", got)
		}
	}
	other := open(t, s, c, "towpath/other")
	s.act(t, other.Number, "approve")
	settled(t, c, other.Number)
	if done, err := c.AutoMerge(t.Context(), other.Number, forge.Merge{HeadCommit: other.HeadCommit}); !done || err != nil {
		t.Errorf("with nothing to wait for: merged is %t, %v, %v", done, err, metaOf(err))
	}
}
