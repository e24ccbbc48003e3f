package git

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/towpath-dev/towpath/internal/errs"
)

const symlinkMode = filemode.Symlink

// Change is one edit of a tree at Path. Exactly one of Files, Subtree, Delete and File is given.
type Change struct {
	// Path is where; "" is the root and goes with Files, Subtree and Delete only.
	Path string
	// Files, when not nil, becomes the whole content of the folder Path: files that are there and not in it go away. Paths are
	// relative to Path. An empty map removes the folder.
	Files map[string][]byte
	// Subtree makes Path the folder with this tree id, which the repository must hold. The zero Hash removes it.
	Subtree *Hash
	// Delete removes the file or folder; it is no error when there is none.
	Delete bool
	// File, when not nil, becomes the content of the file Path; an empty, non-nil slice is an empty file.
	File []byte
}

// Splice applies changes, one after the other, to the tree root (the zero Hash for none) and gives the new root. Only the
// trees along the touched paths are read, from objs first and then from src; new trees and files go into objs, what is there
// already does not. Folders that become empty vanish; an empty root is EmptyTree. Errors: errs.Invalid with the path.
func Splice(ctx context.Context, src TreeReader, objs *ObjectSet, root Hash, changes []Change) (Hash, error) {
	top := &edit{}
	for _, c := range changes {
		if err := top.apply(c); err != nil {
			return ZeroHash, err
		}
	}
	s := splicer{src: src, objs: objs}
	h, err := s.folder(ctx, top, root, root)
	if err != nil {
		return ZeroHash, err
	}
	if h.IsZero() {
		objs.add(plumbing.TreeObject, nil)
		return EmptyTree, nil
	}
	return h, nil
}

// TreeID gives the id of the tree that holds exactly these files, with mode 100644: what `git write-tree` says of them. It is
// a bundle's identity. Errors: ValidateFiles'.
func TreeID(files map[string][]byte) (Hash, error) {
	if len(files) == 0 {
		return EmptyTree, nil
	}
	top := &edit{}
	if err := top.apply(Change{Files: files}); err != nil {
		return ZeroHash, err
	}
	return splicer{}.folder(context.Background(), top, ZeroHash, ZeroHash)
}

// edit is what happens to one path: a file, or a folder that begins from what is there, from nothing (replace) or from a
// given tree, and whose kids are edited further.
type edit struct {
	isFile  bool
	file    []byte
	replace bool
	subtree *Hash
	kids    map[string]*edit
	// made tells that something was written below: a file that stood here went then, also when what was written goes again.
	made bool
}

func (e *edit) apply(c Change) error {
	if err := c.validate(); err != nil {
		return err
	}
	at := e
	if c.Path != "" {
		if at = e.at(c.Path, !c.removes()); at == nil {
			return nil
		}
	}
	*at = edit{}
	switch {
	case c.File != nil:
		at.isFile, at.file = true, c.File
	case c.Subtree != nil:
		at.replace = true
		if !c.Subtree.IsZero() && *c.Subtree != EmptyTree {
			at.subtree = c.Subtree
		}
	default:
		at.replace = true
		for p, data := range c.Files {
			f := at.at(p, true)
			f.isFile, f.file = true, data
		}
	}
	return nil
}

// at gives the edit of a path below e. A file on the way becomes a folder when create is set; otherwise there is nothing
// below it and the answer is nil.
func (e *edit) at(path string, create bool) *edit {
	for {
		name, rest, more := strings.Cut(path, "/")
		if e.isFile {
			if !create {
				return nil
			}
			*e = edit{replace: true}
		}
		e.made = e.made || create
		kid := e.kids[name]
		if kid == nil {
			if e.kids == nil {
				e.kids = map[string]*edit{}
			}
			kid = &edit{}
			e.kids[name] = kid
		}
		if !more {
			return kid
		}
		e, path = kid, rest
	}
}

// removes reports whether nothing is there after the change. Then a file on the way to the path stays what it is, whether the
// removal was asked for as such or as a replacement by nothing.
func (c Change) removes() bool {
	return c.Delete || c.File == nil && len(c.Files) == 0 && (c.Subtree == nil || c.Subtree.IsZero() || *c.Subtree == EmptyTree)
}

func (c Change) validate() error {
	given := 0
	for _, is := range []bool{c.Files != nil, c.Subtree != nil, c.Delete, c.File != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errs.InvalidField(c.Path, "has %d of files, subtree, delete and file; give exactly one", given)
	}
	if c.Path != "" {
		if err := ValidatePath(c.Path); err != nil {
			return err
		}
	} else if c.File != nil {
		return invalidPath("", "is empty; name the file")
	}
	for p := range c.Files {
		if n := len(c.Path) + 1 + len(p); n > MaxPathLength {
			return invalidPath(c.Path+"/"+p, "is longer than 1,024 bytes; shorten it")
		}
	}
	return ValidateFiles(c.Files)
}

// splicer builds trees. Without objs it only computes ids.
type splicer struct {
	src  TreeReader
	objs *ObjectSet
}

// piece is the new entry of one name; a zero id removes it.
type piece struct {
	name string
	mode string
	id   Hash
}

func (p piece) isDir() bool { return p.mode == "40000" }

func (s splicer) read(ctx context.Context, h Hash) ([]byte, error) {
	if h.IsZero() || h == EmptyTree {
		return nil, nil
	}
	if s.objs != nil {
		if o, ok := s.objs.get(h); ok && o.typ == plumbing.TreeObject {
			return o.data, nil
		}
	}
	return s.src.RawTree(ctx, h)
}

// folder gives the id of the folder that was base after the edit; the zero Hash when nothing is left in it. prior is what stood at
// the place before, which is base unless that is replaced: what is the same there is in the repository and not written again, and
// what is not is likely to be like it.
func (s splicer) folder(ctx context.Context, e *edit, base, prior Hash) (Hash, error) {
	switch {
	case e.subtree != nil:
		base, prior = *e.subtree, *e.subtree
	case e.replace:
		base = ZeroHash
	}
	if len(e.kids) == 0 {
		return base, nil
	}
	raw, err := s.read(ctx, base)
	if err != nil {
		return ZeroHash, err
	}
	old := make(map[string]rawEntry, len(e.kids))
	var gone []rawEntry // the same in the tree's order
	for entry := range rawEntries(raw) {
		if entry.end < 0 {
			return ZeroHash, malformed(base, entry.start)
		}
		if _, touched := e.kids[string(entry.name)]; touched {
			old[string(entry.name)] = entry
			gone = append(gone, entry)
		}
	}
	there, priorRaw := old, raw
	if prior != base {
		if there, priorRaw, err = s.prior(ctx, e, prior); err != nil {
			return ZeroHash, err
		}
	}
	pieces := make([]piece, 0, len(e.kids))
	for name, kid := range e.kids {
		p, err := s.piece(ctx, name, kid, old, there[name])
		if err != nil {
			return ZeroHash, err
		}
		pieces = append(pieces, p)
	}
	out := mergePieces(raw, pieces, gone)
	switch {
	case len(out) == 0:
		return ZeroHash, nil
	case bytes.Equal(out, raw):
		return base, nil
	case s.objs == nil:
		return hashObject(plumbing.TreeObject, out), nil
	}
	h := hashObject(plumbing.TreeObject, out)
	if h != prior {
		s.objs.put(h, object{typ: plumbing.TreeObject, data: out, base: prior, baseData: priorRaw})
	}
	return h, nil
}

// prior reads the entries of the kids' names in the folder that stood at a place which is replaced.
func (s splicer) prior(ctx context.Context, e *edit, h Hash) (there map[string]rawEntry, raw []byte, err error) {
	if s.objs == nil { // nothing is written
		return nil, nil, nil
	}
	if raw, err = s.read(ctx, h); err != nil {
		return nil, nil, err
	}
	there = make(map[string]rawEntry, len(e.kids))
	for entry := range rawEntries(raw) {
		if entry.end < 0 {
			return nil, nil, corrupt("tree %s is malformed at byte %d", h, entry.start)
		}
		if _, touched := e.kids[string(entry.name)]; touched {
			there[string(entry.name)] = entry
		}
	}
	return there, raw, nil
}

// piece gives the new entry of one name; there is what stood under that name, also when that is replaced.
func (s splicer) piece(ctx context.Context, name string, kid *edit, old map[string]rawEntry, there rawEntry) (piece, error) {
	was, exists := old[name]
	if kid.isFile {
		h := hashObject(plumbing.BlobObject, kid.file)
		isThere := len(there.id) > 0 && !there.isDir() && there.hash() == h
		if s.objs != nil && !isThere {
			s.objs.put(h, object{typ: plumbing.BlobObject, data: kid.file})
		}
		return piece{name: name, mode: modeText(ModeFile), id: h}, nil
	}
	base := ZeroHash
	if exists && was.isDir() {
		base = was.hash()
	}
	prior := ZeroHash
	if len(there.id) > 0 && there.isDir() {
		prior = there.hash()
	}
	h, err := s.folder(ctx, kid, base, prior)
	if err != nil {
		return piece{}, fmt.Errorf("%s: %w", name, err)
	}
	if h.IsZero() && exists && !was.isDir() && !kid.replace && kid.subtree == nil && !kid.made {
		// Something below a file was to be removed: there is nothing below a file, and the file itself stays.
		return piece{name: name, mode: string(was.mode), id: was.hash()}, nil
	}
	return piece{name: name, mode: modeText(ModeDir), id: h}, nil
}

// mergePieces writes the entries of raw without those in gone (in raw's order), and the pieces, in Git's order. Untouched runs
// are copied as they are: a folder of thousands of entries costs one pass.
func mergePieces(raw []byte, pieces []piece, gone []rawEntry) []byte {
	pieces = slices.DeleteFunc(pieces, func(p piece) bool { return p.id.IsZero() })
	slices.SortFunc(pieces, func(a, b piece) int {
		return compareNames([]byte(a.name), a.isDir(), []byte(b.name), b.isDir())
	})
	size := len(raw)
	for _, p := range pieces {
		size += len(p.mode) + len(p.name) + 2 + len(ZeroHash)
	}
	out := make([]byte, 0, size)
	copied := 0
	for e := range rawEntries(raw) {
		if len(pieces) == 0 && len(gone) == 0 {
			break
		}
		for len(pieces) > 0 && compareNames([]byte(pieces[0].name), pieces[0].isDir(), e.name, e.isDir()) <= 0 {
			out = append(out, raw[copied:e.start]...)
			copied = e.start
			out = appendEntry(out, pieces[0].mode, []byte(pieces[0].name), pieces[0].id)
			pieces = pieces[1:]
		}
		if len(gone) > 0 && gone[0].start == e.start {
			out = append(out, raw[copied:e.start]...)
			copied = e.end
			gone = gone[1:]
		}
	}
	out = append(out, raw[copied:]...)
	for _, p := range pieces {
		out = appendEntry(out, p.mode, []byte(p.name), p.id)
	}
	return out
}

// encodeTree writes entries in Git's order.
func encodeTree(entries []Entry) []byte {
	pieces := make([]piece, len(entries))
	for i, e := range entries {
		pieces[i] = piece{name: e.Name, mode: modeText(e.Mode), id: e.Hash}
	}
	return mergePieces(nil, pieces, nil)
}
