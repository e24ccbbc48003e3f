package committer

import (
	"bytes"
	"context"
	"errors"
	"path"
	"slices"
	"unicode/utf8"

	udiff "github.com/aymanbagabas/go-udiff"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/manifest"
)

const (
	// maxChanged is how many files a comparison names.
	maxChanged = 2000
	// maxDiffs bounds the unified diffs of one comparison, in bytes.
	maxDiffs = 4 << 20
	// maxDiffed is the largest file that is compared line by line.
	maxDiffed = 1 << 20
	// diffBatch is how many files' contents are fetched and held at once.
	diffBatch = 64
)

// sides are what is compared: two commits, the zero Commit for nothing, below a path.
type sides struct {
	base, head git.Commit
	path       string
	namesOnly  bool
}

func (s *Service) compare(ctx context.Context, v *view, c sides) (*committerv1.Comparison, error) {
	answer := &committerv1.Comparison{Base: treeText(c.base.Hash), Head: treeText(c.head.Hash)}
	var found []git.Difference
	err := differences(ctx, v.remote, c, func(d git.Difference) error {
		answer.Total++
		if len(found) < maxChanged {
			found = append(found, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	left := maxDiffs
	for batch := range slices.Chunk(found, diffBatch) {
		if !c.namesOnly && left > 0 {
			if err := git.Prefetch(ctx, v.remote, blobsOf(batch)); err != nil {
				return nil, err
			}
		}
		for _, d := range batch {
			f := &committerv1.ChangedFile{Path: clip(d.Path, git.MaxPathLength), Action: actionOf(d)}
			answer.Files = append(answer.Files, f)
			if c.namesOnly {
				continue
			}
			if left, err = addDiff(ctx, v.remote, f, d, left); err != nil {
				return nil, err
			}
		}
	}
	return answer, nil
}

// addDiff adds the unified diff, or notes that it is left out, and gives how many bytes there is room for after it.
func addDiff(ctx context.Context, r git.Reader, f *committerv1.ChangedFile, d git.Difference, left int) (int, error) {
	f.DiffOmitted = true
	if left <= 0 {
		return left, nil
	}
	diff, ok, err := unifiedDiff(ctx, r, f, d)
	if err != nil || !ok {
		return left, err
	}
	if left -= len(diff); left >= 0 {
		f.Diff, f.DiffOmitted = diff, false
	}
	return left, nil
}

// differences tells the files that differ below the path, with paths relative to it. Where the path is a file, it has its own name.
func differences(ctx context.Context, r git.Reader, c sides, fn func(git.Difference) error) error {
	was, err := entryAt(ctx, r, c.base.Tree, c.path)
	if err != nil {
		return err
	}
	is, err := entryAt(ctx, r, c.head.Tree, c.path)
	if err != nil || was == is {
		return err
	}
	var file git.Difference
	folders := [2]git.Hash{was.Hash, is.Hash}
	if !was.Hash.IsZero() && !was.IsDir() {
		file.Before, folders[0] = was, git.ZeroHash
	}
	if !is.Hash.IsZero() && !is.IsDir() {
		file.After, folders[1] = is, git.ZeroHash
	}
	if file != (git.Difference{}) {
		file.Path = path.Base(c.path)
		if err := fn(file); err != nil {
			return err
		}
	}
	return git.CompareTrees(ctx, r, folders[0], folders[1], fn)
}

// entryAt gives the entry at a path of a tree; the zero Entry when nothing is there.
func entryAt(ctx context.Context, r git.Reader, root git.Hash, path string) (git.Entry, error) {
	e, err := git.Lookup(ctx, r, root, path)
	if errors.Is(err, git.ErrNotFound) {
		return git.Entry{}, nil
	}
	return e, err
}

func actionOf(d git.Difference) committerv1.ChangedFile_Action {
	switch {
	case d.Before.Hash.IsZero():
		return committerv1.ChangedFile_ACTION_ADD
	case d.After.Hash.IsZero():
		return committerv1.ChangedFile_ACTION_DELETE
	default:
		return committerv1.ChangedFile_ACTION_MODIFY
	}
}

func blobsOf(batch []git.Difference) []git.Hash {
	var out []git.Hash
	for _, d := range batch {
		for _, e := range []git.Entry{d.Before, d.After} {
			if hasText(e) {
				out = append(out, e.Hash)
			}
		}
	}
	return out
}

// hasText tells entries with content of their own, the target of a link being its content, from submodules and from nothing.
func hasText(e git.Entry) bool { return !e.Hash.IsZero() && (e.Mode.IsFile() || e.Mode == symlink) }

// unifiedDiff gives the difference for people, with the values of Secrets masked; false for what is no text or too
// large.
func unifiedDiff(ctx context.Context, r git.Reader, f *committerv1.ChangedFile, d git.Difference) (string, bool, error) {
	from, to := "a/"+f.GetPath(), "b/"+f.GetPath()
	switch f.GetAction() {
	case committerv1.ChangedFile_ACTION_ADD:
		from = "/dev/null"
	case committerv1.ChangedFile_ACTION_DELETE:
		to = "/dev/null"
	default:
	}
	before, ok, err := textOf(ctx, r, d.Before)
	if err != nil || !ok {
		return "", false, err
	}
	after, ok, err := textOf(ctx, r, d.After)
	if err != nil || !ok {
		return "", false, err
	}
	return udiff.Unified(from, to, before, after), true, nil
}

// textOf gives a file's content as it may be shown; false for what is no text or too large to be compared by lines.
func textOf(ctx context.Context, r git.Reader, e git.Entry) (string, bool, error) {
	if e.Hash.IsZero() {
		return "", true, nil
	}
	if !hasText(e) {
		return "", false, nil
	}
	data, err := r.Blob(ctx, e.Hash)
	if err != nil {
		return "", false, err
	}
	if len(data) > maxDiffed || bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) {
		return "", false, nil
	}
	return string(manifest.MaskFile(data)), true, nil
}
