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
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// planned is what a decision would do to Git.
type planned struct {
	parts    rules.PlanParts
	before   map[string][]byte // what stands at the environment's path
	after    map[string][]byte
	warnings []string
	verdicts []*rendererv1.Verdict
	refs     []*rendererv1.ObjectRef
	awaited  []string // resources whose outputs have to come first; after then has their claims
	base     string   // the tree that stands in the main folder
	partly   partly
}

// PlanDeployment tells what a change, rollback, promotion, removal or new environment would do.
func (s catalogServer) PlanDeployment(ctx context.Context, r *catalogv1.PlanDeploymentRequest) (*catalogv1.Plan, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := onePlan(r); err != nil {
		return nil, err
	}
	if r.GetCreation() != nil {
		return s.planCreation(ctx, env, r.GetCreation())
	}
	if r.GetMove() {
		return s.planMoving(ctx, env)
	}
	kind, decide, err := s.planDecision(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, err
	}
	c.kind = kind
	next, err := s.decided(ctx, c, decide)
	if err != nil {
		return nil, err
	}
	return s.planOf(ctx, c, next)
}

// onePlan checks that a request asks for one thing.
func onePlan(r *catalogv1.PlanDeploymentRequest) error {
	asked := []string{}
	for field, given := range map[string]bool{
		"change": r.GetChange() != nil, "rollback_to": r.GetRollbackTo() != "", "promotion": r.GetPromotion() != nil,
		"removal": r.GetRemoval(), "creation": r.GetCreation() != nil,
	} {
		if given {
			asked = append(asked, field)
		}
	}
	slices.Sort(asked)
	switch {
	case r.GetMove() && len(asked) > 0:
		return errs.InvalidField("move", "is given beside %s; plan one or the other", asked[0])
	case len(asked) > 1:
		return errs.InvalidField(asked[1], "is given beside %s; plan one or the other", asked[0])
	case r.GetRerender() && r.GetRollbackTo() == "":
		return errs.InvalidField("rerender", "is about a rollback; name the deployment in rollback_to")
	}
	return nil
}

// plan makes the bundle and compares it with what stands in Git now. It is the same code for the plan itself and for the
// deployment that is held to it.
func (s *Service) plan(ctx context.Context, c current, next decision) (planned, error) {
	p := planned{parts: rules.PartsOf(next.state.Intent)}
	p.parts.Environment, p.parts.RollbackOf = c.env.Name(), next.restore.GetName()
	if next.rerender != nil {
		p.parts.RollbackOf = next.rerender.GetName() + " rendered again"
	}
	p.parts.Place = strings.Join([]string{c.site.repo.GetUrl(), c.site.repo.GetBranch(), c.site.path, c.site.target.GetName(), c.row.Msg.GetNamespace()}, "\n") + c.placeRest()
	if err := s.planBases(ctx, c, &p); err != nil {
		return p, err
	}
	if next.moves {
		return p, s.planMove(ctx, c, next, &p)
	}
	if next.removal {
		p.parts.Tree, p.warnings = rules.Absent, removalWarnings(p.before)
		return p, nil
	}
	if next.restore != nil {
		there, err := s.planRestore(ctx, c, next, &p)
		if err != nil || there {
			return p, err
		}
	}
	if err := s.planRender(ctx, c, next, &p); err != nil {
		return p, err
	}
	if next.restore != nil && p.parts.Tree != next.restore.GetTree() {
		return p, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"Git no longer has the tree of %s and rendering its set gives another one today; deploy the set with change.set instead", next.restore.GetName()).
			With("state", "TREE_GONE")
	}
	return p, nil
}

// planRestore plans putting a tree back; false when Git no longer has it.
func (s *Service) planRestore(ctx context.Context, c current, next decision, p *planned) (bool, error) {
	after, err := s.planTrees(ctx, c, next.restore, p)
	if errs.Is(err, errs.NotFound) {
		p.warnings = append(p.warnings, "Git no longer has the tree of "+next.restore.GetName()+"; it is rendered again and must come out the same")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.after, p.parts.Tree, p.parts.SHA256 = after, next.restore.GetTree(), next.restore.GetSha256()
	if today, err := s.pin(ctx, c, next.state); err == nil {
		p.warnings = append(p.warnings, rules.MovedOn(next.state.Intent, today)...)
	}
	verdicts, warning, err := s.judgeRestored(ctx, c, next)
	if warning != "" {
		p.warnings = append(p.warnings, warning)
	}
	p.verdicts = verdicts
	return true, err
}

// planRender plans a bundle that is rendered.
func (s *Service) planRender(ctx context.Context, c current, next decision, p *planned) error {
	resp, err := s.render(ctx, c, next.state)
	if outputsMissing(err) {
		*p, err = s.planClaims(ctx, c, next, *p)
		return err
	}
	if err != nil {
		return err
	}
	p.after, p.parts.Tree, p.parts.SHA256 = resp.GetBundle().GetFiles(), resp.GetBundle().GetTree(), resp.GetBundle().GetSha256()
	p.parts.RendererVersion, p.refs = resp.GetRendererVersion(), resp.GetBundle().GetObjects()
	p.parts.Definitions = resp.GetDefinitionsUsed()
	p.verdicts = resp.GetVerdicts()
	p.warnings = append(p.warnings, resp.GetWarnings()...)
	return nil
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
		a, b = manifest.MaskFile(a), manifest.MaskFile(b)
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
