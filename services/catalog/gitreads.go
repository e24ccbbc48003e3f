package catalog

import (
	"context"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// emptyPages is how many pages in a row are asked for that hold no commit of the folder: of a large repository with a long history,
// most commits are of others. Then the answer is a page without commits, from which the caller goes on.
const emptyPages = 5

// ListCommits lists the commits that changed a folder.
func (s gitServer) ListCommits(ctx context.Context, r *catalogv1.ListCommitsRequest) (*catalogv1.ListCommitsResponse, error) {
	p, err := s.gitParent(ctx, r.GetParent(), r.GetPart())
	if err != nil {
		return nil, err
	}
	ask := &committerv1.ListCommitsRequest{
		Repository: p.ref, Path: p.below(r.GetPath()), PageSize: r.GetPageSize(), PageToken: r.GetPageToken(),
	}
	for range emptyPages {
		page, err := s.cfg.Committer.ListCommits(ctx, ask)
		if err != nil {
			return nil, rpc.FromStatus(err)
		}
		if ask.PageToken = page.GetNextPageToken(); len(page.GetCommits()) > 0 || ask.PageToken == "" {
			return &catalogv1.ListCommitsResponse{Commits: page.GetCommits(), NextPageToken: ask.PageToken}, nil
		}
	}
	return &catalogv1.ListCommitsResponse{NextPageToken: ask.PageToken}, nil
}

// GetCommit gives one commit with what it changed in the folder. Of a commit that has nothing to do with the environment, nothing is
// told but that it is one.
func (s gitServer) GetCommit(ctx context.Context, r *catalogv1.GetCommitRequest) (*committerv1.Commit, error) {
	p, err := s.gitParent(ctx, r.GetParent(), r.GetPart())
	if err != nil {
		return nil, err
	}
	c, err := s.cfg.Committer.GetCommit(ctx, &committerv1.GetCommitRequest{
		Repository: p.ref, Commit: r.GetCommit(), Path: p.folder, NamesOnly: r.GetNamesOnly(),
	})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	if p.env != "" && c.GetChanges().GetTotal() == 0 && !strings.HasPrefix(c.GetTrailers()["Towpath-Deployment"], p.env+"/") {
		return &committerv1.Commit{Id: c.GetId(), Parents: c.GetParents(), Time: c.GetTime(), Changes: c.GetChanges()}, nil
	}
	return c, nil
}

// GetTree gives the files below a folder. Values of Secrets are masked.
func (s gitServer) GetTree(ctx context.Context, r *catalogv1.GetTreeRequest) (*committerv1.Tree, error) {
	p, err := s.gitParent(ctx, r.GetParent(), r.GetPart())
	if err != nil {
		return nil, err
	}
	if err := s.inBranch(ctx, p, r.GetCommit()); err != nil {
		return nil, err
	}
	tree, err := s.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{
		Repository: p.ref, Commit: r.GetCommit(), Path: p.below(r.GetPath()), NamesOnly: r.GetNamesOnly(),
	})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	out := &committerv1.Tree{Commit: tree.GetCommit(), Tree: tree.GetTree(), Files: make([]*committerv1.File, len(tree.GetFiles()))}
	for i, f := range tree.GetFiles() {
		out.Files[i] = maskedFile(f)
	}
	return out, nil
}

// inBranch answers NOT_FOUND for a commit that is not of the environment's branch: where each environment has a branch of its own,
// another one's folder has the same name. GetTree of the committer, which asks by trees too, does not look.
func (s *Service) inBranch(ctx context.Context, p gitPlace, commit string) error {
	if p.env == "" || commit == "" {
		return nil
	}
	_, err := s.cfg.Committer.GetCommit(ctx, &committerv1.GetCommitRequest{Repository: p.ref, Commit: commit, Path: p.folder, NamesOnly: true})
	return rpc.FromStatus(err)
}

// GetFile gives one file. Values of Secrets are masked.
func (s gitServer) GetFile(ctx context.Context, r *catalogv1.GetFileRequest) (*committerv1.FileAt, error) {
	p, err := s.gitParent(ctx, r.GetParent(), r.GetPart())
	if err != nil {
		return nil, err
	}
	at, err := s.cfg.Committer.GetFile(ctx, &committerv1.GetFileRequest{Repository: p.ref, Commit: r.GetCommit(), Path: p.below(r.GetPath())})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	file := maskedFile(at.GetFile())
	file.Path = r.GetPath()
	return &committerv1.FileAt{Commit: at.GetCommit(), File: file}, nil
}

func maskedFile(f *committerv1.File) *committerv1.File {
	return &committerv1.File{Path: f.GetPath(), Id: f.GetId(), Content: manifest.MaskFile(f.GetContent())}
}

// CompareCommits tells which files of the folder differ between two commits.
func (s gitServer) CompareCommits(ctx context.Context, r *catalogv1.CompareCommitsRequest) (*committerv1.Comparison, error) {
	p, err := s.gitParent(ctx, r.GetParent(), r.GetPart())
	if err != nil {
		return nil, err
	}
	c, err := s.cfg.Committer.CompareCommits(ctx, &committerv1.CompareCommitsRequest{
		Repository: p.ref, Base: r.GetBase(), Head: r.GetHead(), Path: p.below(r.GetPath()), NamesOnly: r.GetNamesOnly(),
	})
	return c, rpc.FromStatus(err)
}
