package events

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// shareTable is what one replica has seen of the bucket of leases. It asks nobody and has no clock, so that who gets what can be
// tested without either.
type shareTable struct {
	replicas map[string]shareRow // session -> its sign of life
	shards   map[string]shareRow // shard -> its holder; a row without session is a shard that was given back
	complete bool                // all that the bucket held at the beginning was seen
}

type shareRow struct {
	session, name string
	place         string
	rev           uint64
	at            time.Time
}

func newShareTable() *shareTable {
	return &shareTable{replicas: map[string]shareRow{}, shards: map[string]shareRow{}}
}

// see notes a key's newest value; a zero value is a key that was removed. It tells whether that gave a shard another holder.
func (t *shareTable) see(key string, v shareValue, rev uint64, now time.Time) (shard string, changed bool) {
	row := shareRow{session: v.Session, name: v.Name, place: v.Place, rev: rev, at: now}
	if id, ok := strings.CutPrefix(key, prefixReplica); ok {
		if old, known := t.replicas[id]; known && old.rev >= rev {
			return "", false
		}
		t.replicas[id] = row
		if v.Session == "" {
			delete(t.replicas, id)
		}
		return "", false
	}
	shard, ok := strings.CutPrefix(key, prefixShard)
	old := t.shards[shard]
	if !ok || old.rev >= rev {
		return "", false
	}
	t.shards[shard] = row
	return shard, old.session != row.session
}

// plan says which shards self should take and which of its own give over. All replicas that see the same come to plans that fit:
// their parts differ by one at most and are all shards together.
func (t *shareTable) plan(self string, shards []string, mine map[string]bool, now time.Time, ttl time.Duration) (take, give []string) {
	alive := []string{self}
	for id, r := range t.replicas {
		if id != self && now.Sub(r.at) <= ttl {
			alive = append(alive, id)
		}
	}
	slices.Sort(alive)
	rank := slices.Index(alive, self)
	part := len(shards) / len(alive)
	if rank < len(shards)%len(alive) {
		part++
	}
	var own, free []string
	for i := range shards {
		shard := shards[(i+rank*len(shards)/len(alive))%len(shards)] // replicas begin at different ends
		holder := t.shards[shard].session
		_, known := t.replicas[holder]
		switch {
		case mine[shard]:
			own = append(own, shard)
		case holder == "" || holder != self && !known:
			free = append(free, shard)
		}
	}
	if len(own) > part {
		return nil, own[part:]
	}
	return free[:min(len(free), part-len(own))], nil
}

func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
