package catalog

import (
	"context"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// GetForeignChange tells what somebody else changed, by file and by field, and what a draft would keep of it.
func (s gitServer) GetForeignChange(ctx context.Context, r *catalogv1.GetForeignChangeRequest) (*catalogv1.ForeignChangeDetail, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	f, err := s.foreignChange(ctx, env, r.GetPath())
	if err != nil {
		return nil, err
	}
	out := &catalogv1.ForeignChangeDetail{Change: f}
	if rules.IsStateFile(f.GetPath()) {
		out.Text = "Towpath's own record of the environment was changed; the next deployment writes it anew.\n"
		return out, nil
	}
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, err
	}
	sides, err := s.foreignSides(ctx, c, f)
	if err != nil {
		return nil, err
	}
	if out.Files, err = fileChanges(sides.expected, sides.found); err != nil {
		return nil, err
	}
	diff := rules.CompareObjects(sides.expected, sides.found, nil)
	out.Fields, out.Text = diff.Fields, diff.Text
	adoption, err := s.adoption(ctx, c, f, sides)
	if err != nil { // a rendering that does not work any more keeps nobody from seeing what was changed
		out.NotAdoptable = []string{errs.Message(err)}
		return out, nil
	}
	out.Adoption, out.NotAdoptable = adoption.Change, adoption.Not
	return out, nil
}

// foreignSides are the files that Towpath wrote and those that were found.
type foreignSides struct{ expected, found map[string][]byte }

func (s *Service) foreignSides(ctx context.Context, c current, f *catalogv1.ForeignChange) (foreignSides, error) {
	ref, err := s.foreignRepository(ctx, c, f)
	if err != nil {
		return foreignSides{}, err
	}
	read := func(tree string) (map[string][]byte, error) {
		if tree == "" {
			return map[string][]byte{}, nil
		}
		t, err := s.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: ref, Tree: tree})
		return files(t), rpc.FromStatus(err)
	}
	var out foreignSides
	if out.expected, err = read(f.GetExpectedTree()); err == nil {
		out.found, err = read(f.GetFoundTree())
	}
	return out, err
}

// foreignRepository is where the folder is that somebody changed: the environment's place, one of its parts, or what its repository
// says.
func (s *Service) foreignRepository(ctx context.Context, c current, f *catalogv1.ForeignChange) (*committerv1.RepositoryRef, error) {
	repo := c.site.repo
	if f.GetRepository() != "" && repo.GetName() != f.GetRepository() {
		id, err := rules.ParseName("repository", "repositories", f.GetRepository())
		if err != nil {
			return nil, err
		}
		row, err := repositories.Get(ctx, s.cfg.KV, id)
		if err != nil {
			return nil, orNotFound(err, f.GetRepository(), "")
		}
		repo = row.Msg
	}
	ref := repositoryRef(repo)
	ref.Branch = f.GetBranch()
	place := c.row.Msg.GetPlace()
	if place.GetPath() == f.GetPath() && place.GetRepository() == repo.GetName() && place.GetUrl() != "" {
		ref.Url = place.GetUrl()
	}
	for _, p := range place.GetParts() {
		if p.GetPath() == f.GetPath() && p.GetRepository() == repo.GetName() && p.GetUrl() != "" {
			ref.Url = p.GetUrl()
		}
	}
	return ref, nil
}
