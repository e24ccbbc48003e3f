package drift

import (
	"container/list"
	"sync"

	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// preparedBytes bounds what is kept of declarations that were made ready to be compared: some two hundred workloads, those that move. To make
// one anew costs some 40 us, and takes no request.
const preparedBytes = 2 << 20

// unpackedTimes is how much more memory a declaration takes decoded than packed, about.
const unpackedTimes = 24

// preparedCache keeps the declarations that were compared last in the form in which they are compared. It is safe for concurrent use.
type preparedCache struct {
	mu    sync.Mutex
	limit int
	used  int
	by    map[*tracked]*list.Element
	order list.List // the most recently used first
}

type preparedEntry struct {
	t    *tracked
	p    *compare.Prepared
	size int
}

func newPreparedCache(limit int) *preparedCache {
	return &preparedCache{limit: limit, by: map[*tracked]*list.Element{}}
}

func (c *preparedCache) get(t *tracked) *compare.Prepared {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.by[t]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*preparedEntry).p
}

func (c *preparedCache) put(t *tracked, p *compare.Prepared, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(t)
	c.by[t] = c.order.PushFront(&preparedEntry{t: t, p: p, size: size})
	for c.used += size; c.used > c.limit && c.order.Len() > 1; {
		c.drop(c.order.Back().Value.(*preparedEntry).t)
	}
}

// forget drops an object whose declaration or baseline changed.
func (c *preparedCache) forget(t *tracked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(t)
}

// clear drops all, as after a kind's schema changed.
func (c *preparedCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.by)
	c.order.Init()
	c.used = 0
}

// drop needs the mutex.
func (c *preparedCache) drop(t *tracked) {
	if el := c.by[t]; el != nil {
		c.used -= el.Value.(*preparedEntry).size
		c.order.Remove(el)
		delete(c.by, t)
	}
}

// prepared gives an object's declaration with its baseline, ready to be compared. It needs the mutex.
func (e *environment) prepared(t *tracked) (*compare.Prepared, error) {
	if p := e.svc.ready.get(t); p != nil {
		return p, nil
	}
	u := t.want.unpackWith(e.sweeper)
	p, err := e.cluster.comparer.Prepare(u, t.baseline())
	if err != nil {
		return nil, unusable(t, err) // what could be prepared once always can
	}
	if e.sweeper != nil {
		return p, nil // a sweep looks at each once, and those that move are of more use in the cache
	}
	e.svc.ready.put(t, p, unpackedTimes*len(t.want)+len(t.key.name))
	return p, nil
}
