package rules

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

// IsInGit reports whether a deployment is in Git, as far as anybody has told.
func IsInGit(d *catalogv1.Deployment) bool {
	return d.GetCommit() != "" || d.GetActiveFrom() != nil || d.GetState() == failed && d.GetError().GetStage() == "sync"
}

// Settles reports whether a change of a deployment decides where its environment stands: a move got into Git, or ended before.
func Settles(before, after *catalogv1.Deployment) bool {
	if after.GetKind() != catalogv1.Deployment_KIND_MOVE {
		return false
	}
	ended := func(d *catalogv1.Deployment) bool { return IsFinal(d.GetState()) && !IsInGit(d) }
	return IsInGit(after) && !IsInGit(before) || ended(after) && !ended(before)
}

// Moved ends a move of an environment that had nothing in Git yet.
func Moved(d *catalogv1.Deployment, at time.Time) {
	d.State, d.Phases, d.WaitingReason = 0, nil, ""
	enter(d, healthy, timestamppb.New(at))
}

// MovedNothing reports whether a deployment is a move that had nothing to bring.
func MovedNothing(d *catalogv1.Deployment) bool {
	return d.GetKind() == catalogv1.Deployment_KIND_MOVE && d.GetState() == healthy && d.GetCommit() == "" && d.GetActiveFrom() == nil
}

// commitParts notes what stands where of an environment that stands in several places.
func commitParts(d *catalogv1.Deployment, e *eventsv1.DeploymentCommitted) {
	if len(e.GetParts()) == 0 {
		return
	}
	d.MainTree = e.GetMainTree()
	planned := map[string]string{}
	for _, p := range d.GetParts() {
		planned[p.GetId()] = p.GetPlannedBaseTree()
	}
	d.Parts = nil
	for _, p := range e.GetParts() {
		d.Parts = append(d.Parts, &catalogv1.DeploymentPart{
			Id: p.GetId(), Repository: p.GetRepository().GetName(), Branch: p.GetRepository().GetBranch(), Path: p.GetPath(),
			Commit: p.GetCommit(), Tree: p.GetTree(), FilesChanged: p.GetFilesChanged(), PlannedBaseTree: planned[p.GetId()],
		})
	}
}

// RestorableParts reports whether a deployment's trees can be put back one by one into a place: all of its parts are parts of the
// place, in the same folders, and the other way round, and each tree is known.
func RestorableParts(d *catalogv1.Deployment, p *catalogv1.Place) bool {
	if len(d.GetParts()) != len(p.GetParts()) || d.GetPath() != p.GetPath() || d.GetBranch() != p.GetBranch() || d.GetRepository() != p.GetRepository() || d.GetMainTree() == "" {
		return false
	}
	for i, part := range p.GetParts() {
		was := d.GetParts()[i]
		if was.GetId() != part.GetId() || was.GetRepository() != part.GetRepository() || was.GetBranch() != part.GetBranch() || was.GetPath() != part.GetPath() || was.GetTree() == "" {
			return false
		}
	}
	return true
}
