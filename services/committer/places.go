package committer

import (
	"fmt"
	"slices"
	"strings"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// group is what one lane does of a deployment with several places: all of them that are in its branch, in one commit. Each place is a
// task of its own, with a fence and a state file of its own.
type group struct {
	// places are in the order of the command, the main place last.
	places []*task
	// leaves are places that the environment leaves by the same commit.
	leaves []*leaf
	// listed are the folders of this branch that the command says are left, now or later.
	listed []string
	// main tells that the main place is among the places.
	main bool
	// split tells that the deployment has parts, here or elsewhere.
	split bool
	// whole is the id of all files of the deployment together; empty while nobody knows.
	whole string
	// others are the parts that are written elsewhere, for the main place's state file.
	others []rules.PartState

	// survey only asks what would happen.
	survey bool
	// begun tells that it is too late to withdraw the deployment.
	begun bool
	// again has places written again that hold another rendering of this deployment.
	again bool
	// leaving tells that the group is about leaves alone.
	leaving bool
}

// spread tells whether the deployment has more than one place, now or before.
func (t *task) spread() bool { return len(t.cmd.GetParts())+len(t.cmd.GetLeaves()) > 0 }

// foldKey tells what a lane does for a request from other things that it does for the same one.
func (t *task) foldKey() string {
	switch {
	case t.group == nil:
		return t.key()
	case t.group.leaving:
		return t.key() + "\nleave"
	case t.group.again:
		return t.key() + "\nagain"
	default:
		return t.key()
	}
}

// checkPlaces admits parts and leaves: everything that can be known to be wrong without looking at Git or rendering.
func (t *task) checkPlaces() error {
	if !t.spread() {
		return nil
	}
	if t.cmd.GetWriteMode() == committerv1.WriteMode_WRITE_MODE_PULL_REQUEST {
		return errs.InvalidField("write_mode", "is by pull request, and an environment that is split over several places, or moves to "+
			"another one, is written directly; let the repository be written directly, or leave the environment whole where it is")
	}
	owners := map[string]*rules.Owners{}
	take := func(field, lane, part, path string) error {
		if owners[lane] == nil {
			owners[lane] = new(rules.Owners)
		}
		place := t.placeDep(part).PlaceName()
		if err := owners[lane].Check(place, path); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		owners[lane].Set(place, path)
		return nil
	}
	if err := take("path", laneKey(t.cmd.GetRepository()), "", t.cmd.GetPath()); err != nil {
		return err
	}
	ids := map[string]bool{}
	for i, p := range t.cmd.GetParts() {
		field := fmt.Sprintf("parts[%d]", i)
		if err := rules.CheckPart(field, p.GetId()); err != nil {
			return err
		}
		if ids[p.GetId()] {
			return errs.InvalidField(field+".id", "%q is there twice; give each part an id of its own", p.GetId())
		}
		ids[p.GetId()] = true
		if err := t.checkPart(field, p); err != nil {
			return err
		}
		if err := take(field, laneKey(p.GetRepository()), p.GetId(), p.GetPath()); err != nil {
			return err
		}
	}
	for i, p := range t.cmd.GetLeaves() {
		field := fmt.Sprintf("leaves[%d]", i)
		if p.GetId() != "" {
			if err := rules.CheckPart(field, p.GetId()); err != nil {
				return err
			}
		}
		if err := t.checkPart(field, p); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) checkPart(field string, p *committerv1.Part) error {
	if p.GetRepository().GetUrl() == "" {
		return errs.InvalidField(field+".repository.url", "is missing")
	}
	if tree := p.GetRestoreTree(); tree != "" && !isTreeID(tree) {
		return errs.InvalidField(field+".restore_tree", "is not a tree id of 40 hexadecimal digits")
	}
	_, err := git.NormaliseURL(p.GetRepository().GetUrl())
	if err == nil {
		err = git.ValidateBranch(p.GetRepository().GetBranch())
	}
	if err == nil {
		err = git.ValidatePath(p.GetPath())
	}
	if err == nil {
		err = new(rules.Owners).Check(t.dep.EnvironmentName(), p.GetPath())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

func (t *task) placeDep(part string) rules.Deployment {
	dep := t.dep
	dep.Part = part
	return dep
}

// place makes the task of one place. It has what decides and what a commit says, and not the render input.
func (t *task) place(part string, ref *committerv1.RepositoryRef, path string) *task {
	c := t.cmd
	p := &task{
		dep: t.placeDep(part), request: t.request, renderStart: t.renderStart, commitStart: t.commitStart,
		cmd: &eventsv1.DeploymentRequested{
			Deployment: c.GetDeployment(), Generation: c.GetGeneration(), RequestId: c.GetRequestId(), Mode: c.GetMode(),
			Repository: ref, Path: path, Set: c.GetSet(), Author: c.GetAuthor(), Message: c.GetMessage(), RequestTime: c.GetRequestTime(),
			RollbackOf: c.GetRollbackOf(), WriteMode: c.GetWriteMode(), ForeignPolicy: c.GetForeignPolicy(),
		},
	}
	p.request.ExpectBaseTree = ""
	return p
}

// renewed gives the place's task as a fold needs it: nothing in it is of an earlier attempt.
func (t *task) renewed() *task {
	p := *t
	p.done, p.finished, p.union = make(chan result, 1), false, git.ZeroHash
	return &p
}

// places gives the tasks of the deployment's places, the main one last, with their shares of the bundle. Claims are written only
// where there are any, and to the main place, whose state file tells of them.
func (t *task) places() []*task {
	parts := t.cmd.GetParts()
	shares := t.shares()
	var out []*task
	add := func(p *task, i int, restore, base string) {
		p.cmd.RestoreTree, p.cmd.ExpectBaseTree, p.request.ExpectBaseTree = restore, base, base
		if shares != nil {
			p.bundle = shares[i]
		}
		out = append(out, p)
	}
	for i, part := range parts {
		if t.claims() && shares != nil && len(shares[i].files) == 0 {
			continue
		}
		add(t.place(part.GetId(), part.GetRepository(), part.GetPath()), i, part.GetRestoreTree(), part.GetExpectBaseTree())
	}
	add(t.place("", t.cmd.GetRepository(), t.cmd.GetPath()), len(parts), t.cmd.GetRestoreTree(), t.cmd.GetExpectBaseTree())
	return out
}

// shares gives the bundle shared out to the parts, and the rest for the main place; nil without a bundle.
func (t *task) shares() []*bundle {
	if t.bundle == nil {
		return nil
	}
	var selectors []rules.Selector
	for _, p := range t.cmd.GetParts() {
		selectors = append(selectors, rules.Selector{Kinds: p.GetSelect().GetKinds(), Workloads: p.GetSelect().GetWorkloads()})
	}
	var out []*bundle
	for _, files := range rules.Split(t.bundle.files, objectsByFile(t.bundle.objects), selectors) {
		share := *t.bundle
		// The files were checked together, so that each share of them is a tree.
		share.files = files
		share.tree, _ = git.TreeID(files)
		out = append(out, &share)
	}
	return out
}

func objectsByFile(refs []*rendererv1.ObjectRef) map[string][]rules.Object {
	out := make(map[string][]rules.Object, len(refs))
	for _, o := range refs {
		group, _, ok := strings.Cut(o.GetApiVersion(), "/")
		if !ok {
			group = ""
		}
		out[o.GetFile()] = append(out[o.GetFile()], rules.Object{Group: group, Kind: o.GetKind(), Workload: o.GetWorkload()})
	}
	return out
}

// groups gives what each lane does, the main place's last, and what is done when all of it is in Git and told: the places that the
// environment leaves. What is left in the main place's branch goes with its commit, and a folder that a new place takes goes with
// that one's; anything else has to wait, so that nothing is missing anywhere before all of it is somewhere else.
func (t *task) groups(whole string) (groups, later []*task) {
	byLane := map[string]*task{}
	mainLane := laneKey(t.cmd.GetRepository())
	for _, p := range t.places() {
		lane := laneKey(p.cmd.GetRepository())
		g := byLane[lane]
		if g == nil {
			g = t.place("", p.cmd.GetRepository(), p.cmd.GetPath())
			g.group = &group{main: lane == mainLane, split: len(t.cmd.GetParts()) > 0, whole: whole}
			byLane[lane] = g
			groups = append(groups, g)
		}
		g.group.places = append(g.group.places, p)
	}
	slices.SortStableFunc(groups, func(a, b *task) int { return boolInt(a.group.main) - boolInt(b.group.main) })
	if t.claims() { // the environment itself has not moved yet
		for _, leaf := range t.cmd.GetLeaves() {
			if g := byLane[laneKey(leaf.GetRepository())]; g != nil {
				g.group.listed = append(g.group.listed, leaf.GetPath())
			}
		}
		return groups, nil
	}
	afterwards := map[string]*task{}
	for _, gone := range t.cmd.GetLeaves() {
		lane := laneKey(gone.GetRepository())
		old := &leaf{task: t.place(gone.GetId(), gone.GetRepository(), gone.GetPath())}
		old.movedTo = t.movedTo(old.task)
		if g := byLane[lane]; g != nil {
			g.group.listed = append(g.group.listed, gone.GetPath())
			if g.group.main || slices.ContainsFunc(g.group.places, func(p *task) bool { return rules.Overlap(p.cmd.GetPath(), gone.GetPath()) }) {
				g.group.leaves = append(g.group.leaves, old)
				continue
			}
		}
		g := afterwards[lane]
		if g == nil {
			g = t.place("", gone.GetRepository(), gone.GetPath())
			g.group = &group{leaving: true}
			if here := byLane[lane]; here != nil {
				g.group.places = here.group.places
			}
			afterwards[lane] = g
			later = append(later, g)
		}
		g.group.leaves = append(g.group.leaves, old)
	}
	return groups, later
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// movedTo says where a place went that the environment leaves: to the part of the same name, or to the main place.
func (t *task) movedTo(old *task) string {
	if t.removes() {
		return ""
	}
	ref, path := t.cmd.GetRepository(), t.cmd.GetPath()
	for _, p := range t.cmd.GetParts() {
		if p.GetId() == old.dep.Part {
			ref, path = p.GetRepository(), p.GetPath()
		}
	}
	return ref.GetName() + "#" + ref.GetBranch() + ":" + path
}
