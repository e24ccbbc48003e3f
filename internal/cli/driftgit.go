package cli

import (
	"cmp"
	"context"
	"slices"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// standingWord says what a finding counts as.
func standingWord(f finding) string {
	w := word(cmp.Or(f.GetStanding(), driftv1.Finding_STANDING_OPEN).String(), "STANDING_")
	if f.GetContested() {
		w += ", contested"
	}
	return w
}

// getFinding reads a finding in the cluster, else in Git.
func (c *client) getFinding(ctx context.Context, name string) (finding, error) {
	f, err := c.drift.GetFinding(ctx, &driftv1.GetFindingRequest{Name: name})
	if !errs.Is(err, errs.NotFound) {
		return f, err
	}
	git, gitErr := openInGit(ctx, c, envOf(name))
	if gitErr != nil {
		return nil, err
	}
	for _, g := range git {
		if g.GetName() == name {
			return g, nil
		}
	}
	return nil, err
}

func showRecord(ctx context.Context, p *printer, c *client, name string) error {
	r, err := c.findingService().GetFindingRecord(ctx, &catalogv1.GetFindingRecordRequest{Name: name})
	if err != nil {
		return err
	}
	if done, err := p.structured(r, r.GetName()); done {
		return err
	}
	return p.record(r)
}

// revertAll puts back findings in the cluster, and those in Git that are named by a commit.
func (t *tow) revertAll(ctx context.Context, p *printer, c *client, req *driftv1.RevertFindingsRequest, plan, yes bool) error {
	git, err := openInGit(ctx, c, req.GetParent())
	if err != nil {
		return err
	}
	git = slices.DeleteFunc(git, func(f finding) bool { return !slices.Contains(req.GetNames(), f.GetName()) })
	if len(git) == 0 {
		return t.revert(ctx, p, req, plan, yes)
	}
	if len(git) < len(req.GetNames()) {
		return usagef("findings in Git and in the cluster are put back apart from each other: the former by a commit; name one sort")
	}
	done := &driftv1.RevertFindingsResponse{Reverted: git}
	if plan {
		return t.printReverted(p, done, "would be put back")
	}
	if err := t.confirm(yes, "put back %s in Git of %s by a commit", plural(len(git), "folder"), short(req.GetParent())); err != nil {
		return err
	}
	for _, f := range git {
		_, err := c.foreignService().ResolveForeignChange(ctx, &catalogv1.ResolveForeignChangeRequest{
			Name: req.GetParent(), Path: f.GetObjectName(), Decision: catalogv1.ResolveForeignChangeRequest_DECISION_RESTORE,
		})
		if err != nil {
			return err
		}
	}
	return t.printReverted(p, done, "is being put back")
}
