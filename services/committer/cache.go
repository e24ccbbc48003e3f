package committer

import (
	"container/list"
	"sync"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/git"
)

// treeCache keeps the files of trees by tree id, the least recently used going first. An id says what is in a tree, whatever
// the repository, so nothing in it ever becomes wrong; who may read what was decided before it is asked.
type treeCache struct {
	limit int64

	mu    sync.Mutex
	bytes int64
	byID  map[treeKey]*list.Element
	order *list.List // of *cachedTree, the most recently used first
}

// treeKey has the repository beside the id: knowing an id must not be enough to read another repository's files.
type treeKey struct {
	repository string
	tree       git.Hash
	namesOnly  bool
}

type cachedTree struct {
	key   treeKey
	files []*committerv1.File
	bytes int64
}

func newTreeCache(limit int64) *treeCache {
	return &treeCache{limit: limit, byID: map[treeKey]*list.Element{}, order: list.New()}
}

// get gives the files of a tree; they are shared and must not be changed.
func (c *treeCache) get(key treeKey) ([]*committerv1.File, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byID[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*cachedTree).files, true
}

func (c *treeCache) put(key treeKey, files []*committerv1.File) {
	const overhead = 200 // of one file's message and the entry, about
	t := &cachedTree{key: key, files: files, bytes: overhead}
	for _, f := range files {
		t.bytes += int64(len(f.GetPath())+len(f.GetContent())) + overhead
	}
	if t.bytes > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[key]; ok {
		return
	}
	c.byID[key] = c.order.PushFront(t)
	c.bytes += t.bytes
	for c.bytes > c.limit {
		last := c.order.Remove(c.order.Back()).(*cachedTree)
		delete(c.byID, last.key)
		c.bytes -= last.bytes
	}
}
