package forge_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
)

// site is a project of a service with people around it, for the suite: the real Gitea, and servers that answer as GitHub's and
// GitLab's documentation says.
type site struct {
	config forge.Config
	// login is whom the config's token belongs to, reviewer somebody else who may write.
	login, reviewer string
	// commit has a person commit something new to a branch, which is made from main when it is not there.
	commit func(t *testing.T, branch string) string
	// tip is the commit at a branch, empty when it is gone.
	tip func(t *testing.T, branch string) string
	// protect has main demand that many approvals.
	protect func(t *testing.T, approvals int)
	// act has the reviewer do something to a pull request: approve, merge, close, reopen.
	act func(t *testing.T, number int64, what string)
	// see gives what people see of a pull request.
	see func(t *testing.T, number int64) sight
	// token gives another token: "wrong", "read-only", "outsider".
	token func(t *testing.T, what string) string
}

// sight is what people see.
type sight struct{ Labels, Reviewers, Comments []string }

func (s *site) client(t *testing.T) *forge.Client {
	t.Helper()
	return s.clientWith(t, nil)
}

func (s *site) clientWith(t *testing.T, change func(*forge.Config)) *forge.Client {
	t.Helper()
	cfg := s.config
	if change != nil {
		change(&cfg)
	}
	c, err := forge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fixed(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

func proposal(head string) forge.Proposal {
	return forge.Proposal{Head: head, Base: "main", Title: "shop to production", Body: "What **changes**"}
}

// open opens a pull request from a new branch.
func open(t *testing.T, s *site, c *forge.Client, head string) *forge.PullRequest {
	t.Helper()
	s.commit(t, head)
	pr, warnings, err := c.Create(t.Context(), proposal(head))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, warnings %v", err, warnings)
	}
	return pr
}

// settled waits until the service has looked for conflicts, which it does in the background.
func settled(t *testing.T, c *forge.Client, number int64) *forge.PullRequest {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pr, err := c.Get(t.Context(), number)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(pr.WaitsFor, "check for conflicts") {
			return pr
		}
		if time.Now().After(end) {
			t.Fatalf("the service does not come to an end: %s", pr.WaitsFor)
		}
	}
}

// suite is what all services have in common.
func suite(t *testing.T, newSite func(t *testing.T) *site) {
	for name, test := range map[string]func(t *testing.T, s *site){
		"a pull request is opened once and found again":                    opened,
		"an update changes the text and adds what is missing":              updated,
		"names that nobody knows are warnings":                             warned,
		"a person's merge and close and reopening are seen":                byPeople,
		"a branch that demands approvals says so until it has them":        approved,
		"a closed pull request is not merged":                              closedFirst,
		"a merge of another head than was seen is a conflict":              moved,
		"a merge that is done already is no error":                         twice,
		"a branch is deleted, and deleting it again is no error":           deleted,
		"closing says why, and closing again says nothing":                 closed,
		"what the token may do and what the branch demands are told":       inspected,
		"a token that is wrong, may not or sees nothing has its own error": denied,
		"a project that is not there is not found":                         missing,
		"a merge waits at the service":                                     automatic,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newSite(t)) })
	}
	for _, method := range []forge.MergeMethod{forge.MergeCommit, forge.Squash, forge.Rebase} {
		t.Run("merged by "+string(method), func(t *testing.T) { t.Parallel(); merged(t, newSite(t), method) })
	}
}

func opened(t *testing.T, s *site) {
	c := s.client(t)
	if pr, err := c.Find(t.Context(), "towpath/shop", "main"); pr != nil || err != nil {
		t.Fatalf("found %v, %v before there is one", pr, err)
	}
	commit := s.commit(t, "towpath/shop")
	s.commit(t, "towpath/shop-2")
	pr, warnings, err := c.Create(t.Context(), proposal("towpath/shop"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, warnings %v", err, warnings)
	}
	if pr.URL == "" || pr.Time.IsZero() {
		t.Errorf("no address or time: %+v", pr)
	}
	want := &forge.PullRequest{
		Number: pr.Number, URL: pr.URL, Head: "towpath/shop", Base: "main", HeadCommit: commit, State: forge.Open, Time: pr.Time,
		Title: "shop to production", Body: "What **changes**",
	}
	if d := cmp.Diff(want, pr); d != "" {
		t.Error(d)
	}
	again, _, err := c.Create(t.Context(), proposal("towpath/shop"))
	if err != nil || again.Number != pr.Number {
		t.Errorf("a second call gave %v, %v", again, err)
	}
	for _, base := range []string{"main", ""} {
		if found, err := c.Find(t.Context(), "towpath/shop", base); err != nil || found == nil || found.Number != pr.Number {
			t.Errorf("for base %q found %v, %v", base, found, err)
		}
	}
	if other, err := c.Find(t.Context(), "towpath/shop-2", "main"); other != nil || err != nil {
		t.Errorf("another branch's: %v, %v", other, err)
	}
	if d := cmp.Diff([]string{"towpath"}, s.see(t, pr.Number).Labels); d != "" {
		t.Error(d)
	}
}

func updated(t *testing.T, s *site) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	p := forge.Proposal{Title: "shop to production\nand more", Body: "Now **this**", Labels: []string{"deploy", "towpath"}, Reviewers: []string{s.reviewer}}
	for range 2 {
		if warnings, err := c.Update(t.Context(), pr.Number, p); err != nil || len(warnings) > 0 {
			t.Fatalf("%v, warnings %v", err, warnings)
		}
	}
	got, err := c.Get(t.Context(), pr.Number)
	if err != nil {
		t.Fatal(err)
	}
	if got.Title != "shop to production and more" || got.Body != "Now **this**" {
		t.Errorf("title %q, body %q", got.Title, got.Body)
	}
	seen := s.see(t, pr.Number)
	slices.Sort(seen.Labels)
	if d := cmp.Diff(sight{Labels: []string{"deploy", "towpath"}, Reviewers: []string{s.reviewer}}, seen); d != "" {
		t.Error(d)
	}
}

func warned(t *testing.T, s *site) {
	c := s.client(t)
	s.commit(t, "towpath/shop")
	p := proposal("towpath/shop")
	p.Reviewers = []string{"nobody-at-all", s.reviewer, "team:no-such-team"}
	pr, warnings, err := c.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(warnings, "\n")
	if len(warnings) != 2 || !strings.Contains(all, "nobody-at-all") || !strings.Contains(all, "team:no-such-team") {
		t.Errorf("the warnings are:\n%s", all)
	}
	if d := cmp.Diff([]string{s.reviewer}, s.see(t, pr.Number).Reviewers); d != "" {
		t.Error(d)
	}
}

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

func deleted(t *testing.T, s *site) {
	c := s.client(t)
	s.commit(t, "towpath/shop")
	for range 2 {
		if err := c.DeleteBranch(t.Context(), "towpath/shop"); err != nil {
			t.Fatal(err)
		}
		if tip := s.tip(t, "towpath/shop"); tip != "" {
			t.Errorf("it is still there, at %s", tip)
		}
	}
	pr := open(t, s, c, "towpath/other")
	settled(t, c, pr.Number)
	if err := c.Merge(t.Context(), pr.Number, forge.Merge{}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteBranch(t.Context(), "towpath/other"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(t.Context(), pr.Number); err != nil || got.State != forge.Merged || got.Head != "towpath/other" {
		t.Errorf("after its branch is gone: %+v, %v", got, err)
	}
}

func closed(t *testing.T, s *site) {
	c := s.client(t)
	pr := open(t, s, c, "towpath/shop")
	for range 2 {
		if err := c.Close(t.Context(), pr.Number, "A newer deployment takes its place."); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.Get(t.Context(), pr.Number); err != nil || got.State != forge.Closed {
		t.Errorf("%+v, %v", got, err)
	}
	if d := cmp.Diff([]string{"A newer deployment takes its place."}, s.see(t, pr.Number).Comments); d != "" {
		t.Error(d)
	}
}

func inspected(t *testing.T, s *site) {
	c := s.client(t)
	a, err := c.Inspect(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	want := &forge.Access{Login: s.login, Read: true, Push: true, Pull: true, DefaultBranch: "main", Webhooks: []string{}}
	if d := cmp.Diff(want, a); d != "" {
		t.Error(d)
	}
	s.protect(t, 2)
	a, err = c.Inspect(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if !a.Protected || a.Approvals != 2 || !strings.Contains(a.Why, "2 approvals") {
		t.Errorf("protected: %+v", a)
	}
	if a, err = c.Inspect(t.Context(), "not-there-yet"); err != nil || a.Protected {
		t.Errorf("a branch that is not there: %+v, %v", a, err)
	}
	weak := s.clientWith(t, func(cfg *forge.Config) { cfg.Token = fixed(s.token(t, "read-only")) })
	if a, err = weak.Inspect(t.Context(), "main"); err != nil || !a.Read || a.Push || a.Pull {
		t.Errorf("a token that only reads: %+v, %v", a, err)
	}
}

func denied(t *testing.T, s *site) {
	s.commit(t, "towpath/shop")
	for what, want := range map[string]errs.Kind{"wrong": errs.Unauthenticated, "read-only": errs.Denied, "outsider": errs.NotFound} {
		token := s.token(t, what)
		c := s.clientWith(t, func(cfg *forge.Config) { cfg.Token = fixed(token) })
		_, _, err := c.Create(t.Context(), proposal("towpath/shop"))
		wantError(t, err, want, "")
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("the token is in %q", err)
		}
		if metaOf(err)["host_says"] == "" {
			t.Errorf("%s: the service's words are gone: %v", what, err)
		}
		if want == errs.Denied && !strings.Contains(err.Error(), "give it") {
			t.Errorf("no remedy: %v", err)
		}
	}
}

func missing(t *testing.T, s *site) {
	c := s.clientWith(t, func(cfg *forge.Config) { cfg.Project = "nobody/nothing" })
	_, err := c.Find(t.Context(), "towpath/shop", "main")
	wantError(t, err, errs.NotFound, "nobody/nothing")
	_, err = s.client(t).Get(t.Context(), 4711)
	wantError(t, err, errs.NotFound, "")
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

func wantError(t *testing.T, err error, kind errs.Kind, words string) {
	t.Helper()
	if !errs.Is(err, kind) || !strings.Contains(errs.Message(err), words) {
		t.Errorf("the error is %v (%v), want %v with %q", err, errs.KindOf(err), kind, words)
	}
}
