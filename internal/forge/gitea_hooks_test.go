package forge_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/forge/giteatest"
	"github.com/towpath-dev/towpath/internal/forge/webhook"
)

// What the real Gitea sends is what package webhook reads.
func TestGiteasWebhooksAreRead(t *testing.T) {
	const secret = "a-secret-of-webhooks"
	var mu sync.Mutex
	var got []*webhook.Event
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := webhook.Parse(forge.Gitea, r.Header, body, []byte("another")); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("with another secret: %v", err)
		}
		hub := r.Header.Clone()
		hub.Del("X-Gitea-Signature")
		if _, err := webhook.Parse(forge.Gitea, hub, body, []byte(secret)); err != nil {
			t.Errorf("by the other signature: %v", err)
		}
		e, err := webhook.Parse(forge.Gitea, r.Header, body, []byte(secret))
		if err != nil {
			t.Errorf("%v of %s", err, body)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	}))
	defer srv.Close()
	s := giteatest.Get(t)
	owner := s.NewUser(t)
	p := s.NewProject(t, owner, true)
	p.Hook(t, srv.URL, secret)
	await := func(want *webhook.Event) {
		t.Helper()
		want.Project, want.Actor = p.Path, owner.Name
		var last string
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			mu.Lock()
			events := slices.Clone(got)
			mu.Unlock()
			for _, e := range events {
				urls := e.URLs
				c := *e
				c.URLs = nil
				if last = cmp.Diff(want, &c); last == "" {
					if !slices.Contains(urls, p.CloneURL) {
						t.Errorf("the clone URLs are %v", urls)
					}
					return
				}
			}
		}
		t.Fatalf("never told; the last differs by\n%s", last)
	}
	main := p.Tip(t, "main")
	first := p.Commit(t, owner, "towpath/shop", "a.yaml", "a: 1\n")
	await(&webhook.Event{Kind: webhook.Push, Branch: "towpath/shop", After: first})
	c, err := forge.New(forge.Config{Kind: forge.Gitea, URL: s.URL, Project: p.Path, Token: fixed(owner.Token)})
	if err != nil {
		t.Fatal(err)
	}
	pr, _, err := c.Create(t.Context(), proposal("towpath/shop"))
	if err != nil {
		t.Fatal(err)
	}
	of := func(state forge.State, commit string) *webhook.Event {
		return &webhook.Event{Kind: webhook.PullRequest, Number: pr.Number, State: state, Head: "towpath/shop", Base: "main", HeadCommit: commit}
	}
	await(of(forge.Open, first))
	second := p.Commit(t, owner, "towpath/shop", "a.yaml", "a: 2\n")
	await(of(forge.Open, second))
	p.Do(t, owner, "PATCH", fmt.Sprintf("/pulls/%d", pr.Number), map[string]any{"state": "closed"}, nil)
	await(of(forge.Closed, second))
	p.Do(t, owner, "PATCH", fmt.Sprintf("/pulls/%d", pr.Number), map[string]any{"state": "open"}, nil)
	settled(t, c, pr.Number)
	p.Do(t, owner, "POST", fmt.Sprintf("/pulls/%d/merge", pr.Number), map[string]any{"Do": "merge"}, nil)
	await(of(forge.Merged, second))
	await(&webhook.Event{Kind: webhook.Push, Branch: "main", Before: main, After: p.Tip(t, "main")})
	if err := c.DeleteBranch(t.Context(), "towpath/shop"); err != nil {
		t.Fatal(err)
	}
}

func TestATokenOfGiteaWithoutScopesMayNothing(t *testing.T) {
	s := giteatest.Get(t)
	owner := s.NewUser(t)
	p := s.NewProject(t, owner, true)
	c, err := forge.New(forge.Config{Kind: forge.Gitea, URL: s.URL, Project: p.Path, Token: fixed(s.NewToken(t, owner, "read:misc"))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Inspect(t.Context(), "main")
	wantError(t, err, errs.Denied, "give it the scopes write:repository")
	// Without the scope for issues a pull request has no labels, and that is a warning.
	p.Commit(t, owner, "towpath/shop", "a.yaml", "a: 1\n")
	c, err = forge.New(forge.Config{Kind: forge.Gitea, URL: s.URL, Project: p.Path, Token: fixed(s.NewToken(t, owner, "write:repository"))})
	if err != nil {
		t.Fatal(err)
	}
	pr, warnings, err := c.Create(t.Context(), proposal("towpath/shop"))
	if err != nil || pr == nil || len(warnings) != 1 || !strings.Contains(warnings[0], "towpath") {
		t.Fatalf("%v, %v, warnings %v", pr, err, warnings)
	}
	if err := c.Close(t.Context(), pr.Number, "Without a comment."); err != nil {
		t.Error(err)
	}
}
