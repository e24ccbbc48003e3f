package git

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// commitQueue gives commits newest first.
type commitQueue []Commit

func (q commitQueue) Len() int           { return len(q) }
func (q commitQueue) Less(i, j int) bool { return q[i].CommitTime.After(q[j].CommitTime) }
func (q commitQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push and Pop are for container/heap.
func (q *commitQueue) Push(x any) { *q = append(*q, x.(Commit)) }

// Pop is for container/heap.
func (q *commitQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// clockSkew is by how much a commit may claim to be older than its parent.
const clockSkew = 24 * time.Hour

// isAncestor says whether a push from old to new only adds commits. Commits that are clearly older than old are not followed.
func isAncestor(ctx context.Context, r Reader, old, new Hash) (bool, error) {
	target, err := r.Commit(ctx, old)
	if err != nil {
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
		if err == nil && !c.CommitTime.Before(target.CommitTime.Add(-clockSkew)) {
			heap.Push(&q, c)
		}
		return err
	}
	if err := add(new); err != nil {
		return false, err
	}
	for !seen[old] && q.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		c, _ := heap.Pop(&q).(Commit)
		for _, p := range c.Parents {
			if err := add(p); err != nil {
				return false, err
			}
		}
	}
	return seen[old], nil
}

// selection is what a client gets: the commits in the order found (newest first) and the ids of all objects.
type selection struct {
	st      *store
	noBlobs bool
	seen    map[Hash]struct{}
	objects []Hash
}

// walk is one client's wish.
type walk struct {
	wants    []Hash
	haves    []Hash            // commits that both have
	theirs   map[Hash]struct{} // where the client's own history is cut
	boundary map[Hash]struct{} // where the answer's history is cut; nil: as the client's
	noBlobs  bool              // files are left out, except those that are wanted by their ids
}

const (
	paintWant = 1 << iota
	paintHave
)

// commits gives the commits that the client wants and does not have. It paints from both ends, newest first, and stops when
// only painted-as-had commits are left: what the client has is not walked to its beginning.
func (w walk) commits(ctx context.Context, st *store) (wanted []Commit, had map[Hash]Commit, err error) {
	paint := map[Hash]int{}
	queued := map[Hash]Commit{}
	had = map[Hash]Commit{}
	var q commitQueue
	open := 0 // commits in the queue that are wanted and not had
	mark := func(h Hash, color int) error {
		before := paint[h]
		if before|color == before {
			return nil
		}
		paint[h] |= color
		if c, waiting := queued[h]; waiting {
			if before == paintWant && color == paintHave {
				open--
			}
			queued[h] = c
			return nil
		}
		c, err := st.Commit(ctx, h)
		if err != nil {
			return err
		}
		queued[h] = c
		if paint[h] == paintWant {
			open++
		}
		heap.Push(&q, c)
		return nil
	}
	for color, ids := range map[int][]Hash{paintWant: w.wants, paintHave: w.haves} {
		for _, h := range ids {
			if err := mark(h, color); err != nil {
				return nil, nil, err
			}
		}
	}
	// A client that asks for what is behind its cut gets it although it has what is before it.
	deepening := w.boundary != nil && len(w.theirs) > 0
	for (open > 0 || deepening) && q.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		c, _ := heap.Pop(&q).(Commit)
		delete(queued, c.Hash)
		color := paint[c.Hash]
		if color == paintWant {
			open--
			wanted = append(wanted, c)
		} else {
			had[c.Hash] = c
		}
		for _, p := range c.Parents {
			if next := w.passes(c.Hash, color); next != 0 {
				if err := mark(p, next); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	for h, c := range queued {
		if paint[h]&paintHave != 0 {
			had[h] = c
		}
	}
	return wanted, had, nil
}

// passes gives the paint that goes on to a commit's parents: not past where the history of the one or the other is cut.
func (w walk) passes(h Hash, color int) int {
	if _, cut := w.theirs[h]; cut {
		color &^= paintHave
	}
	cuts := w.boundary
	if cuts == nil {
		cuts = w.theirs
	}
	if _, cut := cuts[h]; cut {
		color &^= paintWant
	}
	return color
}

// selectObjects gives all objects that the client lacks. Commits are taken oldest first, and of one whose first parent the
// client has or is complete in the answer by then, only what differs from that parent is looked at.
func (w walk) selectObjects(ctx context.Context, st *store) (*selection, error) {
	wanted, had, err := w.commits(ctx, st)
	if err != nil {
		return nil, err
	}
	complete := make(map[Hash]Hash, len(wanted)+len(had)) // commit -> tree
	fallback := ZeroHash
	for h, c := range had {
		complete[h] = c.Tree
		fallback = c.Tree
	}
	s := &selection{st: st, noBlobs: w.noBlobs, seen: map[Hash]struct{}{}}
	for _, c := range wanted {
		s.add(c.Hash)
	}
	for _, c := range slices.Backward(wanted) {
		base := fallback
		if len(c.Parents) > 0 {
			if tree, ok := complete[c.Parents[0]]; ok {
				base = tree
			}
		}
		if err := s.addTree(ctx, c.Tree, base); err != nil {
			return nil, err
		}
		complete[c.Hash] = c.Tree
	}
	return s, nil
}

func (s *selection) add(h Hash) bool {
	if _, ok := s.seen[h]; ok {
		return false
	}
	s.seen[h] = struct{}{}
	s.objects = append(s.objects, h)
	return true
}

// addTree adds a tree and what is in it, without what is the same in base.
func (s *selection) addTree(ctx context.Context, tree, base Hash) error {
	if tree == base || !s.add(tree) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := s.st.Tree(ctx, tree)
	if err != nil {
		return err
	}
	before, err := s.st.RawTree(ctx, base)
	if err != nil {
		return err
	}
	old := make(map[string]rawEntry)
	for e := range rawEntries(before) {
		if e.end > 0 {
			old[string(e.name)] = e
		}
	}
	for _, e := range entries {
		was, both := old[e.Name]
		switch {
		case both && was.hash() == e.Hash || e.Mode == filemode.Submodule:
		case !e.IsDir():
			if !s.noBlobs {
				s.add(e.Hash)
			}
		default:
			base := ZeroHash
			if both && was.isDir() {
				base = was.hash()
			}
			if err := s.addTree(ctx, e.Hash, base); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutAt gives where a history of the given depth ends, and the commits that are in it before that end. A depth of one is the
// wanted commits alone.
func cutAt(ctx context.Context, r Reader, wants []Hash, depth int) (boundary, inside map[Hash]struct{}, err error) {
	boundary, inside = map[Hash]struct{}{}, map[Hash]struct{}{}
	level := wants
	for d := 1; len(level) > 0; d++ {
		var next []Hash
		for _, h := range level {
			if _, seen := inside[h]; seen {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			c, err := r.Commit(ctx, h)
			if err != nil {
				return nil, nil, err
			}
			if d >= depth && len(c.Parents) > 0 {
				boundary[h] = struct{}{}
				continue
			}
			inside[h] = struct{}{}
			next = append(next, c.Parents...)
		}
		level = next
	}
	for h := range inside {
		delete(boundary, h)
	}
	return boundary, inside, nil
}
