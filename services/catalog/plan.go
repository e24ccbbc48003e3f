package catalog

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	udiff "github.com/aymanbagabas/go-udiff"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// planned is what a decision would do to Git.
type planned struct {
	parts    rules.PlanParts
	before   map[string][]byte // what stands at the environment's path
	after    map[string][]byte
	warnings []string
	awaited  []string // resources whose outputs have to come first; after then has their claims
}

// PlanDeployment tells what a change or rollback would do.
func (s catalogServer) PlanDeployment(ctx context.Context, r *catalogv1.PlanDeploymentRequest) (*catalogv1.Plan, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	decide, err := s.planDecision(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, err
	}
	next, err := s.decided(ctx, c, decide)
	if err != nil {
		return nil, err
	}
	p, err := s.plan(ctx, c, next)
	if err != nil {
		return nil, err
	}
	files, err := fileChanges(p.before, p.after)
	if err != nil {
		return nil, err
	}
	live, err := s.live(ctx, env)
	if err != nil {
		return nil, err
	}
	return &catalogv1.Plan{
		Intent: next.state.Intent, Summary: next.summary, Files: files, BaseTree: withoutAbsent(p.parts.BaseTree), Tree: p.parts.Tree,
		Sha256: p.parts.SHA256, Warnings: p.warnings, PlanHash: s.plans.remember(p.parts), OpenFindings: live.Msg.GetLive().GetFindings(),
		AwaitedOutputs: p.awaited,
	}, nil
}

func (s *Service) planDecision(ctx context.Context, r *catalogv1.PlanDeploymentRequest) (func(context.Context, current) (decision, error), error) {
	if r.GetRollbackTo() == "" {
		return s.change(ctx, r.GetChange())
	}
	if r.GetChange() != nil {
		return nil, errs.InvalidField("rollback_to", "is given beside a change; plan one or the other")
	}
	return s.goBack("rollback_to", r.GetRollbackTo()), nil
}

// plan makes the bundle and compares it with what stands in Git now. It is the same code for the plan itself and for the
// deployment that is held to it.
func (s *Service) plan(ctx context.Context, c current, next decision) (planned, error) {
	p := planned{parts: rules.PartsOf(next.state.Intent)}
	p.parts.Environment, p.parts.RollbackOf = c.env.Name(), next.restore.GetName()
	p.parts.Place = strings.Join([]string{c.site.repo.GetUrl(), c.site.repo.GetBranch(), c.site.path, c.site.target.GetName(), c.row.Msg.GetNamespace()}, "\n")
	base, err := s.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: repositoryRef(c.site.repo), Path: c.site.path})
	if err != nil {
		return p, rpc.FromStatus(err)
	}
	p.before, p.parts.BaseTree = files(base), base.GetTree()
	if p.parts.BaseTree == "" {
		p.parts.BaseTree = rules.Absent
	}
	if next.restore != nil {
		tree, err := s.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{
			Repository: repositoryRef(c.site.repo), Tree: next.restore.GetTree(), Commit: next.restore.GetCommit(),
		})
		if err = rpc.FromStatus(err); err == nil {
			p.after, p.parts.Tree, p.parts.SHA256 = files(tree), next.restore.GetTree(), next.restore.GetSha256()
			return p, nil
		}
		if !errs.Is(err, errs.NotFound) {
			return p, err
		}
		p.warnings = append(p.warnings, "Git no longer has the tree of "+next.restore.GetName()+"; it is rendered again and must come out the same")
	}
	resp, err := s.render(ctx, c, next.state)
	if outputsMissing(err) {
		return s.planClaims(ctx, c, next, p)
	}
	if err != nil {
		return p, err
	}
	p.after, p.parts.Tree, p.parts.SHA256 = resp.GetBundle().GetFiles(), resp.GetBundle().GetTree(), resp.GetBundle().GetSha256()
	p.parts.RendererVersion, p.parts.Definitions = resp.GetRendererVersion(), resp.GetDefinitionsUsed()
	p.warnings = append(p.warnings, resp.GetWarnings()...)
	if next.restore != nil && p.parts.Tree != next.restore.GetTree() {
		return p, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"Git no longer has the tree of %s and rendering its set gives another one today; deploy the set with change.set instead", next.restore.GetName()).
			With("state", "TREE_GONE")
	}
	return p, nil
}

func files(t *committerv1.Tree) map[string][]byte {
	out := make(map[string][]byte, len(t.GetFiles()))
	for _, f := range t.GetFiles() {
		out[f.GetPath()] = f.GetContent()
	}
	return out
}

func withoutAbsent(tree string) string {
	if tree == rules.Absent {
		return ""
	}
	return tree
}

// fileChanges gives the files that differ, in path order, each with its unified diff.
func fileChanges(before, after map[string][]byte) ([]*catalogv1.FileChange, error) {
	paths := slices.Collect(maps.Keys(before))
	for path := range after {
		if _, ok := before[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	var out []*catalogv1.FileChange
	for _, path := range paths {
		a, inA := before[path]
		b, inB := after[path]
		if inA && inB && string(a) == string(b) {
			continue
		}
		f := &catalogv1.FileChange{Path: path, Action: catalogv1.FileChange_ACTION_MODIFY}
		from, to := "a/"+path, "b/"+path
		switch {
		case !inA:
			f.Action, from = catalogv1.FileChange_ACTION_ADD, "/dev/null"
		case !inB:
			f.Action, to = catalogv1.FileChange_ACTION_DELETE, "/dev/null"
		}
		diff, err := udiff.ToUnified(from, to, string(a), udiff.Lines(string(a), string(b)), udiff.DefaultContextLines)
		if err != nil {
			return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "diff of %s", path).Because(err)
		}
		f.Diff = diff
		out = append(out, f)
	}
	return out, nil
}

// planMemory remembers what recent plans were made of, so that a plan that moved can say what moved. The promise itself is in
// the hash; a plan that is forgotten, or was made by another process, is held to just as well.
type planMemory struct {
	mu    sync.Mutex
	parts map[string]rules.PlanParts
	order []string
}

const maxPlans = 1024

func (m *planMemory) remember(p rules.PlanParts) string {
	hash := p.Hash()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.parts == nil {
		m.parts = map[string]rules.PlanParts{}
	}
	if _, known := m.parts[hash]; !known {
		if len(m.order) == maxPlans {
			delete(m.parts, m.order[0])
			m.order = m.order[1:]
		}
		m.order = append(m.order, hash)
	}
	m.parts[hash] = p
	return hash
}

// check answers REASON_PLAN_MOVED when now is not what the plan of that hash was.
func (m *planMemory) check(hash string, now rules.PlanParts) error {
	if hash == now.Hash() {
		return nil
	}
	moved := "plan"
	m.mu.Lock()
	if then, known := m.parts[hash]; known {
		moved = strings.Join(then.Moved(now), ",")
	}
	m.mu.Unlock()
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED,
		"what the plan was made on is different now (%s); plan again and look at the difference", moved).With("moved", moved)
}
