package committer

import committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"

// Holder tells tests which replica writes a branch.
func (s *Service) Holder(ref *committerv1.RepositoryRef) (name string, mine bool) { return s.holder(ref) }

// Lanes gives the number of open lanes.
func (s *Service) Lanes() int {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	return len(s.lanes.byKey)
}
