package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// commandParts adds to a command the shares of the environment that stand elsewhere, and for a move the folders that it leaves.
func (s *Service) commandParts(ctx context.Context, c current, d *catalogv1.Deployment, cmd *eventsv1.DeploymentRequested) (err error) {
	base := map[string]string{}
	for _, p := range d.GetParts() {
		base[p.GetId()] = p.GetPlannedBaseTree()
	}
	for i, p := range c.site.place.GetParts() {
		cmd.Parts = append(cmd.Parts, &committerv1.Part{
			Id: p.GetId(), Repository: repositoryRef(c.site.parts[i]), Path: p.GetPath(), Select: p.GetSelect(), ExpectBaseTree: base[p.GetId()],
		})
	}
	cmd.Leaves, err = s.leaves(ctx, c, d)
	return err
}

// restoreIn has a command put back what an earlier deployment made, in the place where the environment stands now. Trees of then are
// put back one by one where they stood in the same folders; where the environment was shared out otherwise, it is rendered, and
// must come out the same.
func restoreIn(cmd *eventsv1.DeploymentRequested, place *catalogv1.Place, to *catalogv1.Deployment) {
	switch {
	case len(place.GetParts()) == 0:
		cmd.Mode, cmd.RestoreTree = eventsv1.DeploymentRequested_MODE_RESTORE, to.GetTree()
	case rules.RestorableParts(to, place):
		cmd.Mode, cmd.RestoreTree, cmd.ExpectTree = eventsv1.DeploymentRequested_MODE_RESTORE, to.GetMainTree(), to.GetTree()
		for i, p := range to.GetParts() {
			cmd.Parts[i].RestoreTree = p.GetTree()
		}
	default:
		cmd.ExpectTree = to.GetTree()
	}
}
