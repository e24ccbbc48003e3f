package committer_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// service is a pull request service over a bare repository. People are the test: they merge and close.
type service struct {
	t    testing.TB
	bare *gittest.Bare

	mu sync.Mutex
	// down is what every call answers; nil for none.
	down    error
	all     []*forge.PullRequest
	comment map[int64][]string
	created int
	merges  []forge.Merge
	// refuse is why nothing can be merged by the API.
	refuse string
}

func (s *service) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func (s *service) request(number int64) *forge.PullRequest {
	for _, pr := range s.all {
		if pr.Number == number {
			return pr
		}
	}
	s.t.Errorf("there is no pull request %d", number)
	return &forge.PullRequest{}
}

// seen gives a copy, with what Git says.
func (s *service) seen(pr *forge.PullRequest) *forge.PullRequest {
	out := *pr
	if pr.State == forge.Open {
		out.HeadCommit = s.bare.Tip(pr.Head)
	}
	return &out
}

func (s *service) Find(_ context.Context, head, base string) (*forge.PullRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pr := range s.all {
		if pr.State == forge.Open && pr.Head == head && (base == "" || pr.Base == base) {
			return s.seen(pr), s.down
		}
	}
	return nil, s.down
}

func (s *service) Create(ctx context.Context, p forge.Proposal) (*forge.PullRequest, []string, error) {
	if pr, err := s.Find(ctx, p.Head, p.Base); pr != nil || err != nil {
		return pr, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created++
	n := int64(len(s.all) + 1)
	pr := &forge.PullRequest{
		Number: n, URL: fmt.Sprintf("https://git.test/shop/pulls/%d", n), Head: p.Head, Base: p.Base, State: forge.Open,
		Title: p.Title, Body: p.Body, Time: time.Now(),
	}
	s.all = append(s.all, pr)
	return s.seen(pr), nil, nil
}

func (s *service) Update(_ context.Context, number int64, p forge.Proposal) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pr := s.request(number)
	pr.Title, pr.Body = p.Title, p.Body
	return nil, s.down
}

func (s *service) Get(_ context.Context, number int64) (*forge.PullRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return nil, s.down
	}
	return s.seen(s.request(number)), nil
}

func (s *service) Merge(_ context.Context, number int64, m forge.Merge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merges = append(s.merges, m)
	if s.refuse != "" {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "it cannot be merged").With("waits_for", s.refuse)
	}
	if m.HeadCommit != s.bare.Tip(s.request(number).Head) {
		return errs.New(errs.Conflict, errorsv1.Reason_REASON_PUSH_CONFLICT, "the head is another one")
	}
	s.land(s.request(number), m.Method, "towpath-bot", nil)
	return nil
}

func (s *service) Close(_ context.Context, number int64, comment string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pr := s.request(number)
	if pr.State == forge.Open {
		pr.State, pr.Actor = forge.Closed, "towpath-bot"
		s.note(number, comment)
	}
	return s.down
}

func (s *service) note(number int64, comment string) {
	if s.comment == nil {
		s.comment = map[int64][]string{}
	}
	s.comment[number] = append(s.comment[number], comment)
}

func (s *service) DeleteBranch(_ context.Context, branch string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bare.Tip(branch) != "" {
		s.bare.Git("update-ref", "-d", "refs/heads/"+branch)
	}
	return s.down
}

// land merges a pull request, with edit made to what is merged when it is not nil. The caller holds mu.
func (s *service) land(pr *forge.PullRequest, how forge.MergeMethod, who string, edit map[string][]byte) {
	base, head := s.bare.Tip(pr.Base), s.bare.Tip(pr.Head)
	tree := s.bare.Git("merge-tree", "--write-tree", base, head)
	args := []string{"commit-tree", tree, "-m", "Merged: " + pr.Title, "-p", base}
	if how == forge.MergeCommit || how == "" {
		args = append(args, "-p", head)
	}
	commit := s.bare.Git(args...)
	if edit != nil { // a squash that somebody edits has the edit in it
		edited := s.bare.CommitOn(commit, "edit", edit)
		commit = s.bare.Git("commit-tree", edited+"^{tree}", "-m", "Squashed: "+pr.Title, "-p", base)
	}
	s.bare.Git("update-ref", "refs/heads/"+pr.Base, commit, base)
	pr.State, pr.Actor, pr.MergeCommit, pr.Time = forge.Merged, who, commit, time.Now()
}

func (s *service) merge(number int64, how forge.MergeMethod, edit map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.land(s.request(number), how, "grace", edit)
}

func (s *service) shut(number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pr := s.request(number)
	pr.State, pr.Actor, pr.Time = forge.Closed, "grace", time.Now()
}

func (s *service) open() (open []*forge.PullRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pr := range s.all {
		if pr.State == forge.Open {
			open = append(open, s.seen(pr))
		}
	}
	return open
}
