package git

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// get reads an object that the mirror has, or fetches it.
func (m *mirror) get(ctx context.Context, h Hash, typ plumbing.ObjectType) ([]byte, error) {
	data, err := m.store().typed(h, typ)
	if err == nil || !disposable(err) {
		return data, err
	}
	if err := m.getMissing(ctx, h, typ, err); err != nil {
		return nil, err
	}
	return m.store().typed(h, typ)
}

func (m *mirror) getMissing(ctx context.Context, h Hash, typ plumbing.ObjectType, cause error) error {
	ctx, cancel := m.session(ctx)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	if errors.Is(cause, errCorrupt) {
		m.log.Warn("a mirror is fetched anew", "repository", m.client.base, "reason", cause)
		if err := m.rebuild(); err != nil {
			return fmt.Errorf("rebuild the mirror: %w", err)
		}
	}
	if _, err := m.store().typed(h, typ); err == nil {
		return nil // another reader was faster
	}
	spec := want{ids: []Hash{h}}
	switch typ {
	case plumbing.CommitObject:
		m.behind = min(max(2*m.behind, historyDepth), maxHistory)
		spec.depth, spec.haves, spec.shallows = m.behind, m.haves(), m.shallows
	case plumbing.BlobObject:
		spec.blobs = true
	default: // a tree comes with the trees in it
	}
	err := m.download(ctx, spec)
	var theirs *remoteError
	switch {
	case err == nil && typ == plumbing.CommitObject:
		return m.mendShallows(ctx)
	case err == nil:
		return nil
	case errors.As(err, &theirs):
		// The host does not have the object, or does not give what no branch names.
		return missing(typ.String(), h)
	default:
		return hostError(err)
	}
}

// mendShallows forgets the cuts behind which history goes on by now. Else each further step into the past would leave one more,
// until there are so many that the mirror is fetched anew.
func (m *mirror) mendShallows(ctx context.Context) error {
	st := m.store()
	left := slices.DeleteFunc(slices.Clone(m.shallows), func(h Hash) bool {
		c, err := st.Commit(ctx, h)
		return err == nil && !slices.ContainsFunc(c.Parents, func(p Hash) bool { return !st.has(p) })
	})
	if len(left) == len(m.shallows) {
		return nil
	}
	m.shallows = left
	return m.saveShallows()
}

// prefetchBlobs gets many files in few sessions.
func (m *mirror) prefetchBlobs(ctx context.Context, blobs []Hash) error {
	st := m.store()
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b Hash) int { return slices.Compare(a[:], b[:]) })
	blobs = slices.DeleteFunc(slices.Compact(blobs), st.has)
	for batch := range slices.Chunk(blobs, blobBatch) {
		if err := m.prefetch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirror) prefetch(ctx context.Context, batch []Hash) error {
	ctx, cancel := m.session(ctx)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	err := m.download(ctx, want{ids: batch, blobs: true})
	var theirs *remoteError
	if err == nil || errors.As(err, &theirs) {
		return nil // reading them one by one says which is missing
	}
	return hostError(err)
}

// RawTree gives a tree in Git's encoding.
func (m *mirror) RawTree(ctx context.Context, h Hash) ([]byte, error) {
	if h.IsZero() || h == EmptyTree {
		return nil, nil
	}
	return m.get(ctx, h, plumbing.TreeObject)
}

// Tree gives the entries of a tree.
func (m *mirror) Tree(ctx context.Context, h Hash) ([]Entry, error) {
	raw, err := m.RawTree(ctx, h)
	if err != nil {
		return nil, err
	}
	return decodeTree(raw)
}

// Blob gives a file's content.
func (m *mirror) Blob(ctx context.Context, h Hash) ([]byte, error) {
	return m.get(ctx, h, plumbing.BlobObject)
}

// Commit gives a commit.
func (m *mirror) Commit(ctx context.Context, h Hash) (Commit, error) {
	raw, err := m.get(ctx, h, plumbing.CommitObject)
	if err != nil {
		return Commit{}, err
	}
	return decodeCommit(h, raw)
}
