package git

import (
	"context"
	"errors"
)

// LastChange gives the newest commit, from the commit `from` on, that changed the entry at path; of a merge, the one on the side
// that brought what stands there. At most `scan` commits are looked at. ok is false when none of them is it, or when history is cut
// before anybody could tell.
func LastChange(ctx context.Context, r Reader, from Hash, path string, scan int) (found Commit, ok bool, err error) {
	if from.IsZero() {
		return Commit{}, false, nil
	}
	cur, err := r.Commit(ctx, from)
	if err != nil {
		return Commit{}, false, err
	}
	now, err := entryOrNothing(ctx, r, cur.Tree, path)
	if err != nil {
		return Commit{}, false, err
	}
	for ; scan > 0; scan-- {
		if len(cur.Parents) == 0 {
			return cur, !now.Hash.IsZero(), nil
		}
		next, same, err := sameParent(ctx, r, cur, now, path)
		if errors.Is(err, ErrMissing) {
			return Commit{}, false, nil
		}
		if err != nil {
			return Commit{}, false, err
		}
		if !same {
			return cur, true, nil
		}
		cur = next
	}
	return Commit{}, false, nil
}

// sameParent gives the first parent that has the same entry at the path.
func sameParent(ctx context.Context, r Reader, c Commit, now Entry, path string) (Commit, bool, error) {
	for _, h := range c.Parents {
		parent, err := r.Commit(ctx, h)
		if err != nil {
			return Commit{}, false, err
		}
		if parent.Tree == c.Tree {
			return parent, true, nil
		}
		before, err := entryOrNothing(ctx, r, parent.Tree, path)
		if err != nil {
			return Commit{}, false, err
		}
		if before == now {
			return parent, true, nil
		}
	}
	return Commit{}, false, nil
}
