package auditlog

import (
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Kept is how many events are remembered.
	Kept = 20_000
	// Minutes is how long they are.
	Minutes = 30 * time.Minute
)

// Log remembers the last writes to a cluster. It is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	ring  []Event // oldest first, from head on
	head  int
	first uint64 // number of the event at head
	byRef map[ref][]uint64
}

// ref names an object, or with an empty name all of a kind in a namespace.
type ref struct{ group, resource, namespace, name string }

// New makes an empty Log.
func New() *Log { return &Log{byRef: map[ref][]uint64{}} }

func (e *Event) ref() ref { return ref{e.Group, e.Resource, e.Namespace, e.Name} }

// Add remembers an event, and forgets the oldest where there are too many.
func (l *Log) Add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ring)-l.head >= Kept || len(l.ring) > l.head && e.Ended.Sub(l.ring[l.head].Ended) > Minutes {
		l.forget()
	}
	if l.head > 1024 && l.head > len(l.ring)/2 {
		l.ring = append(make([]Event, 0, 2*(len(l.ring)-l.head)+16), l.ring[l.head:]...)
		l.head = 0
	}
	r := e.ref()
	l.byRef[r] = append(l.byRef[r], l.first+uint64(len(l.ring)-l.head))
	l.ring = append(l.ring, e)
}

// forget drops the oldest event. It needs the mutex.
func (l *Log) forget() {
	r := l.ring[l.head].ref()
	if rest := l.byRef[r][1:]; len(rest) == 0 {
		delete(l.byRef, r)
	} else {
		l.byRef[r] = rest
	}
	l.ring[l.head] = Event{}
	l.head++
	l.first++
}

// Question asks who made a change.
type Question struct {
	// The object.
	Group, Resource, Namespace, Name string
	// Deletion asks who deleted the object, else who wrote it.
	Deletion bool
	// Manager and Operation are as managedFields has them, "Update/scale"; empty when they are not known.
	Manager, Operation string
	// At is when the manager wrote, by the API server's clock in whole seconds; zero when it is not known.
	At time.Time
	// The change was made between Earliest and Latest, where At is not known; zero for no bound.
	Earliest, Latest time.Time
	// Version is the resourceVersion that the change made, if known.
	Version string
	// Not is a user agent that it was not: our own.
	Not string
}

// Slack is how far the clocks of the API server and ours may differ.
const Slack = 5 * time.Second

// Who gives the last write that fits by each person that it may have been: none, the one who did it, or several when the log
// cannot tell them apart.
func (l *Log) Who(q Question) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	refs := []ref{{q.Group, q.Resource, q.Namespace, q.Name}}
	if q.Deletion {
		// By a deletion of several, or with the namespace.
		refs = append(refs, ref{q.Group, q.Resource, q.Namespace, ""}, ref{"", "namespaces", q.Namespace, q.Namespace}, ref{"", "namespaces", "", q.Namespace})
	}
	var out []Event
	for _, r := range refs {
		for _, n := range slices.Backward(l.byRef[r]) {
			e := &l.ring[l.head+int(n-l.first)]
			if !q.fits(e) {
				continue
			}
			if q.Version != "" && e.Version == q.Version {
				return []Event{*e}
			}
			if !slices.ContainsFunc(out, func(o Event) bool { return o.User == e.User }) {
				out = append(out, *e)
			}
		}
	}
	return out
}

func (q *Question) fits(e *Event) bool {
	deletes := e.Verb == "delete" || e.Verb == "deletecollection"
	switch {
	case q.Not != "" && e.UserAgent == q.Not, deletes != q.Deletion, e.Subresource == "status", deletes && e.Subresource != "":
		return false
	case !q.At.IsZero():
		if q.At.Before(e.Began.Truncate(time.Second).Add(-time.Second)) || q.At.After(e.Ended.Add(time.Second)) {
			return false
		}
	case !q.Earliest.IsZero() && e.Ended.Before(q.Earliest.Add(-Slack)), !q.Latest.IsZero() && e.Began.After(q.Latest.Add(Slack)):
		return false
	}
	if q.Deletion || q.Manager == "" {
		return true
	}
	// The API server has an apply in the log as a patch, so an apply and an update of one manager look alike.
	_, subresource, _ := strings.Cut(q.Operation, "/")
	return e.Manager == q.Manager && (q.Operation == "" || e.Subresource == subresource)
}
