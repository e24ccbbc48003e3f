package drift

import (
	"encoding/json"
	"slices"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// lastRun is what is known of the last sync beside its objects. It is guarded by the environment's mutex.
type lastRun struct {
	// held are objects whose removal waits for a person.
	held []inventoryItem
	// ledger says which hooks have been run, hooks how they were seen last.
	ledger hookLedger
	hooks  map[objectKey]hookState
	// attempts are what came of each object when the last sync did not go through; empty when it did.
	attempts map[objectKey]attempt
	// doing is what the sync waits for or runs now.
	doing string
	// others are what the inventory remembers beside the objects: hooks, and what is no longer declared and still there.
	others []inventoryItem
	// partial is what some objects were applied from alone; nil for none.
	partial *partialState
	// refused counts the attempts in a row that the cluster refused.
	refused int
}

// attempt is what came of applying one object.
type attempt struct {
	apiVersion string
	wave       int32
	// refused is why it failed, empty when it was applied.
	refused string
}

// tried notes what came of applying an object.
func (e *environment) tried(t *tracked, err error) {
	a := attempt{apiVersion: t.gvr.GroupVersion().String(), wave: t.wave}
	if err != nil {
		a.refused = errs.Message(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ran.attempts == nil {
		e.ran.attempts = map[objectKey]attempt{}
	}
	e.ran.attempts[t.key] = a
}

// doing tells what a sync waits for or runs.
func (e *environment) doing(what string) {
	e.mu.Lock()
	changed := e.ran.doing != what
	e.ran.doing = what
	e.mu.Unlock()
	if changed {
		e.tell()
	}
}

// objectSync is how far one object has followed Git. It needs the mutex.
func (e *environment) objectSync(k objectKey, whole driftv1.SyncState) (driftv1.SyncState, string) {
	a, ok := e.ran.attempts[k]
	switch {
	case whole == driftv1.SyncState_SYNC_STATE_UNSPECIFIED || whole == driftv1.SyncState_SYNC_STATE_SYNCED:
		return whole, ""
	case ok && a.refused != "":
		return driftv1.SyncState_SYNC_STATE_FAILED, a.refused
	case ok, errs.ReasonOf(e.failed) == errorsv1.Reason_REASON_PRUNE_HELD:
		return driftv1.SyncState_SYNC_STATE_SYNCED, ""
	case whole == driftv1.SyncState_SYNC_STATE_FAILED:
		return driftv1.SyncState_SYNC_STATE_PENDING, ""
	default:
		return whole, ""
	}
}

// otherObjects are those that a status shows beside what is declared: hooks, and what was never applied. It needs the mutex.
func (e *environment) otherObjects(whole driftv1.SyncState) (out []*driftv1.ObjectStatus) {
	for k, h := range e.ran.hooks {
		out = append(out, &driftv1.ObjectStatus{
			ApiVersion: h.apiVersion, Kind: k.kind, Namespace: k.namespace, Name: k.name,
			Health: h.health, Message: h.message, Wave: h.wave, Hook: string(h.phase), Sync: whole,
		})
	}
	for k, a := range e.ran.attempts {
		if a.refused == "" || e.objects[k] != nil {
			continue
		}
		out = append(out, &driftv1.ObjectStatus{
			ApiVersion: a.apiVersion, Kind: k.kind, Namespace: k.namespace, Name: k.name, Wave: a.wave,
			Sync: driftv1.SyncState_SYNC_STATE_FAILED, SyncMessage: a.refused,
		})
	}
	return out
}

// others are what the inventory remembers beside objects.
func (e *environment) others(objs map[objectKey]*tracked) []inventoryItem {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.ran.others), func(it inventoryItem) bool { return objs[it.key()] != nil })
}

// recallRun takes over what the inventory remembers beside the objects.
func (e *environment) recallRun(inv *inventory, objs, hooks map[objectKey]*tracked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ran.others, e.ran.ledger, e.ran.held, e.ran.hooks = inv.without(objs), inv.hooks, nil, map[objectKey]hookState{}
	for k, h := range hooks {
		s := hookState{apiVersion: h.gvr.GroupVersion().String(), phase: marksOf(h.declared()).Phases[0], wave: h.wave}
		if slices.Contains(inv.hooks.Done, hookName(k, s.phase)) {
			s.health = healthy
		}
		e.ran.hooks[k] = s
	}
	for _, it := range e.ran.others {
		if it.Held {
			e.ran.held = append(e.ran.held, it)
		}
	}
}

// ledgerText is what the inventory keeps of the hooks that were run.
func (e *environment) ledgerText() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ran.ledger.Run == "" {
		return ""
	}
	b, err := json.Marshal(e.ran.ledger)
	if err != nil {
		return "" // texts can always be written
	}
	return string(b)
}

// readLedger reads it; what cannot be read is none, and hooks run again.
func readLedger(text string) (l hookLedger) {
	if json.Unmarshal([]byte(text), &l) != nil {
		return hookLedger{}
	}
	return l
}
