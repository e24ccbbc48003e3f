package git

import (
	"context"
	"path"
)

// Difference is one file that differs between two trees. Before or After is the zero Entry where there is no such file.
type Difference struct {
	Path   string
	Before Entry
	After  Entry
}

// CompareTrees calls fn for every file that differs between the trees a and b, either of which may be the zero Hash, in the order
// of their paths. Folders with the same id are not read: what a comparison costs follows what differs, however large the trees
// are. Whatever is no folder counts as a file, symbolic links and submodules too; a file that became a folder is one file gone and
// others new. An error of fn ends it and is returned.
func CompareTrees(ctx context.Context, r TreeReader, a, b Hash, fn func(Difference) error) error {
	return comparison{r: r, fn: fn}.folders(ctx, "", a, b)
}

type comparison struct {
	r  TreeReader
	fn func(Difference) error
}

func (c comparison) folders(ctx context.Context, at string, a, b Hash) error {
	if a == b {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	before, err := c.entries(ctx, a)
	if err != nil {
		return err
	}
	after, err := c.entries(ctx, b)
	if err != nil {
		return err
	}
	for len(before) > 0 || len(after) > 0 {
		var was, is Entry
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = compareNames([]byte(before[0].Name), before[0].IsDir(), []byte(after[0].Name), after[0].IsDir())
		}
		if order <= 0 {
			was, before = before[0], before[1:]
		}
		if order >= 0 {
			is, after = after[0], after[1:]
		}
		if err := c.entry(ctx, at, was, is); err != nil {
			return err
		}
	}
	return nil
}

// entry compares two entries of one name and kind; one of them may be the zero Entry.
func (c comparison) entry(ctx context.Context, at string, was, is Entry) error {
	name := was.Name
	if name == "" {
		name = is.Name
	}
	name = path.Join(at, name)
	switch {
	case was == is:
		return nil
	case was.IsDir() || is.IsDir():
		return c.folders(ctx, name, was.Hash, is.Hash)
	default:
		return c.fn(Difference{Path: name, Before: was, After: is})
	}
}

func (c comparison) entries(ctx context.Context, h Hash) ([]Entry, error) {
	if h.IsZero() {
		return nil, nil
	}
	raw, err := c.r.RawTree(ctx, h)
	if err != nil {
		return nil, err
	}
	return decodeTree(raw)
}

// Prefetch makes files readable that are about to be read, in few sessions with the host instead of one for each. What the host
// does not have is told by reading it.
func Prefetch(ctx context.Context, r Reader, blobs []Hash) error {
	if pf, ok := r.(prefetcher); ok {
		return pf.prefetchBlobs(ctx, blobs)
	}
	return nil
}
