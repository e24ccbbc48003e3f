// Package treeid computes Git's object ids for a set of files in memory, without Git. The tree id is the id of a bundle: it is
// what the no-change test, redelivery, plans and the determinism test compare. It belongs to the pure part of the renderer
// and so must not import a Git library.
package treeid

import (
	"crypto/sha1" //nolint:gosec // Git's object ids are SHA-1; where an id is an approval, Digest stands beside it
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

// node is a folder on its way to a tree object: an entry is either a blob id or a folder.
type node struct {
	blobs   map[string][sha1.Size]byte
	folders map[string]*node
}

// Of gives the hex id of the Git tree that holds the files by slash-separated path, every one a regular file (mode 100644).
// It equals what `git write-tree` prints for them. A path that is empty, absolute, not clean, holds a NUL or a ".git"
// element, or is a folder of another path is an errs.Invalid error (REASON_INVALID_PATH).
func Of(files map[string][]byte) (string, error) {
	root := newNode()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := root.add(path, files[path]); err != nil {
			return "", err
		}
	}
	id := root.id()
	return hex.EncodeToString(id[:]), nil
}

// Digest gives the hex SHA-256 over the sorted list of "path NUL hex-digest newline" lines, each digest the SHA-256 of one
// file. It identifies the same content as the tree id where SHA-1 is not strong enough, such as in an approval.
func Digest(files map[string][]byte) string {
	sum := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		digest := sha256.Sum256(files[path])
		fmt.Fprintf(sum, "%s\x00%x\n", path, digest)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func newNode() *node {
	return &node{blobs: map[string][sha1.Size]byte{}, folders: map[string]*node{}}
}

func (n *node) add(path string, content []byte) error {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") || strings.ContainsRune(part, 0) {
			return invalid(path, "is not a clean relative path")
		}
		if i == len(parts)-1 {
			if n.folders[part] != nil {
				return invalid(path, "is a file and a folder at once")
			}
			n.blobs[part] = object("blob", content)
			return nil
		}
		if _, taken := n.blobs[part]; taken {
			return invalid(path, "lies below a file")
		}
		if n.folders[part] == nil {
			n.folders[part] = newNode()
		}
		n = n.folders[part]
	}
	return nil
}

// id writes the tree object. Git sorts entries by name as if a folder's name ended in a slash.
func (n *node) id() [sha1.Size]byte {
	keys := slices.Collect(maps.Keys(n.blobs))
	for name := range n.folders {
		keys = append(keys, name+"/")
	}
	slices.Sort(keys)
	var body []byte
	for _, key := range keys {
		mode, id := "100644 ", n.blobs[key]
		if name, folder := strings.CutSuffix(key, "/"); folder {
			mode, id, key = "40000 ", n.folders[name].id(), name
		}
		body = append(body, mode...)
		body = append(body, key...)
		body = append(body, 0)
		body = append(body, id[:]...)
	}
	return object("tree", body)
}

func object(kind string, body []byte) (id [sha1.Size]byte) {
	sum := sha1.New() //nolint:gosec // see above
	fmt.Fprintf(sum, "%s %d\x00", kind, len(body))
	sum.Write(body)
	copy(id[:], sum.Sum(nil))
	return id
}

func invalid(path, problem string) error {
	e := errs.InvalidField(path, "%s", problem)
	e.Reason = errorsv1.Reason_REASON_INVALID_PATH
	return e
}
