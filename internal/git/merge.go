package git

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// Layer is one of the trees that MergeTrees lays on top of each other, with where it can be read. The zero Hash and EmptyTree are
// empty.
type Layer struct {
	Reader TreeReader
	Tree   Hash
}

// MergeTrees gives the id of the tree that holds the files of all layers together. Only folders that several layers have are
// read, and no file; nothing is stored. Where two layers have the same file, or one has a file and another a folder of the same
// name, the first one counts and clash is called with the path, when it is not nil; its error ends the merge. A tree that cannot be
// had is ErrMissing.
func MergeTrees(ctx context.Context, layers []Layer, clash func(path string) error) (Hash, error) {
	m := merger{clash: clash}
	h, err := m.merge(ctx, "", layers)
	if h.IsZero() && err == nil {
		h = EmptyTree
	}
	return h, err
}

type merger struct{ clash func(string) error }

func (m merger) merge(ctx context.Context, at string, layers []Layer) (Hash, error) {
	var full []Layer
	for _, l := range layers {
		if !l.Tree.IsZero() && l.Tree != EmptyTree {
			full = append(full, l)
		}
	}
	switch len(full) {
	case 0:
		return ZeroHash, nil
	case 1:
		return full[0].Tree, nil
	}
	entries, below, err := m.collect(ctx, at, full)
	if err != nil {
		return ZeroHash, err
	}
	for i, e := range entries {
		if len(below[e.Name]) < 2 {
			continue
		}
		if entries[i].Hash, err = m.merge(ctx, at+e.Name+"/", below[e.Name]); err != nil {
			return ZeroHash, err
		}
	}
	return hashObject(plumbing.TreeObject, encodeTree(entries)), nil
}

// collect gives each name once, and the folders of that name.
func (m merger) collect(ctx context.Context, at string, layers []Layer) ([]Entry, map[string][]Layer, error) {
	var entries []Entry
	seen := map[string]Entry{}
	below := map[string][]Layer{}
	for _, l := range layers {
		raw, err := l.Reader.RawTree(ctx, l.Tree)
		if err != nil {
			return nil, nil, fmt.Errorf("read the folder %q: %w", at, err)
		}
		its, err := decodeTree(raw)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range its {
			first, again := seen[e.Name]
			switch {
			case !again:
				seen[e.Name] = e
				entries = append(entries, e)
			case first.IsDir() && e.IsDir():
			case m.clash != nil:
				if err := m.clash(at + e.Name); err != nil {
					return nil, nil, err
				}
				continue
			default:
				continue
			}
			if e.IsDir() {
				below[e.Name] = append(below[e.Name], Layer{Reader: l.Reader, Tree: e.Hash})
			}
		}
	}
	return entries, below, nil
}
