package git

import (
	"container/list"
	"sync"
)

// cacheBytes bounds the objects that one repository keeps in memory: trees along the touched paths and recent commits. A lane
// that does nothing must stay below 20 MB with all it has.
const cacheBytes = 8 << 20

// objectCache is a least-recently-used cache of objects, bounded by their bytes.
type objectCache struct {
	mu    sync.Mutex
	limit int
	bytes int
	byID  map[Hash]*list.Element
	order *list.List // of cached, the most recently used first
}

type cached struct {
	id Hash
	o  object
}

func newObjectCache(limit int) *objectCache {
	return &objectCache{limit: limit, byID: map[Hash]*list.Element{}, order: list.New()}
}

func (c *objectCache) get(h Hash) (object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[h]
	if !ok {
		return object{}, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).o, true
}

func (c *objectCache) put(h Hash, o object) {
	const overhead = 150 // of map, list and headers, about
	if len(o.data) > c.limit/8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[h]; ok {
		return
	}
	o.base, o.baseData = ZeroHash, nil
	c.byID[h] = c.order.PushFront(cached{id: h, o: o})
	c.bytes += len(o.data) + overhead
	for c.bytes > c.limit {
		last := c.order.Back()
		old := last.Value.(cached)
		c.order.Remove(last)
		delete(c.byID, old.id)
		c.bytes -= len(old.o.data) + overhead
	}
}
