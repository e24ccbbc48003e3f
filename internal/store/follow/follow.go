// Package follow is the part of KV.Watch that engines with their own change log share: reading the log in pieces and waiting
// for more. Nothing else belongs here.
package follow

import (
	"context"
	"iter"
	"sync"

	"github.com/towpath-dev/towpath/internal/store"
)

// Signal wakes all who wait for the log to grow. The zero Signal is ready to use.
type Signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// Changed gives a channel that the next Notify closes. Take it before reading the log: then no change is missed in between.
func (s *Signal) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// Notify wakes everybody. It never blocks, so a slow watcher cannot hold up a writer.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// Log is a change log as an engine offers it.
type Log interface {
	// Changed gives a channel that is closed when ReadLog may answer differently: on growth, and on close.
	Changed() <-chan struct{}
	// ReadLog gives changes after revision `after` whose key has the prefix, in order and only whole transactions, bounded in
	// number and size, and the revision up to which the log was read: `after` itself when there is nothing newer. It holds no
	// lock when it returns. Its errors are those of KV.Watch.
	ReadLog(prefix string, after int64) (changes []store.Change, next int64, err error)
}

// Watch is KV.Watch over a log.
func Watch(ctx context.Context, log Log, prefix string, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		pos := max(after, 0)
		for {
			changed := log.Changed()
			changes, next, err := log.ReadLog(prefix, pos)
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			for _, c := range changes {
				if err := ctx.Err(); err != nil {
					yield(store.Change{}, err)
					return
				}
				if !yield(c, nil) {
					return
				}
			}
			if next > pos {
				pos = next
				continue
			}
			select {
			case <-ctx.Done():
				yield(store.Change{}, ctx.Err())
				return
			case <-changed:
			}
		}
	}
}
