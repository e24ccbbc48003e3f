package catalog

import (
	"context"
	"errors"
	"fmt"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// A move is a deployment that writes what stands in Git to where the layout of now puts it. Its target is in the environment's row
// (layout_place) and owned from the moment that it is accepted. When it is in Git, the target becomes the place and the old place is
// given back; when it ends before, the target is. Both happen in the transaction that notes it, so that no crash leaves a folder
// with two owners or an environment with two places.

// MoveEnvironment deploys an environment to where its layout puts it now.
func (s gitServer) MoveEnvironment(ctx context.Context, r *catalogv1.MoveEnvironmentRequest) (*catalogv1.Deployment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_MOVE, message: r.GetMessage(), planHash: r.GetPlanHash(),
		request: request{"deployments/" + envKey(env), r.GetRequestId(), r}, decide: s.relocation,
		current: func(ctx context.Context) (current, error) { return s.moving(ctx, env) },
	}, s.acceptMove)
}

// acceptMove accepts a move. An environment of which nothing is in Git stands elsewhere from now on, and that was it.
func (s *Service) acceptMove(ctx context.Context, o order) (*catalogv1.Deployment, error) {
	c, err := o.current(ctx)
	if err != nil {
		return nil, err
	}
	if c.move.what != nil {
		return s.accept(ctx, o)
	}
	if err := s.refuseHeld(c, o.kind); err != nil {
		return nil, err
	}
	next, err := o.decide(ctx, c)
	if err != nil {
		return nil, err
	}
	d := s.draft(ctx, o, c, next)
	d.ApprovalsRequired = 0
	rules.Moved(d, d.GetCreateTime().AsTime())
	e := c.row.Msg
	e.Generation, e.UpdateTime, e.Place, e.LayoutPlace = d.GetGeneration(), d.GetCreateTime(), c.site.place, nil
	tx := *c.move.with
	giveBack(&tx, rules.Without(rules.Locations(c.move.from.place), rules.Locations(c.site.place)))
	id := depKey(o.env, d.GetGeneration())
	err = errors.Join(
		s.answer(&tx, o.request, &catalogv1.Deployment{Name: d.GetName()}), putTimes(&tx, id, d),
		environments.Update(&tx, c.row.ID, c.row.Rev, e), deployments.Create(&tx, id, d),
	)
	if err != nil {
		return nil, err
	}
	rev, err := s.cfg.KV.Commit(ctx, tx)
	d.Etag = store.Etag(rev)
	s.cfg.Failpoint(failpoint.RowCommitted)
	return d, err
}

// movement is what belongs to a move beside its target, which is the current site's place.
type movement struct {
	from site
	// what is the deployment that stands in Git now and is moved, nil when nothing does.
	what *catalogv1.Deployment
	// with is what the move takes into its transaction: the target's owner, and that its layout stays as it is.
	with *store.Tx
}

// moving reads an environment that is to be moved: its site is the target.
func (s *Service) moving(ctx context.Context, env rules.Env) (current, error) {
	c, err := s.current(ctx, env)
	if err != nil {
		return c, err
	}
	if by, err := s.openMove(ctx, c); err != nil || by != nil {
		return c, errors.Join(err, isMoving(c.env, by))
	}
	with := &store.Tx{}
	to, err := s.siteOf(ctx, env, c.row.Msg.GetType(), with)
	if err != nil {
		return c, err
	}
	from := c.site
	if err := rules.CheckMove(env, from.place, to.place); err != nil {
		return c, err
	}
	if err := movedByPush(env, from, to); err != nil {
		return c, err
	}
	if err := s.own(ctx, with, env, rules.Without(rules.Locations(to.place), rules.Locations(from.place))); err != nil {
		return c, err
	}
	what, err := s.inGit(ctx, c, 0)
	c.site, c.move = to, &movement{from: from, what: what, with: with}
	return c, err
}

// movedByPush refuses pull requests for a move: the old folder must not go before the new one is there, and who merges decides the
// order of two pull requests.
func movedByPush(env rules.Env, sites ...site) error {
	for _, p := range sites {
		for _, r := range append([]*catalogv1.Repository{p.repo}, p.parts...) {
			mode, by := r.GetWriteMode(), r.GetName()
			if p.typ.GetWriteMode() != committerv1.WriteMode_WRITE_MODE_UNSPECIFIED {
				mode, by = p.typ.GetWriteMode(), p.typ.GetName()
			}
			if rules.ByPullRequest(mode) {
				return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
					"%s cannot be moved while %s has its deployments go by pull requests: the old folder would go and the new one come by two of them; set write_mode of %s to WRITE_MODE_DIRECT for the move",
					env.Name(), by, by).With("state", "PULL_REQUEST").With("resource", by)
			}
		}
	}
	return nil
}

// inGit gives the deployment that stands in Git, nil when none does. A move, which has the generation but, takes that along, so that
// there must be no other on its way there.
func (s *Service) inGit(ctx context.Context, c current, but int64) (*catalogv1.Deployment, error) {
	d, err := s.newestThat(ctx, c.env, c.row.Msg, func(d *catalogv1.Deployment) bool {
		return rules.Carries(d) && !rules.MovedNothing(d) && d.GetGeneration() != but
	})
	if err != nil || d == nil || d.GetCommit() != "" {
		return d, err
	}
	if rules.InLine(d.GetState()) {
		return nil, wrongState(d, "overtaken by a move", "wait for its end, or cancel it")
	}
	return nil, wrongState(d, "moved", "its commit is not known yet; try again in a moment")
}

// relocation is the decision of a move: what stands in Git, elsewhere.
func (s *Service) relocation(ctx context.Context, c current) (decision, error) {
	next := decision{state: c.state, moves: true, summary: []string{
		"moved from " + rules.PlaceLine(c.move.from.place), "to " + rules.PlaceLine(c.site.place),
	}}
	if c.move.what == nil {
		return next, nil
	}
	var err error
	next.state, err = s.state(ctx, c.move.what.GetIntent())
	return next, err
}

// openMove gives the environment's move that has not ended, nil for none.
func (s *Service) openMove(ctx context.Context, c current) (*catalogv1.Deployment, error) {
	if c.row.Msg.GetLayoutPlace() == nil {
		return nil, nil
	}
	d, err := s.newestThat(ctx, c.env, c.row.Msg, func(d *catalogv1.Deployment) bool { return d.GetKind() == catalogv1.Deployment_KIND_MOVE })
	if err != nil || d == nil || !rules.BeforeCommit(d.GetState()) {
		return nil, err
	}
	return d, nil
}

// refuseMoving refuses a deployment while a move is on its way into Git: it could stand in neither place.
func (s *Service) refuseMoving(ctx context.Context, c current) error {
	d, err := s.openMove(ctx, c)
	if err != nil || d == nil || !rules.InLine(d.GetState()) {
		return err
	}
	return isMoving(c.env, d)
}

func isMoving(env rules.Env, by *catalogv1.Deployment) error {
	if by == nil {
		return nil
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s is being moved by %s, which is %s; wait for its end, or cancel it: tow cancel -e %s/%s %d",
		env.Name(), by.GetName(), stateName(by.GetState()), env.App, env.ID, by.GetGeneration()).With("state", "MOVING").With("deployment", by.GetName())
}

// at gives the environment where a deployment writes it: a move that is not in Git yet writes to its target.
func (s *Service) at(ctx context.Context, c current, d *catalogv1.Deployment) (current, error) {
	if d.GetKind() != catalogv1.Deployment_KIND_MOVE || c.row.Msg.GetLayoutPlace() == nil || rules.IsInGit(d) {
		return c, nil
	}
	to, err := s.siteIn(ctx, c.env, c.row.Msg.GetType(), c.row.Msg.GetLayoutPlace())
	if err != nil {
		return c, err
	}
	c.move = &movement{from: c.site, with: &store.Tx{}}
	c.site = to
	return c, nil
}

// redecidedMove decides a move again that waits for approval: its target was pinned and is owned, what stands in Git may be another
// deployment by now.
func (s *Service) redecidedMove(ctx context.Context, c current, d *catalogv1.Deployment) (current, decision, error) {
	c, err := s.at(ctx, c, d)
	if err != nil {
		return c, decision{}, err
	}
	if c.move == nil {
		return c, decision{}, wrongState(d, "approved", "its target is not known any more; reject it and move anew")
	}
	if c.move.what, err = s.inGit(ctx, c, d.GetGeneration()); err != nil {
		return c, decision{}, err
	}
	next, err := s.relocation(ctx, c)
	return c, next, err
}

// settleMove notes in an environment what its move has come to: it is in Git, or it ended before.
func (s *Service) settleMove(ctx context.Context, tx *store.Tx, e *catalogv1.Environment, after *catalogv1.Deployment) error {
	target := e.GetLayoutPlace()
	if target == nil {
		return nil
	}
	from, to := rules.Locations(e.GetPlace()), rules.Locations(target)
	if !rules.IsInGit(after) {
		giveBack(tx, rules.Without(to, from))
		return nil // the target stays noted: Git has the last word, and it may come late
	}
	for _, l := range rules.Without(to, from) {
		key := ownerPathKey(l, l.Path)
		switch had, err := s.cfg.KV.Get(ctx, key); {
		case errors.Is(err, store.ErrNotFound):
			tx.Put(key, []byte(e.GetName()))
		case err != nil:
			return err
		case string(had.Value) != e.GetName():
			s.log.Error("a move that had failed is in Git after all, where another environment stands by now; move one of them",
				"environment", e.GetName(), "other", string(had.Value), "folder", l.String())
		}
	}
	giveBack(tx, rules.Without(from, to))
	e.Place, e.LayoutPlace = target, nil
	return nil
}

// pinIn notes in a new deployment where it is written, and in the environment's row what comes of it.
func (c current) pinIn(d *catalogv1.Deployment) {
	for _, p := range c.site.place.GetParts() {
		d.Parts = append(d.Parts, &catalogv1.DeploymentPart{Id: p.GetId(), Repository: p.GetRepository(), Branch: p.GetBranch(), Path: p.GetPath()})
	}
	if c.move != nil {
		d.FromPlace = c.move.from.place
	}
}

// settleIn writes into an environment's row where it stands, and where it goes.
func (c current) settleIn(tx *store.Tx, e *catalogv1.Environment) {
	if c.move == nil {
		e.Place = c.site.place
		return
	}
	tx.Conds, tx.Ops = append(tx.Conds, c.move.with.Conds...), append(tx.Ops, c.move.with.Ops...)
	e.Place, e.LayoutPlace = c.move.from.place, c.site.place
}

// holdMove holds a move to what stands in Git: nothing may change in the cluster by it. Guardrails are asked as for a rollback.
func (s *Service) holdMove(ctx context.Context, c current, next decision, d *catalogv1.Deployment) error {
	resp, err := s.renderMove(ctx, c, next)
	if err != nil {
		return err
	}
	if err := s.enterEmpty(ctx, c, resp.GetBundle().GetFiles(), resp.GetBundle().GetObjects()); err != nil {
		return err
	}
	d.PlannedTree = c.move.what.GetTree()
	return judge(d, resp.GetVerdicts())
}

// renderMove renders what is moved, and refuses when that is not what stands in Git any more.
func (s *Service) renderMove(ctx context.Context, c current, next decision) (*rendererv1.RenderResponse, error) {
	what := c.move.what
	const then = "deploy first, as with `tow set` or a Score file, then move"
	resp, err := s.render(ctx, c, next.state)
	if err != nil {
		if errs.Is(err, errs.Invalid) || errs.Is(err, errs.Precondition) {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
				"%s cannot be moved, because what %s brought cannot be rendered any more: %s; "+then, c.env.Name(), what.GetName(), errs.Message(err)).
				Because(err).With("state", "TREE_MOVED").With("moved", "tree")
		}
		return nil, err
	}
	if resp.GetBundle().GetTree() == what.GetTree() {
		return resp, nil
	}
	moved, why := "tree", "its rendering gives other files today"
	if was, now := what.GetRendererVersion(), resp.GetRendererVersion(); was != now {
		moved, why = "renderer_version", fmt.Sprintf("the renderer went from version %s to %s and makes other files of it", was, now)
	}
	if what.GetKind() == catalogv1.Deployment_KIND_ROLLBACK && !what.GetRerender() {
		why = "it put back files that were made then, and " + why
	}
	return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"%s cannot be moved without changing what runs: %s brought tree %s, and %s (tree %s); "+then,
		c.env.Name(), what.GetName(), what.GetTree(), why, resp.GetBundle().GetTree()).
		With("state", "TREE_MOVED").With("moved", moved).With("expected_tree", what.GetTree()).With("found_tree", resp.GetBundle().GetTree())
}

// enterEmpty refuses a move into a folder in which other files stand: they would be removed without anybody having said so. What
// an earlier try of the same move left is no other.
func (s *Service) enterEmpty(ctx context.Context, c current, bundle map[string][]byte, objects []*rendererv1.ObjectRef) error {
	sorter := rules.NewSorter(c.site.place, objects)
	for i, l := range rules.Locations(c.site.place) {
		if len(rules.Without([]rules.Location{l}, rules.Locations(c.move.from.place))) == 0 {
			continue
		}
		tree, err := s.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: c.site.ref(i), Path: l.Path})
		if err != nil {
			return rpc.FromStatus(err)
		}
		for _, f := range tree.GetFiles() {
			part, known := sorter.Part(f.GetPath())
			if len(c.site.parts) == 0 {
				_, known = bundle[f.GetPath()]
			}
			if !known || part != l.Part || string(bundle[f.GetPath()]) != string(f.GetContent()) {
				return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
					"%s cannot be moved to %s: %d files stand there, such as %s, and the move would remove them; take them away, or give the layout another folder",
					c.env.Name(), l, len(tree.GetFiles()), f.GetPath()).With("state", "NOT_EMPTY").With("path", l.Path)
			}
		}
	}
	return nil
}

// ref gives the i-th repository of the site's locations as the committer wants it.
func (p site) ref(i int) *committerv1.RepositoryRef {
	if i == 0 {
		return repositoryRef(p.repo)
	}
	return repositoryRef(p.parts[i-1])
}

// leaves gives the folders that a move leaves, for its command. One that belongs to somebody else by now is not its any more, and a
// repository that is gone cannot be written.
func (s *Service) leaves(ctx context.Context, c current, d *catalogv1.Deployment) ([]*committerv1.Part, error) {
	var out []*committerv1.Part
	for _, l := range rules.Without(rules.Locations(d.GetFromPlace()), rules.Locations(c.site.place)) {
		switch e, err := s.cfg.KV.Get(ctx, ownerPathKey(l, l.Path)); {
		case err == nil && string(e.Value) != c.env.Name():
			continue
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
		repo, err := s.newLayoutView().repo(ctx, l.Repository)
		if err != nil {
			return nil, err
		}
		if repo == nil {
			continue
		}
		ref := repositoryRef(repo)
		ref.Url, ref.Branch = l.URL, l.Branch
		out = append(out, &committerv1.Part{Id: l.Part, Repository: ref, Path: l.Path})
	}
	return out, nil
}
