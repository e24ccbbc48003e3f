package committer

import (
	"context"
	"errors"
	"strings"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

const (
	// maxMessage bounds a commit's message, maxSubject its first line, as answers have them; maxFile bounds one file. All far above
	// what people write, and below what a gRPC message may hold.
	maxMessage = 64 << 10
	maxSubject = 1 << 10
	maxFile    = 16 << 20
	// maxWalk is how far behind the tip a commit is looked for that is asked for by its id together with a path.
	maxWalk = 50_000
)

// GetCommit gives a commit with its whole message and what it changes against its first parent. Where the host does not give the
// parent, the changes are left out. Errors: those of GetHead, INVALID_ARGUMENT for the path, NOT_FOUND for a commit that the
// repository does not have, or with a path, that is not in the branch.
func (s *Service) GetCommit(ctx context.Context, req *committerv1.GetCommitRequest) (*committerv1.Commit, error) {
	if err := validatePath(req.GetPath()); err != nil {
		return nil, err
	}
	var answer *committerv1.Commit
	err := s.readingAt(ctx, req.GetRepository(), func(v *view) error {
		c, err := s.commitAt(ctx, v, req.GetRepository(), req.GetCommit(), req.GetPath())
		if err != nil {
			return err
		}
		answer = commitMessage(c)
		answer.Message = clip(c.Message, maxMessage)
		sides := sides{head: c, path: req.GetPath(), namesOnly: req.GetNamesOnly()}
		if len(c.Parents) > 0 {
			sides.base, err = v.remote.Commit(ctx, c.Parents[0])
			if errors.Is(err, git.ErrMissing) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		answer.Changes, err = s.compare(ctx, v, sides)
		return err
	})
	return answer, err
}

// GetFile gives one file. Errors: those of GetCommit, NOT_FOUND for a file that is not there, INVALID_ARGUMENT for what is a folder
// or a link, OUT_OF_RANGE for one that is too large for an answer.
func (s *Service) GetFile(ctx context.Context, req *committerv1.GetFileRequest) (*committerv1.FileAt, error) {
	if req.GetPath() == "" {
		return nil, errs.InvalidField("path", "is empty; name the file")
	}
	if err := validatePath(req.GetPath()); err != nil {
		return nil, err
	}
	var answer *committerv1.FileAt
	err := s.readingAt(ctx, req.GetRepository(), func(v *view) error {
		c, err := s.commitAt(ctx, v, req.GetRepository(), req.GetCommit(), req.GetPath())
		if err != nil {
			return err
		}
		e, err := git.Lookup(ctx, v.remote, c.Tree, req.GetPath())
		switch {
		case errors.Is(err, git.ErrNotFound) || err == nil && c.Hash.IsZero():
			return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "there is no file %q at %s", req.GetPath(), atCommit(c)).
				With("path", req.GetPath())
		case err != nil:
			return err
		case e.IsDir():
			return errs.InvalidField("path", "is a folder; ask for its files")
		case !e.Mode.IsFile() || e.Mode == symlink:
			return errs.InvalidField("path", "is a symbolic link or submodule, which has no content of its own here")
		}
		content, err := v.remote.Blob(ctx, e.Hash)
		if err != nil {
			return err
		}
		if len(content) > maxFile {
			return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_TOO_LARGE, "%q is %d bytes and an answer holds %d; clone the repository", req.GetPath(), len(content), maxFile)
		}
		answer = &committerv1.FileAt{Commit: treeText(c.Hash), File: &committerv1.File{Path: req.GetPath(), Id: e.Hash.String(), Content: content}}
		return nil
	})
	return answer, err
}

// CompareCommits tells which files differ between two commits. Errors: those of GetCommit.
func (s *Service) CompareCommits(ctx context.Context, req *committerv1.CompareCommitsRequest) (*committerv1.Comparison, error) {
	if err := validatePath(req.GetPath()); err != nil {
		return nil, err
	}
	var answer *committerv1.Comparison
	err := s.readingAt(ctx, req.GetRepository(), func(v *view) error {
		sides := sides{path: req.GetPath(), namesOnly: req.GetNamesOnly()}
		var err error
		if sides.head, err = s.commitAt(ctx, v, req.GetRepository(), req.GetHead(), req.GetPath()); err != nil {
			return err
		}
		if req.GetBase() != "" {
			if sides.base, err = s.commitAt(ctx, v, req.GetRepository(), req.GetBase(), req.GetPath()); err != nil {
				return err
			}
		}
		answer, err = s.compare(ctx, v, sides)
		return err
	})
	return answer, err
}

// commitAt gives a commit by its id, or the tip's; the zero Commit for that of an empty branch. With a path, it must be in the
// history of the branch: who may read one environment's folder must not see with a commit of another branch, which may hold
// another environment at the same path, what stands there.
func (s *Service) commitAt(ctx context.Context, v *view, ref *committerv1.RepositoryRef, id, path string) (git.Commit, error) {
	tip, err := s.views.tip(ctx, v, ref.GetBranch())
	if err != nil {
		return git.Commit{}, err
	}
	if id == "" {
		if tip.IsZero() {
			return git.Commit{}, nil
		}
		return v.remote.Commit(ctx, tip)
	}
	commit := git.NewHash(id)
	if commit.IsZero() {
		return git.Commit{}, errs.InvalidField("commit", "is not an object id of 40 hexadecimal digits")
	}
	if path != "" {
		there, err := git.Contains(ctx, v.remote, tip, commit, maxWalk)
		if err != nil {
			return git.Commit{}, err
		}
		if !there {
			return git.Commit{}, errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND,
				"commit %s is not in the history of branch %s", commit, ref.GetBranch()).With("commit", commit.String()).Because(git.ErrMissing)
		}
	}
	return v.remote.Commit(ctx, commit)
}

// readingAt is reading for what is asked for by a commit's id: that may have come after the last fetch, and is looked for once more
// on the branch as it is now.
func (s *Service) readingAt(ctx context.Context, ref *committerv1.RepositoryRef, fn func(*view) error) error {
	return s.reading(ctx, ref, func(v *view) error {
		start := time.Now()
		err := fn(v)
		if !errors.Is(err, git.ErrMissing) {
			return err
		}
		if _, err := s.views.fetch(ctx, v, ref.GetBranch(), start); err != nil {
			return err
		}
		return fn(v)
	})
}

func validatePath(path string) error {
	if path == "" {
		return nil
	}
	return git.ValidatePath(path)
}

func atCommit(c git.Commit) string {
	if c.Hash.IsZero() {
		return "the tip of an empty branch"
	}
	return "commit " + c.Hash.String()
}

// signatureFormat tells whose signature a commit carries by how it begins.
func signatureFormat(c git.Commit) string {
	switch {
	case strings.HasPrefix(c.Signature, "-----BEGIN SSH SIGNATURE-----"):
		return "ssh"
	case strings.HasPrefix(c.Signature, "-----BEGIN PGP "):
		return "gpg"
	default:
		return ""
	}
}

// clip makes text of what somebody wrote: valid UTF-8, as messages need it, and not longer than they may be.
func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
