package committer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// performPlaces is perform for a deployment with several places. Each has its own lane, fence and state file, so that a command that
// comes again, also after a kill between any two places, finds which of them have it and does the rest.
func (s *Service) performPlaces(ctx context.Context, t *task) (o outcome, stage string, err error) {
	if (t.cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RENDER || t.claims()) && !s.withdrawn(t) {
		if err := s.render(ctx, t); err != nil {
			if o, found := s.lookUpPlaces(ctx, t, err); found {
				return o, stageCommit, nil
			}
			return outcome{}, stageRender, err
		}
	}
	o, err = s.writePlaces(ctx, t)
	if errors.Is(err, errNeedsBundle) {
		if t.cmd.GetInput() == nil {
			return outcome{}, stageCommit, errs.InvalidField("input",
				"is missing, and a tree that is to be restored is no longer in Git, or not known; deploy the set again")
		}
		if err := s.render(ctx, t); err != nil {
			return outcome{}, stageRender, err
		}
		o, err = s.writePlaces(ctx, t)
	}
	return o, stageCommit, err
}

// lookUpPlaces asks Git for the outcome of a command that does not render any more. It is one only when every place has it.
func (s *Service) lookUpPlaces(ctx context.Context, t *task, cause error) (outcome, bool) {
	if !permanent(cause) {
		return outcome{}, false
	}
	groups, later := t.groups("")
	found, err := s.survey(ctx, groups)
	if err != nil || len(found) < len(t.cmd.GetParts())+1 {
		return outcome{}, false
	}
	o, err := s.gather(ctx, t, found)
	o.later = later
	return o, err == nil
}

// writePlaces brings all places into Git: first it is asked everywhere whether it may be written, then the parts are, all lanes at the
// same time, and last the main place. In a single branch there is nothing to ask first.
func (s *Service) writePlaces(ctx context.Context, t *task) (outcome, error) {
	whole, err := s.whole(ctx, t)
	if err != nil {
		return outcome{}, err
	}
	groups, later := t.groups(whole)
	var done []placed
	if len(groups) > 1 {
		if done, err = s.survey(ctx, groups); err != nil {
			return outcome{}, halfWay(err, done)
		}
		if len(done) == 0 && s.withdrawn(t) {
			return outcome{}, errWithdrawn
		}
		for _, g := range groups {
			g.group.begun = true
		}
	}
	if done, err = s.inOrder(ctx, groups); err == nil {
		done, err = s.agree(ctx, t, groups, done)
	}
	if err != nil {
		return outcome{}, halfWay(err, done)
	}
	o, err := s.gather(ctx, t, done)
	o.later = later
	return o, err
}

// inOrder writes the parts and then the main place, and gives what was done, beside an error too.
func (s *Service) inOrder(ctx context.Context, groups []*task) ([]placed, error) {
	last := len(groups) - 1
	done, err := s.submitAll(ctx, groups[:last])
	if err != nil {
		return done, err
	}
	if last > 0 {
		s.failpoint("parts_written")
	}
	for _, p := range done {
		groups[last].group.others = append(groups[last].group.others, p.partState())
	}
	main, err := s.submitAll(ctx, groups[last:])
	return append(done, main...), err
}

// survey asks every lane what would happen, and gives the places that have the deployment already.
func (s *Service) survey(ctx context.Context, groups []*task) ([]placed, error) {
	asks := make([]*task, len(groups))
	for i, g := range groups {
		ask, look := *g, *g.group
		look.survey = true
		ask.group = &look
		asks[i] = &ask
	}
	return s.submitAll(ctx, asks)
}

// submitAll gives the tasks to their lanes at the same time and waits for all of them. What was done is given beside an error; of
// several errors the one that no waiting mends.
func (s *Service) submitAll(ctx context.Context, groups []*task) ([]placed, error) {
	outcomes, failures := make([]outcome, len(groups)), make([]error, len(groups))
	var all sync.WaitGroup
	for i, g := range groups[:max(0, len(groups)-1)] {
		all.Go(func() { outcomes[i], failures[i] = s.lanes.submit(ctx, g) })
	}
	if i := len(groups) - 1; i >= 0 {
		outcomes[i], failures[i] = s.lanes.submit(ctx, groups[i])
	}
	all.Wait()
	var done []placed
	var worst error
	for i, err := range failures {
		done = append(done, outcomes[i].placed...)
		if err == nil {
			continue
		}
		err = atPlace(err, groups[i])
		if worst == nil || permanent(err) && !permanent(worst) {
			worst = err
		}
	}
	return done, worst
}

// atPlace names the repository in what a host or the fence says of one of several places.
func atPlace(err error, g *task) error {
	var e *errs.Error
	if isWithdrawn(err) || !errors.As(err, &e) || !permanent(err) && !outage(err) || e.Kind == errs.Cancelled {
		return err
	}
	ref := g.cmd.GetRepository()
	return reworded(e, err, fmt.Sprintf("%s (branch %s): %s", ref.GetName(), ref.GetBranch(), e.Msg))
}

// halfWay says of a deployment that fails which places have it already. Nothing is put back there by force: what is told to drift is
// still what was before, and the next deployment, or a retry of this one, brings the places together.
func halfWay(err error, done []placed) error {
	var e *errs.Error
	if len(done) == 0 || isWithdrawn(err) || !permanent(err) || !errors.As(err, &e) || e.Reason == errorsv1.Reason_REASON_SUPERSEDED {
		return err
	}
	var names []string
	for _, p := range done {
		names = append(names, p.name())
	}
	return reworded(e, err, fmt.Sprintf("%s. Written already: %s. The cluster stays as it is; deploy again, and all places are brought together",
		e.Msg, strings.Join(names, ", ")))
}

func reworded(e *errs.Error, err error, words string) error {
	return &errs.Error{Kind: e.Kind, Reason: e.Reason, Msg: words, Meta: e.Meta, Fields: e.Fields, Err: err}
}

func (p placed) name() string {
	if p.part == "" {
		return "the main place in " + p.ref.GetName()
	}
	return "part " + p.part + " in " + p.ref.GetName()
}

// agree writes again the places that hold another rendering of this deployment than the others: a process of another version has
// written some of them, ended, and this one the rest.
func (s *Service) agree(ctx context.Context, t *task, groups []*task, all []placed) ([]placed, error) {
	same := !slices.ContainsFunc(all, func(p placed) bool { return p.overtaken || p.state.Whole != all[0].state.Whole })
	if same || len(t.cmd.GetParts()) == 0 || slices.ContainsFunc(all, func(p placed) bool { return p.overtaken }) {
		return all, nil
	}
	if t.bundle == nil {
		return nil, errNeedsBundle
	}
	s.log.Info("places of a deployment that were rendered by another version are written again", "deployment", t.cmd.GetDeployment())
	again := make([]*task, len(groups))
	for i, g := range groups {
		next, how := *g, *g.group
		how.again, how.begun, how.leaves, how.others = true, true, nil, nil
		next.group = &how
		again[i] = &next
	}
	return s.inOrder(ctx, again)
}

// gather makes the outcome of the deployment of those of its places.
func (s *Service) gather(ctx context.Context, t *task, all []placed) (outcome, error) {
	var o outcome
	byPart := map[string]placed{}
	for _, p := range all {
		byPart[p.part] = p
		o.overtaken = o.overtaken || p.overtaken
		if p.end.After(o.end) {
			o.end = p.end
		}
		if p.part == "" {
			o.commit, o.state = p.commit, p.state
		}
	}
	o.placed = all
	for _, part := range t.cmd.GetParts() {
		p, ok := byPart[part.GetId()]
		if !ok {
			continue
		}
		o.parts = append(o.parts, &committerv1.CommittedPart{
			Id: p.part, Repository: p.ref, Path: p.state.Path, Commit: p.commit.String(), Tree: nothing(p.state.Tree),
			FilesChanged: p.state.FilesChanged,
		})
	}
	o.whole = o.state.Whole
	if !o.state.Claims || len(o.parts) == 0 {
		if o.state.Claims {
			o.whole = ""
		}
		return o, nil
	}
	whole, err := s.standing(ctx, all)
	o.whole = whole
	return o, err
}

// tree is the id of all files of the environment together.
func (o outcome) tree() string {
	if o.state.Claims && len(o.parts) == 0 {
		return o.state.Tree
	}
	return cmp.Or(o.whole, o.state.Whole, o.state.Tree)
}

// mainTree is what stands at the main place of a split environment.
func (o outcome) mainTree() string {
	if len(o.committedParts()) == 0 {
		return ""
	}
	return nothing(o.state.Tree)
}

// unchanged tells that no place has other files than before.
func (o outcome) unchanged() bool {
	for _, p := range o.placed {
		if !p.state.Unchanged {
			return false
		}
	}
	return o.state.Unchanged
}

// committedParts tells where the parts are, also of a deployment that was only looked up: then the main place's state file tells it.
func (o outcome) committedParts() []*committerv1.CommittedPart {
	if len(o.parts) > 0 {
		return o.parts
	}
	var out []*committerv1.CommittedPart
	for _, p := range o.state.Parts {
		out = append(out, &committerv1.CommittedPart{
			Id: p.ID, Repository: &committerv1.RepositoryRef{Name: p.Repository, Url: p.URL, Branch: p.Branch}, Path: p.Path,
			Commit: cmp.Or(p.Commit, o.commit.String()), Tree: p.Tree, FilesChanged: p.FilesChanged,
		})
	}
	return out
}

// whole gives the id of all files that the deployment brings; empty for a removal and where only rendering can tell.
func (s *Service) whole(ctx context.Context, t *task) (string, error) {
	switch {
	case t.removes():
		return "", nil
	case t.bundle != nil:
		return t.bundle.tree.String(), nil
	case !t.restores():
		return "", nil
	case len(t.cmd.GetParts()) == 0:
		return t.cmd.GetRestoreTree(), nil
	}
	var at []placed
	for _, p := range t.places() {
		if p.cmd.GetRestoreTree() == "" {
			return "", errNeedsBundle // nobody knows what was there
		}
		at = append(at, placed{part: p.dep.Part, ref: p.cmd.GetRepository(), state: rules.State{Tree: p.cmd.GetRestoreTree()}})
	}
	whole, err := s.standing(ctx, at)
	if errors.Is(err, git.ErrMissing) {
		return "", errNeedsBundle
	}
	return whole, err
}

// standing gives the id of all files at the places together. No file is read for it.
func (s *Service) standing(ctx context.Context, at []placed) (string, error) {
	layers := make([]git.Layer, 0, len(at))
	var open func(i int) error
	var whole git.Hash
	open = func(i int) (err error) {
		if i == len(at) {
			whole, err = git.MergeTrees(ctx, layers, nil)
			return err
		}
		return s.reading(ctx, at[i].ref, func(v *view) error {
			r := &laterReader{views: s.views, view: v, branch: at[i].ref.GetBranch(), since: time.Now()}
			layers = append(layers, git.Layer{Reader: r, Tree: git.NewHash(nothing(at[i].state.Tree))})
			return open(i + 1)
		})
	}
	if err := open(0); err != nil {
		return "", err
	}
	return whole.String(), nil
}

// laterReader reads trees, and looks at the branch once where one is not there: it may have come after the last look.
type laterReader struct {
	views  *views
	view   *view
	branch string
	since  time.Time
}

// RawTree gives a tree in Git's encoding.
func (r *laterReader) RawTree(ctx context.Context, h git.Hash) ([]byte, error) {
	raw, err := r.view.remote.RawTree(ctx, h)
	if !errors.Is(err, git.ErrMissing) {
		return raw, err
	}
	if _, err := r.views.fetch(ctx, r.view, r.branch, r.since); err != nil {
		return nil, err
	}
	return r.view.remote.RawTree(ctx, h)
}
