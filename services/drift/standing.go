package drift

import (
	"context"
	"slices"
	"strings"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// standing gives copies of the findings of a parent that count as one of standings, the open ones where none is named.
func (s *Service) standing(ctx context.Context, parent string, standings []driftv1.Finding_Standing) ([]*driftv1.Finding, error) {
	var out []*driftv1.Finding
	if len(standings) == 0 || slices.Contains(standings, driftv1.Finding_STANDING_OPEN) {
		out = s.open(parent)
	}
	if slices.Contains(standings, driftv1.Finding_STANDING_IGNORED) {
		out = append(out, s.ignored(parent)...)
	}
	if !slices.Contains(standings, driftv1.Finding_STANDING_DELEGATED) {
		return out, nil
	}
	if strings.Contains(parent, "/-") {
		return nil, errs.InvalidField("standings", "has DELEGATED, which is read from the cluster: name one environment")
	}
	e := s.environment(parent)
	if e == nil {
		return nil, notHere(parent)
	}
	delegated, err := e.delegated(ctx)
	return append(out, delegated...), err
}

// ignored gives copies of the ignored findings of a parent.
func (s *Service) ignored(parent string) []*driftv1.Finding {
	var out []*driftv1.Finding
	for _, e := range s.matching(parent) {
		e.mu.Lock()
		out = append(out, e.ignored()...)
		e.mu.Unlock()
	}
	return out
}
