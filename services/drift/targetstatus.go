package drift

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// GetTargetStatus tells how a cluster does. A target that no environment is on is asked now.
func (s *Service) GetTargetStatus(ctx context.Context, req *driftv1.GetTargetStatusRequest) (*driftv1.TargetStatus, error) {
	name := strings.TrimSuffix(req.GetName(), "/status")
	s.mu.Lock()
	ref, c := s.targets.refs[name], s.clusters[name]
	s.mu.Unlock()
	if ref == nil {
		return nil, errs.NotFoundf(name, "drift hears of a target when it is made or changed, or when an environment on it is deployed")
	}
	if c == nil {
		var err error
		if c, err = s.clusterOf(ref); err != nil {
			return nil, err
		}
	}
	c.firstLook(ctx)
	return s.targetStatus(c), nil
}

// firstLook waits until it is known whether the cluster answers.
func (c *cluster) firstLook(ctx context.Context) {
	if c.open(ctx) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, downAfter*(probeEvery+probeSoon))
	defer cancel()
	select {
	case <-c.looked:
	case <-ctx.Done():
	}
}

// targetStatus is the status as this process sees it.
func (s *Service) targetStatus(c *cluster) *driftv1.TargetStatus {
	share := &driftv1.TargetReplica{Replica: s.replica(), Requests: c.link.sent.Load()}
	for _, e := range s.environmentsOf(c.name) {
		share.Environments++
		e.mu.Lock()
		share.Objects += int32(len(e.objects))
		e.mu.Unlock()
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	share.Watches = int32(len(c.watches))
	st := &driftv1.TargetStatus{
		Name: c.name + "/status", Reachable: c.down == nil && c.wrong == nil && !c.seen.IsZero(), Version: c.version,
		ChangeTime: timestamppb.New(c.changed), Replicas: []*driftv1.TargetReplica{share},
	}
	if !c.seen.IsZero() {
		st.SeenTime = timestamppb.New(c.seen)
	}
	switch {
	case c.wrong != nil:
		st.Message = errs.Message(c.wrong)
	case c.down != nil:
		st.Message = errs.Message(c.down)
	case c.seen.IsZero():
		st.Message = "it has not answered yet"
	}
	return st
}

// lastSeen is when the cluster of an environment last answered; nil while that is now. It needs the environment's mutex.
func (s *Service) lastSeen(e *environment) *timestamppb.Timestamp {
	if e.down == nil || e.cluster == nil {
		return nil
	}
	e.cluster.mu.RLock()
	defer e.cluster.mu.RUnlock()
	if e.cluster.seen.IsZero() {
		return nil
	}
	return timestamppb.New(e.cluster.seen)
}

// replica is what this process is called.
func (s *Service) replica() string { return s.cfg.Replica }
