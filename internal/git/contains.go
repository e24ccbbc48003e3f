package git

import (
	"container/heap"
	"context"
	"errors"
)

// containsSlop is how many commits in a row may be older than the one looked for before the search ends: a commit carries the time
// at which it was asked for, and may have waited for an approval since, so that times along a branch go up and down.
const containsSlop = 1000

// Contains reports whether a commit is the tip or behind it, by any parents. It looks at `most` commits, the newest first, and
// answers false when it has not found it among them. History that the host does not give counts as not there. Errors: ErrMissing
// when there is no such commit at all.
func Contains(ctx context.Context, r Reader, tip, commit Hash, most int) (bool, error) {
	if tip == commit {
		return !tip.IsZero(), nil
	}
	target, err := r.Commit(ctx, commit)
	if err != nil || tip.IsZero() {
		return false, err
	}
	var q commitQueue
	seen := map[Hash]bool{}
	add := func(h Hash) error {
		if seen[h] {
			return nil
		}
		seen[h] = true
		c, err := r.Commit(ctx, h)
		if errors.Is(err, ErrMissing) {
			return nil
		}
		if err == nil {
			heap.Push(&q, c)
		}
		return err
	}
	if err := add(tip); err != nil {
		return false, err
	}
	older := 0
	for looked := 0; q.Len() > 0 && looked < most && older < containsSlop; looked++ {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		c, _ := heap.Pop(&q).(Commit)
		older++
		if !c.CommitTime.Before(target.CommitTime) {
			older = 0
		}
		for _, p := range c.Parents {
			if p == commit {
				return true, nil
			}
			if err := add(p); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}
