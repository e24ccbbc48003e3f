package drift

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const defaultPage = 100

// GetEnvironmentStatus gives sync, health and objects as they are known now.
func (s *Service) GetEnvironmentStatus(_ context.Context, req *driftv1.GetEnvironmentStatusRequest) (*driftv1.EnvironmentStatus, error) {
	e := s.environment(strings.TrimSuffix(req.GetName(), "/status"))
	if e == nil {
		return nil, notHere(req.GetName())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status(), nil
}

// ListFindings lists open findings in the order of their places.
func (s *Service) ListFindings(ctx context.Context, req *driftv1.ListFindingsRequest) (*driftv1.ListFindingsResponse, error) {
	all, err := s.standing(ctx, req.GetParent(), req.GetStandings())
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	after := req.GetPageToken()
	if after != "" && !strings.Contains(after, "/findings/") {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN, "page_token was not made by ListFindings; start without one")
	}
	// A finding that the token names may be gone by now, so its place is searched by order and not by identity.
	slices.SortFunc(all, func(a, b *driftv1.Finding) int { return strings.Compare(a.GetName(), b.GetName()) })
	start, _ := slices.BinarySearchFunc(all, after+"\x00", func(f *driftv1.Finding, t string) int { return strings.Compare(f.GetName(), t) })
	if after == "" {
		start = 0
	}
	page := all[start:min(start+size, len(all))]
	resp := &driftv1.ListFindingsResponse{Findings: page}
	if start+size < len(all) {
		resp.NextPageToken = page[len(page)-1].GetName()
	}
	return resp, nil
}

// open gives copies of the open findings of a parent.
func (s *Service) open(parent string) []*driftv1.Finding {
	var out []*driftv1.Finding
	for _, e := range s.matching(parent) {
		e.mu.Lock()
		for _, t := range e.objects {
			for _, f := range t.findings {
				out = append(out, proto.CloneOf(f))
			}
		}
		for _, o := range e.orphans {
			out = append(out, proto.CloneOf(o.finding))
		}
		e.mu.Unlock()
	}
	return out
}

// GetFinding gives an open finding.
func (s *Service) GetFinding(_ context.Context, req *driftv1.GetFindingRequest) (*driftv1.Finding, error) {
	env, _, _ := strings.Cut(req.GetName(), "/findings/")
	for _, f := range append(s.open(env), s.ignored(env)...) {
		if f.GetName() == req.GetName() {
			return f, nil
		}
	}
	return nil, errs.NotFoundf(req.GetName(), "it may have been put right; list the findings again")
}

// WatchFindings streams open findings, then changes.
func (s *Service) WatchFindings(req *driftv1.WatchFindingsRequest, stream grpc.ServerStreamingServer[driftv1.WatchFindingsResponse]) error {
	missed, token, changes, stop, err := s.hub.watch(req.GetResumeToken())
	if err != nil {
		return err
	}
	defer stop()
	want := strings.Split(req.GetParent(), "/")
	send := func(c change) error {
		if !matches(want, strings.Split(c.env, "/")) {
			return nil
		}
		return stream.Send(&driftv1.WatchFindingsResponse{Finding: c.finding, ResumeToken: s.hub.token(c.seq)})
	}
	if req.GetResumeToken() == "" {
		for _, f := range s.open(req.GetParent()) {
			if err := stream.Send(&driftv1.WatchFindingsResponse{Finding: f}); err != nil {
				return err
			}
		}
		if err := stream.Send(&driftv1.WatchFindingsResponse{CaughtUp: true, ResumeToken: token}); err != nil {
			return err
		}
	}
	for _, c := range missed {
		if err := send(c); err != nil {
			return err
		}
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case c, ok := <-changes:
			if !ok {
				return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the watcher was too slow; watch again")
			}
			if err := send(c); err != nil {
				return err
			}
		}
	}
}

// RevertFindings puts findings right and waits until they are gone.
func (s *Service) RevertFindings(ctx context.Context, req *driftv1.RevertFindingsRequest) (*driftv1.RevertFindingsResponse, error) {
	e := s.environment(req.GetParent())
	if e == nil {
		return nil, notHere(req.GetParent())
	}
	if req.GetValidateOnly() {
		e.mu.Lock()
		defer e.mu.Unlock()
		chosen, err := e.choose(req.GetNames())
		if err != nil {
			return nil, err
		}
		resp := &driftv1.RevertFindingsResponse{}
		for _, fs := range chosen {
			for _, f := range fs {
				resp.Reverted = append(resp.Reverted, proto.CloneOf(f))
			}
		}
		return resp, nil
	}
	resp, by := &driftv1.RevertFindingsResponse{}, callerOf(ctx)
	err := e.do(ctx, func(ctx context.Context) (err error) {
		resp.Reverted, err = e.revert(ctx, by, req.GetNames())
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// SyncEnvironment applies what Git says, whatever is known.
func (s *Service) SyncEnvironment(ctx context.Context, req *driftv1.SyncEnvironmentRequest) (*driftv1.SyncEnvironmentResponse, error) {
	e := s.environment(req.GetName())
	if e == nil {
		return nil, notHere(req.GetName())
	}
	err := e.do(ctx, func(ctx context.Context) error {
		e.mu.Lock()
		want := e.desired
		e.mu.Unlock()
		if want.GetRemoved() {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s is being removed; deploy to it again first", e.name)
		}
		if err := e.settleClaims(ctx, true); err != nil || want == nil {
			return err
		}
		err := e.sync(ctx, want, true)
		e.note(ctx, want, err)
		if err != nil && e.automatic() {
			poke(e.wake) // it is tried again by itself
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return &driftv1.SyncEnvironmentResponse{Status: e.status()}, nil
}
