package etcdkv

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/towpath-dev/towpath/internal/store"
)

// One call to etcd costs far more than one more key in it. So reads that begin while others are under way wait for one of those
// to come back and then go together, as one read-only transaction. A reader that is alone waits for nobody. Each read still
// goes out after it began, so it sees all that was committed before.
const (
	maxFlights = 3  // calls under way at once: while one is answered, the next is on its way
	maxGets    = 64 // keys of a call

	// As often as the client itself repeats a read while a member is replaced: for 2.5 s.
	readTries = 100
	readPause = 25 * time.Millisecond
)

// wanted is a read that waits. One of the two comes.
type wanted struct {
	key  string
	done chan struct{}
	resp getResult
}

type getResult struct {
	entry store.Entry
	found bool
	err   error // etcd's own
}

// gets is the queue of reads. The zero value is ready to use.
type gets struct {
	mu      sync.Mutex
	waiting []*wanted
	flights int
}

// batched reads one key, together with what others read at the moment.
func (db *DB) batched(ctx context.Context, key string) (store.Entry, error) {
	call, end, err := db.begin(ctx)
	if err != nil {
		return store.Entry{}, err
	}
	defer end()
	w := &wanted{key: key, done: make(chan struct{})}
	q := &db.gets
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	start := q.flights < maxFlights
	if start {
		q.flights++
		db.calls.Add(1) // Close waits for it; end comes later, so the count is not zero now
	}
	q.mu.Unlock()
	if start {
		go db.fly()
	}
	select {
	case <-w.done:
	case <-call.Done():
		return store.Entry{}, db.fail(ctx, call.Err())
	}
	switch {
	case w.resp.err != nil:
		return store.Entry{}, db.fail(ctx, w.resp.err)
	case !w.resp.found:
		return store.Entry{}, store.NotFound(key)
	}
	return w.resp.entry, nil
}

// fly makes calls until nobody waits.
func (db *DB) fly() {
	defer db.calls.Done()
	for {
		q := &db.gets
		q.mu.Lock()
		batch := q.waiting[:min(len(q.waiting), maxGets)]
		q.waiting = q.waiting[len(batch):]
		if len(q.waiting) == 0 {
			q.waiting = nil // do not hold on to what was answered
		}
		if len(batch) == 0 {
			q.flights--
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		db.answer(batch)
	}
}

// answer reads the keys of a batch at one moment.
func (db *DB) answer(batch []*wanted) {
	ctx, cancel := context.WithTimeout(db.life, db.cfg.RequestTimeout)
	defer cancel()
	ops := make([]clientv3.Op, 0, len(batch))
	for _, w := range batch {
		ops = append(ops, clientv3.OpGet(db.rows+w.key))
	}
	resp, err := db.client.Txn(ctx).Then(ops...).Commit()
	for try := 0; try < readTries && codeOf(err) == codes.Unavailable && ctx.Err() == nil; try++ {
		time.Sleep(readPause) // the client repeats a Get by itself, but no transaction: it might write
		resp, err = db.client.Txn(ctx).Then(ops...).Commit()
	}
	for i, w := range batch {
		w.resp.err = err
		if err == nil {
			if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
				w.resp.entry, w.resp.found = db.entry(kvs[0]), true
			}
		}
		close(w.done)
	}
}
