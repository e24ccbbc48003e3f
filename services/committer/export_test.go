package committer

import (
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// Holder tells tests which replica writes a branch.
func (s *Service) Holder(ref *committerv1.RepositoryRef) (name string, mine bool) {
	return s.holder(ref)
}

// Lanes gives the number of open lanes.
func (s *Service) Lanes() int {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	return len(s.lanes.byKey)
}

// SetClock gives the budgets of a service that does not run yet another time.
func (s *Service) SetClock(now func() time.Time, after func(time.Duration) <-chan time.Time) {
	s.clock = clock{now: now, after: after}
}

// BranchRefuses is the test whether a pull request may be the way.
var BranchRefuses = branchRefuses
