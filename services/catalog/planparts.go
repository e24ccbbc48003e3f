package catalog

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sync/errgroup"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// partly is what a plan knows of an environment that stands in several folders, by the ids of their parts; empty for the main one.
type partly struct {
	bases  map[string]string
	before map[string]map[string][]byte
	after  map[string]map[string][]byte // nil when the bundle's objects tell
}

// placeRest is what a plan's place has beside the main folder: the parts with their shares, and where a move comes from.
func (c current) placeRest() string {
	var b strings.Builder
	tell := func(what string, p *catalogv1.Place, all []rules.Location) {
		for _, l := range all {
			fmt.Fprintf(&b, "\n%s %q %q %q %q", what, l.Part, l.URL, l.Branch, l.Path)
		}
		for _, part := range p.GetParts() {
			fmt.Fprintf(&b, " %q %q", part.GetSelect().GetKinds(), part.GetSelect().GetWorkloads())
		}
	}
	tell("part", c.site.place, rules.Locations(c.site.place)[1:])
	if c.move != nil {
		tell("from", c.move.from.place, rules.Locations(c.move.from.place))
	}
	return b.String()
}

// planBases reads what stands in the folders of the environment's place now: one question for an environment with one folder.
func (s *Service) planBases(ctx context.Context, c current, p *planned) error {
	trees, err := s.treesAt(ctx, c.site)
	if err != nil {
		return err
	}
	p.before, p.base = files(trees[0]), orAbsent(trees[0].GetTree())
	p.parts.BaseTree = p.base
	if len(c.site.parts) == 0 {
		return nil
	}
	p.partly = partly{bases: map[string]string{}, before: map[string]map[string][]byte{"": p.before}}
	all := maps.Clone(p.before)
	for i, part := range c.site.place.GetParts() {
		there := files(trees[i+1])
		p.partly.bases[part.GetId()], p.partly.before[part.GetId()] = orAbsent(trees[i+1].GetTree()), there
		p.parts.BaseTree += "\n" + part.GetId() + "=" + p.partly.bases[part.GetId()]
		maps.Copy(all, there)
	}
	p.before = all
	return nil
}

func orAbsent(tree string) string {
	if tree == "" {
		return rules.Absent
	}
	return tree
}

// treesAt reads the folders of a site, in the order of its locations.
func (s *Service) treesAt(ctx context.Context, p site) ([]*committerv1.Tree, error) {
	locations := rules.Locations(p.place)
	return s.trees(ctx, len(locations), func(i int) *committerv1.GetTreeRequest {
		return &committerv1.GetTreeRequest{Repository: p.ref(i), Path: locations[i].Path}
	})
}

// trees reads n trees, several at the same time.
func (s *Service) trees(ctx context.Context, n int, request func(i int) *committerv1.GetTreeRequest) ([]*committerv1.Tree, error) {
	out := make([]*committerv1.Tree, n)
	var g errgroup.Group
	for i := range n {
		read := func() (err error) {
			out[i], err = s.cfg.Committer.GetTree(ctx, request(i))
			return rpc.FromStatus(err)
		}
		if n == 1 {
			return out, read()
		}
		g.Go(read)
	}
	return out, g.Wait()
}

// planTrees reads what a rollback puts back, NotFound when Git no longer has it where the environment stands now.
func (s *Service) planTrees(ctx context.Context, c current, to *catalogv1.Deployment, p *planned) (map[string][]byte, error) {
	trees, hints := []string{to.GetTree()}, []string{hint(c.site, 0, to.GetRepository(), to.GetBranch(), to.GetCommit())}
	if parts := c.site.place.GetParts(); len(parts) > 0 {
		if !rules.RestorableParts(to, c.site.place) {
			return nil, errs.NotFoundf("what "+to.GetName()+" made, shared out as the environment is now", "")
		}
		trees[0] = to.GetMainTree()
		for i, part := range to.GetParts() {
			trees = append(trees, part.GetTree())
			hints = append(hints, hint(c.site, i+1, part.GetRepository(), part.GetBranch(), part.GetCommit()))
		}
	}
	got, err := s.trees(ctx, len(trees), func(i int) *committerv1.GetTreeRequest {
		return &committerv1.GetTreeRequest{Repository: c.site.ref(i), Tree: trees[i], Commit: hints[i]}
	})
	if err != nil || len(trees) == 1 {
		return files(got[0]), err
	}
	all := map[string][]byte{}
	p.partly.after = map[string]map[string][]byte{}
	for i, l := range rules.Locations(c.site.place) {
		p.partly.after[l.Part] = files(got[i])
		maps.Copy(all, p.partly.after[l.Part])
	}
	return all, nil
}

// hint gives the commit that has a tree, where that is a commit of the branch which is asked.
func hint(p site, i int, repository, branch, commit string) string {
	l := rules.Locations(p.place)[i]
	if l.Repository != repository || l.Branch != branch {
		return ""
	}
	return commit
}

// planMove plans a move: the bundle of what stands in Git, written elsewhere. Its objects are compared with those of the old place,
// because that is what a cluster sees of it.
func (s *Service) planMove(ctx context.Context, c current, next decision, p *planned) error {
	if c.move.what == nil {
		p.parts.Tree, p.parts.SHA256 = rules.Absent, ""
		p.warnings = append(p.warnings, "nothing of the environment is in Git yet; its first deployment goes to the new place")
		return nil
	}
	resp, err := s.renderMove(ctx, c, next)
	if err != nil {
		return err
	}
	bundle := resp.GetBundle()
	if err := s.enterEmpty(ctx, c, bundle.GetFiles(), bundle.GetObjects()); err != nil {
		return err
	}
	if p.partly.before == nil {
		p.partly.before = map[string]map[string][]byte{"": p.before}
	}
	old, err := s.treesAt(ctx, c.move.from)
	if err != nil {
		return err
	}
	was := []string{c.move.what.GetTree()}
	if parts := c.move.what.GetParts(); len(parts) > 0 {
		was[0] = c.move.what.GetMainTree()
		for _, part := range parts {
			was = append(was, part.GetTree())
		}
	}
	p.before = map[string][]byte{}
	for i, l := range rules.Locations(c.move.from.place) {
		maps.Copy(p.before, files(old[i]))
		if i < len(was) && old[i].GetTree() != was[i] {
			p.warnings = append(p.warnings, fmt.Sprintf("somebody else has changed %s; the move writes what %s brought, and their change stays behind in the history of Git", l, c.move.what.GetName()))
		}
	}
	p.after, p.refs, p.verdicts = bundle.GetFiles(), bundle.GetObjects(), resp.GetVerdicts()
	p.parts.Tree, p.parts.SHA256, p.parts.RendererVersion, p.parts.Definitions = bundle.GetTree(), bundle.GetSha256(), resp.GetRendererVersion(), resp.GetDefinitionsUsed()
	return nil
}

// fileChanges gives the files that differ, folder by folder.
func (p planned) fileChanges(c current) ([]*catalogv1.FileChange, error) {
	if p.partly.before == nil {
		return fileChanges(p.before, p.after)
	}
	after := p.partly.after
	if after == nil {
		after = p.shared(c)
	}
	var out []*catalogv1.FileChange
	for _, l := range rules.Locations(c.site.place) {
		changes, err := fileChanges(p.partly.before[l.Part], after[l.Part])
		if err != nil {
			return nil, err
		}
		for _, f := range changes {
			f.Part = l.Part
		}
		out = append(out, changes...)
	}
	return out, nil
}

// shared shares a bundle out. A file whose object is not of the bundle, as beside claims, stays where it is.
func (p planned) shared(c current) map[string]map[string][]byte {
	sorter, out := rules.NewSorter(c.site.place, p.refs), map[string]map[string][]byte{}
	for path, content := range p.after {
		part, known := sorter.Part(path)
		if !known {
			for id, there := range p.partly.before {
				if _, ok := there[path]; ok {
					part = id
				}
			}
		}
		if out[part] == nil {
			out[part] = map[string][]byte{}
		}
		out[part][path] = content
	}
	return out
}

// pinBases notes in a deployment what its plan found in the folders of its parts.
func (p planned) pinBases(d *catalogv1.Deployment) {
	for _, part := range d.GetParts() {
		part.PlannedBaseTree = p.partly.bases[part.GetId()]
	}
}

// planMoving plans a move.
func (s *Service) planMoving(ctx context.Context, env rules.Env) (*catalogv1.Plan, error) {
	c, err := s.moving(ctx, env)
	if err != nil {
		return nil, err
	}
	if c.row.Msg.GetState() == catalogv1.Environment_STATE_DELETING {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "%s is being removed by %s and cannot be moved",
			env.Name(), c.row.Msg.GetLatestDeployment()).With("state", "DELETING")
	}
	c.kind = catalogv1.Deployment_KIND_MOVE
	next, err := s.decided(ctx, c, s.relocation)
	if err != nil {
		return nil, err
	}
	return s.planOf(ctx, c, next)
}

// warnOfCrowd warns where a new folder comes into a directory that has more entries than Git is fast with: each commit writes the
// whole directory again.
func (s *Service) warnOfCrowd(ctx context.Context, c current, warnings []string) ([]string, error) {
	if c.born == nil && c.move == nil {
		return warnings, nil
	}
	for _, l := range rules.Locations(c.site.place) {
		for _, above := range rules.Ancestors(l.Path) {
			n, err := s.children(ctx, l, above)
			if err != nil {
				return warnings, err
			}
			if n >= rules.MaxChildren {
				warnings = append(warnings, fmt.Sprintf("%s of %s has %d entries or more, and each commit writes all of them again; put {hash} into the path_template of %s, as in environments/{environment}/{hash}/{application}",
					above, l.Repository, rules.MaxChildren, l.Repository))
			}
		}
	}
	return warnings, nil
}

// children counts the entries of a directory as far as environments own something below them, up to MaxChildren. Of a directory with
// much below few entries not all is read.
func (s *Service) children(ctx context.Context, l rules.Location, dir string) (int, error) {
	const pages = 10
	prefix := ownerPathKey(l, dir) + "/"
	seen := map[string]bool{}
	r := store.ScanRange{Prefix: prefix, Limit: rules.MaxChildren}
	for range pages {
		page, err := s.cfg.KV.Scan(ctx, r)
		if err != nil {
			return 0, err
		}
		for _, e := range page {
			child, _, _ := strings.Cut(strings.TrimPrefix(e.Key, prefix), "/")
			seen[child] = true
		}
		if len(page) < r.Limit || len(seen) >= rules.MaxChildren {
			break
		}
		r.After = page[len(page)-1].Key
	}
	return len(seen), nil
}
