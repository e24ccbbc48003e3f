package committer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

// treeLimits bound one answer of GetTree, below what a gRPC message may hold.
var treeLimits = git.Limits{Files: 20_000, Bytes: 24 << 20}

// symlink is the mode of links, which bundles do not have and reads leave out.
const symlink = git.Mode(0o120000)

// GetHead gives the tip of a branch; no commit when the branch does not exist. Errors: INVALID_ARGUMENT, UNAVAILABLE when the
// host cannot be reached, FAILED_PRECONDITION when it does not let us in, NOT_FOUND when it has no such repository.
func (s *Service) GetHead(ctx context.Context, req *committerv1.GetHeadRequest) (*committerv1.Head, error) {
	var answer committerv1.Head
	err := s.reading(ctx, req.GetRepository(), func(v *view) error {
		s.lanes.watch(req.GetRepository())
		tip, err := s.views.tip(ctx, v, req.GetRepository().GetBranch())
		if err != nil || tip.IsZero() {
			return err
		}
		c, err := v.remote.Commit(ctx, tip)
		answer.Commit, answer.Tree = tip.String(), treeText(c.Tree)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer, nil
}

// GetTree gives the files below a path; none when the path does not exist. Errors: those of GetHead, NOT_FOUND for a commit or
// tree that the repository does not have, OUT_OF_RANGE for a folder that is too large for one answer.
func (s *Service) GetTree(ctx context.Context, req *committerv1.GetTreeRequest) (*committerv1.Tree, error) {
	if err := validateTreeRequest(req); err != nil {
		return nil, err
	}
	var answer *committerv1.Tree
	err := s.reading(ctx, req.GetRepository(), func(v *view) error {
		start := time.Now()
		var err error
		answer, err = s.readTree(ctx, v, req)
		if !errors.Is(err, git.ErrMissing) {
			return err
		}
		// It may have come after the last fetch.
		if _, err := s.views.fetch(ctx, v, req.GetRepository().GetBranch(), start); err != nil {
			return err
		}
		answer, err = s.readTree(ctx, v, req)
		return err
	})
	return answer, err
}

func validateTreeRequest(req *committerv1.GetTreeRequest) error {
	var fields []errs.Field
	for name, id := range map[string]string{"commit": req.GetCommit(), "tree": req.GetTree()} {
		if id != "" && !isTreeID(id) {
			fields = append(fields, errs.Field{Path: name, Problem: "is not an object id of 40 hexadecimal digits"})
		}
	}
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	if req.GetPath() != "" {
		return git.ValidatePath(req.GetPath())
	}
	return nil
}

func (s *Service) readTree(ctx context.Context, v *view, req *committerv1.GetTreeRequest) (*committerv1.Tree, error) {
	commit, root, err := s.resolve(ctx, v, req)
	if err != nil {
		return nil, err
	}
	answer := &committerv1.Tree{Commit: treeText(commit)}
	folder, err := git.Lookup(ctx, v.remote, root, req.GetPath())
	switch {
	case errors.Is(err, git.ErrNotFound), err == nil && folder.Hash.IsZero():
		return answer, nil
	case err != nil:
		return nil, err
	case !folder.IsDir():
		return nil, errs.InvalidField("path", "is a file; ask for the folder that it is in")
	}
	answer.Tree = folder.Hash.String()
	answer.Files, err = s.files(ctx, v, folder.Hash, req.GetNamesOnly())
	return answer, err
}

// resolve gives the tree to begin at, and the commit when it is a commit's.
func (s *Service) resolve(ctx context.Context, v *view, req *committerv1.GetTreeRequest) (commit, root git.Hash, err error) {
	if req.GetTree() != "" {
		return git.ZeroHash, git.NewHash(req.GetTree()), nil
	}
	if req.GetCommit() != "" {
		commit = git.NewHash(req.GetCommit())
	} else if commit, err = s.views.tip(ctx, v, req.GetRepository().GetBranch()); err != nil || commit.IsZero() {
		return git.ZeroHash, git.ZeroHash, err
	}
	c, err := v.remote.Commit(ctx, commit)
	return commit, c.Tree, err
}

// files gives the files below a tree, in path order.
func (s *Service) files(ctx context.Context, v *view, tree git.Hash, namesOnly bool) ([]*committerv1.File, error) {
	key := treeKey{repository: v.key, tree: tree, namesOnly: namesOnly}
	if files, ok := s.trees.get(key); ok {
		return files, nil
	}
	var files []*committerv1.File
	err := git.WalkTree(ctx, v.remote, tree, func(path string, e git.Entry) error {
		if e.Mode.IsFile() && e.Mode != symlink {
			files = append(files, &committerv1.File{Path: path, Id: e.Hash.String()})
		}
		if len(files) > treeLimits.Files {
			return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_TOO_LARGE, "the folder holds more than %d files; ask for a folder in it", treeLimits.Files)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !namesOnly && len(files) > 0 {
		contents, err := git.ReadSubtree(ctx, v.remote, tree, "", treeLimits)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			f.Content = contents[f.GetPath()]
		}
	}
	slices.SortFunc(files, func(a, b *committerv1.File) int { return cmp.Compare(a.GetPath(), b.GetPath()) })
	s.trees.put(key, files)
	return files, nil
}

// ListCommits lists a branch's commits, newest first, along first parents. Older history is fetched from the host in steps as the
// listing goes back; it ends early only where the host gives no older commits. A page may hold fewer commits than asked for, also
// none, and be followed by more: so many commits were looked at that did not change the path. Errors: those of GetHead, INVALID_ARGUMENT with INVALID_PAGE_TOKEN.
func (s *Service) ListCommits(ctx context.Context, req *committerv1.ListCommitsRequest) (*committerv1.ListCommitsResponse, error) {
	if req.GetPath() != "" {
		if err := git.ValidatePath(req.GetPath()); err != nil {
			return nil, err
		}
	}
	from, err := parseToken(req)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size <= 0 {
		size = 50
	}
	answer := &committerv1.ListCommitsResponse{}
	err = s.reading(ctx, req.GetRepository(), func(v *view) error {
		if from.IsZero() {
			if from, err = s.views.tip(ctx, v, req.GetRepository().GetBranch()); err != nil || from.IsZero() {
				return err
			}
		}
		commits, next, err := git.ListCommits(ctx, v.remote, from, git.ListOptions{Path: req.GetPath(), Limit: min(size, 1000)})
		if err != nil {
			return err
		}
		for _, c := range commits {
			answer.Commits = append(answer.Commits, commitMessage(c))
		}
		if !next.IsZero() {
			answer.NextPageToken = makeToken(req, next)
		}
		return nil
	})
	return answer, err
}

func commitMessage(c git.Commit) *committerv1.Commit {
	subject, _, _ := strings.Cut(c.Message, "\n")
	m := &committerv1.Commit{
		Id: c.Hash.String(), Tree: c.Tree.String(), Author: c.Author.Name + " <" + c.Author.Email + ">",
		Time: timestamppb.New(c.AuthorTime), Subject: clip(subject, maxSubject), Trailers: map[string]string{},
		Committer: clip(c.Committer.Name+" <"+c.Committer.Email+">", maxSubject), Signature: signatureFormat(c),
	}
	m.Author = clip(m.Author, maxSubject)
	for _, t := range git.ParseTrailers(c.Message) {
		m.Trailers[clip(t.Key, maxSubject)] = clip(t.Value, maxSubject)
	}
	for _, p := range c.Parents {
		m.Parents = append(m.Parents, p.String())
	}
	return m
}

// A page token is the commit that the next page begins at, bound to the listing that it belongs to.
func makeToken(req *committerv1.ListCommitsRequest, next git.Hash) string {
	return base64.RawURLEncoding.EncodeToString([]byte(next.String() + listing(req)))
}

func parseToken(req *committerv1.ListCommitsRequest) (git.Hash, error) {
	if req.GetPageToken() == "" {
		return git.ZeroHash, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil || len(raw) < 40 || string(raw[40:]) != listing(req) || !isTreeID(string(raw[:40])) {
		return git.ZeroHash, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN,
			"the page token is not of this listing; begin without one")
	}
	return git.NewHash(string(raw[:40])), nil
}

func listing(req *committerv1.ListCommitsRequest) string {
	sum := sha256.Sum256([]byte(req.GetRepository().GetUrl() + "\n" + req.GetRepository().GetBranch() + "\n" + req.GetPath()))
	return hex.EncodeToString(sum[:8])
}

// reading opens the repository for the time of fn and turns the host's errors into those of the RPCs.
func (s *Service) reading(ctx context.Context, ref *committerv1.RepositoryRef, fn func(*view) error) error {
	if ref.GetUrl() == "" {
		return errs.InvalidField("repository.url", "is missing; give the repository's address")
	}
	if _, err := git.NormaliseURL(ref.GetUrl()); err != nil {
		return err
	}
	if err := git.ValidateBranch(ref.GetBranch()); err != nil {
		return err
	}
	v, release, err := s.views.acquire(ctx, ref)
	if err == nil {
		defer release()
		err = fn(v)
	}
	if err == nil || errs.Is(err, errs.NotFound) {
		return err
	}
	return hostError(ctx, err, s.credentials.secrets(ref.GetCredentials()))
}
