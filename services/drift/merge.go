package drift

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// all gives the other processes, when everything of a parent is looked after by somebody: an answer that leaves some out would
// look like one that finds nothing there.
func (s *Service) all(parent string) (others []string, changed <-chan struct{}, err error) {
	want := strings.Split(parent, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	for env, shard := range s.shard {
		if life := s.held[shard]; !s.known[env].GetRemoved() && matches(want, strings.Split(env, "/")) && (life == nil || life.Err() != nil) &&
			(s.holder[shard] == "" || s.holder[shard] == s.replica()) {
			return nil, nil, moving(env)
		}
	}
	return s.others(), s.changed, nil
}

// listAll lists the findings of all processes.
func (s *Service) listAll(ctx context.Context, method string, req *driftv1.ListFindingsRequest) (*driftv1.ListFindingsResponse, error) {
	others, _, err := s.all(req.GetParent())
	if err != nil {
		return nil, err
	}
	pages := make([]*driftv1.ListFindingsResponse, len(others)+1)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { pages[0], err = s.ListFindings(gctx, req); return err })
	for i, name := range others {
		g.Go(func() error {
			resp, err := s.ask(gctx, name, method, req)
			if err == nil {
				pages[i+1], _ = resp.(*driftv1.ListFindingsResponse)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	size := cmp.Or(int(req.GetPageSize()), defaultPage)
	out, more := &driftv1.ListFindingsResponse{}, false
	for _, p := range pages {
		out.Findings = append(out.Findings, p.GetFindings()...)
		more = more || p.GetNextPageToken() != ""
	}
	slices.SortFunc(out.Findings, func(a, b *driftv1.Finding) int { return strings.Compare(a.GetName(), b.GetName()) })
	if more = more || len(out.Findings) > size; more {
		// What one process has left out comes behind what it gave, so all up to here is whole.
		out.Findings = out.Findings[:min(size, len(out.Findings))]
		out.NextPageToken = out.Findings[len(out.Findings)-1].GetName()
	}
	return out, nil
}

// targetOfAll puts together what all processes that watch a target say. It counts as reachable when all of them reach it.
func (s *Service) targetOfAll(ctx context.Context, method string, req *driftv1.GetTargetStatusRequest) (*driftv1.TargetStatus, error) {
	name := strings.TrimSuffix(req.GetName(), "/status")
	s.mu.Lock()
	asked := map[string]bool{}
	for env, d := range s.known {
		if d.GetTarget().GetName() == name && !d.GetRemoved() {
			if h := s.holder[s.shard[env]]; h != s.replica() && h != "" {
				asked[h] = true
			}
		}
	}
	mine := slices.ContainsFunc(slicesOf(s.envs), func(env string) bool { return s.known[env].GetTarget().GetName() == name })
	s.mu.Unlock()
	var parts []*driftv1.TargetStatus
	if mine || len(asked) == 0 {
		own, err := s.GetTargetStatus(ctx, req)
		if err != nil {
			return nil, err
		}
		parts = append(parts, own)
	}
	for other := range asked {
		resp, err := s.ask(ctx, other, method, req)
		if err != nil {
			return nil, err
		}
		if st, ok := resp.(*driftv1.TargetStatus); ok {
			parts = append(parts, st)
		}
	}
	return mergeTargets(parts), nil
}

func slicesOf(envs map[string]*environment) []string {
	out := make([]string, 0, len(envs))
	for name := range envs {
		out = append(out, name)
	}
	return out
}

// mergeTargets makes one status of those of several processes; parts has one at least.
func mergeTargets(parts []*driftv1.TargetStatus) *driftv1.TargetStatus {
	slices.SortFunc(parts, func(a, b *driftv1.TargetStatus) int {
		return strings.Compare(a.GetReplicas()[0].GetReplica(), b.GetReplicas()[0].GetReplica())
	})
	out := proto.CloneOf(parts[0])
	for _, p := range parts[1:] {
		out.Replicas = append(out.Replicas, p.GetReplicas()...)
		if p.GetSeenTime().AsTime().After(out.GetSeenTime().AsTime()) {
			out.SeenTime = p.GetSeenTime()
		}
		out.Version = cmp.Or(out.GetVersion(), p.GetVersion())
		// The worse word is the one to act on; of two alike the newer change.
		if out.GetReachable() && !p.GetReachable() || out.GetReachable() == p.GetReachable() && p.GetChangeTime().AsTime().After(out.GetChangeTime().AsTime()) {
			out.Reachable, out.Message, out.ChangeTime = p.GetReachable(), p.GetMessage(), p.GetChangeTime()
		}
	}
	return out
}

// maxToken is the longest resume token that a request takes.
const maxToken = 128

// watchAll streams the findings of all processes. It ends when those are others than before: then there may be somebody whose changes
// would be missed.
func (s *Service) watchAll(ctx context.Context, method string, req *driftv1.WatchFindingsRequest, ss grpc.ServerStream) error {
	others, changed, err := s.all(req.GetParent())
	if err != nil {
		return err
	}
	tokens, err := s.splitToken(req.GetResumeToken(), others)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &mergedWatch{ss: ss, tokens: tokens, waiting: len(others) + 1, resumed: req.GetResumeToken() != ""}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-changed:
			return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
				"a drift process has joined or left; watch again").With("retry_after", retryAfter)
		case <-gctx.Done():
			return nil
		}
	})
	from := func(name string, watch func(*driftv1.WatchFindingsRequest, func(proto.Message) error) error) {
		r := proto.CloneOf(req)
		r.ResumeToken = tokens[shortName(name)]
		g.Go(func() error {
			err := watch(r, func(x proto.Message) error { return m.send(shortName(name), x) })
			return cmp.Or(err, errEnded) // ends the others too
		})
	}
	from(s.replica(), func(r *driftv1.WatchFindingsRequest, send func(proto.Message) error) error {
		return s.WatchFindings(r, &localWatch{ctx: gctx, send: send})
	})
	for _, name := range others {
		from(name, func(r *driftv1.WatchFindingsRequest, send func(proto.Message) error) error {
			return s.relay(gctx, name, method, r, send)
		})
	}
	if err := g.Wait(); !errors.Is(err, errEnded) && ss.Context().Err() == nil {
		return err
	}
	return nil
}

var errEnded = errors.New("the watch has ended")

// mergedWatch is one watch made of those of several processes.
type mergedWatch struct {
	mu      sync.Mutex
	ss      grpc.ServerStream
	tokens  map[string]string
	waiting int // processes whose open findings have not all come
	resumed bool
}

func (m *mergedWatch) send(from string, x proto.Message) error {
	r, ok := x.(*driftv1.WatchFindingsResponse)
	if !ok {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.GetResumeToken() != "" {
		m.tokens[from] = r.GetResumeToken()
	}
	r = proto.CloneOf(r)
	r.ResumeToken = ""
	if r.GetCaughtUp() {
		if m.waiting--; m.waiting > 0 {
			return nil
		}
	}
	if m.resumed || m.waiting <= 0 {
		r.ResumeToken = joinTokens(m.tokens)
	}
	return m.ss.SendMsg(r)
}

// joinTokens makes one token of the processes'. Of a single one it is that one's; of more than fit there is none.
func joinTokens(tokens map[string]string) string {
	var parts []string
	for name, t := range tokens {
		parts = append(parts, name+"."+t)
	}
	slices.Sort(parts)
	if len(parts) == 1 {
		return tokens[parts[0][:shortLength]]
	}
	if joined := strings.Join(parts, ","); len(joined) <= maxToken {
		return joined
	}
	return ""
}

// splitToken gives each process's part of a token. It is of no use once others hold the environments.
func (s *Service) splitToken(token string, others []string) (map[string]string, error) {
	out := map[string]string{}
	if token == "" {
		return out, nil
	}
	names := map[string]bool{shortName(s.replica()): true}
	for _, o := range others {
		names[shortName(o)] = true
	}
	if len(others) == 0 && !strings.Contains(token, ",") {
		out[shortName(s.replica())] = token
		return out, nil
	}
	for part := range strings.SplitSeq(token, ",") {
		name, t, ok := strings.Cut(part, ".")
		if ok && names[name] {
			out[name] = t
		}
	}
	if len(out) != len(names) || strings.Count(token, ",")+1 != len(names) {
		return nil, errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED,
			"other drift processes look after the environments since then; leave resume_token out to begin with all that is open")
	}
	return out, nil
}

const shortLength = 4

// shortName stands for a process in a token.
func shortName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:shortLength]
}

// localWatch is this process's own part of a merged watch.
type localWatch struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // a stream has one
	send func(proto.Message) error
}

// Context implements grpc.ServerStream.
func (l *localWatch) Context() context.Context { return l.ctx }

// Send implements grpc.ServerStreamingServer.
func (l *localWatch) Send(r *driftv1.WatchFindingsResponse) error { return l.send(r) }
