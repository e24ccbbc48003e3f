// Package syncmark reads the annotations by which a manifest says how it is synced: in which wave, as a hook, and what becomes of the
// object when it is no longer declared. This is the one place that knows their names, Towpath's own and those of Argo CD and Flux
// that are honoured besides. It is pure.
package syncmark

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Towpath's own annotations. Where an object has one of these and one of another tool's for the same, Towpath's holds.
const (
	// Wave is a whole number: objects of a lower wave are applied, and healthy, before those of a higher one. 0 without it.
	Wave = "towpath.dev/sync-wave"
	// Hook makes the object something that each sync runs: PreSync, Sync, PostSync or SyncFail, several with commas; Skip leaves it out.
	Hook = "towpath.dev/hook"
	// HookDelete says when a hook is removed: BeforeHookCreation (without it too), HookSucceeded, HookFailed, several with commas.
	HookDelete = "towpath.dev/hook-delete-policy"
	// Prune with the value "disabled" leaves an object in the cluster that is no longer declared.
	Prune = "towpath.dev/prune"
	// OnRemoval says what happens to an object that is no longer declared or whose environment goes: delete, keep, or snapshot.
	OnRemoval = "towpath.dev/on-removal"
	// HookRun is written to hooks: which run of a sync they are of.
	HookRun = "towpath.dev/hook-run"
)

// Annotations of others that mean the same.
const (
	argoWave       = "argocd.argoproj.io/sync-wave"
	argoHook       = "argocd.argoproj.io/hook"
	argoHookDelete = "argocd.argoproj.io/hook-delete-policy"
	argoOptions    = "argocd.argoproj.io/sync-options"
	fluxPrune      = "kustomize.toolkit.fluxcd.io/prune"
)

// Known reports whether an annotation says how an object is synced, or that it is not to be removed.
func Known(name string) bool {
	switch name {
	case Wave, Hook, HookDelete, Prune, argoWave, argoHook, argoHookDelete, argoOptions, fluxPrune:
		return true
	}
	return false
}

// Phase is when a hook runs.
type Phase string

// The phases, in their order; SyncFail comes only after a sync that failed.
const (
	PreSync  Phase = "PreSync"
	Sync     Phase = "Sync"
	PostSync Phase = "PostSync"
	SyncFail Phase = "SyncFail"
)

const skip = "Skip"

// DeletePolicy is when a hook is removed.
type DeletePolicy string

// When hooks are removed.
const (
	BeforeHookCreation DeletePolicy = "BeforeHookCreation"
	HookSucceeded      DeletePolicy = "HookSucceeded"
	HookFailed         DeletePolicy = "HookFailed"
)

// Marks is what an object's annotations say of its sync.
type Marks struct {
	// Wave is where it comes within its phase.
	Wave int32
	// Phases are when it runs as a hook; empty for an object like others.
	Phases []Phase
	// Delete is when the hook is removed.
	Delete []DeletePolicy
	// Skip says that it is not applied at all.
	Skip bool
}

// IsHook reports whether the object is something that syncs run, and no part of what the environment is.
func (m Marks) IsHook() bool { return len(m.Phases) > 0 }

// Read reads the annotations of an object. Its error names the annotation, what is wrong and what may stand there.
func Read(annotations map[string]string) (Marks, error) {
	var m Marks
	if name, v := first(annotations, Wave, argoWave); name != "" {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
		if err != nil {
			return Marks{}, fmt.Errorf("annotation %s is %q; give a whole number such as -1 or 5", name, clip(v))
		}
		m.Wave = int32(n)
	}
	name, v := first(annotations, Hook, argoHook)
	for _, h := range list(v) {
		switch p := Phase(h); {
		case h == skip:
			m.Skip = true
		case p == PreSync, p == Sync, p == PostSync, p == SyncFail:
			if !slices.Contains(m.Phases, p) {
				m.Phases = append(m.Phases, p)
			}
		case name == argoHook && (h == "PreDelete" || h == "PostDelete"): // Argo CD's, for the removal of an Application
			m.Skip = true
		default:
			return Marks{}, fmt.Errorf("annotation %s is %q; give PreSync, Sync, PostSync, SyncFail or Skip", name, clip(h))
		}
	}
	if m.Skip {
		return Marks{Wave: m.Wave, Skip: true}, nil
	}
	name, v = first(annotations, HookDelete, argoHookDelete)
	for _, d := range list(v) {
		switch p := DeletePolicy(d); p {
		case BeforeHookCreation, HookSucceeded, HookFailed:
			m.Delete = append(m.Delete, p)
		default:
			return Marks{}, fmt.Errorf("annotation %s is %q; give BeforeHookCreation, HookSucceeded or HookFailed", name, clip(d))
		}
	}
	if m.IsHook() && len(m.Delete) == 0 {
		m.Delete = []DeletePolicy{BeforeHookCreation}
	}
	return m, nil
}

// Protected gives the annotation that keeps an object which is no longer declared from being removed, "" for none. It does not hold
// against the removal of the whole environment.
func Protected(annotations map[string]string) string {
	switch {
	case annotations[Prune] == "disabled":
		return Prune + ": disabled"
	case annotations[Prune] != "":
		return ""
	case slices.Contains(list(annotations[argoOptions]), "Prune=false"):
		return argoOptions + ": Prune=false"
	case strings.EqualFold(annotations[fluxPrune], "disabled"):
		return fluxPrune + ": disabled"
	}
	return ""
}

// Removal is what becomes of an object that is no longer declared or whose environment goes.
type Removal string

// What OnRemoval can be. Snapshot keeps the data of a volume claim as a VolumeSnapshot, then deletes the claim.
const (
	RemovalUnsaid Removal = ""
	Delete        Removal = "delete"
	Keep          Removal = "keep"
	Snapshot      Removal = "snapshot"
)

// ReadRemoval reads what an object says of its removal. What cannot be understood is Keep, so that a typing mistake deletes nothing.
func ReadRemoval(annotations map[string]string) Removal {
	switch r := Removal(annotations[OnRemoval]); r {
	case RemovalUnsaid, Delete, Keep, Snapshot:
		return r
	default:
		return Keep
	}
}

// CheckRemoval refuses a value of OnRemoval that means nothing.
func CheckRemoval(annotations map[string]string) error {
	switch v := annotations[OnRemoval]; Removal(v) {
	case RemovalUnsaid, Delete, Keep, Snapshot:
		return nil
	default:
		return fmt.Errorf("annotation %s is %q; give delete, keep or snapshot", OnRemoval, clip(v))
	}
}

// first gives the first of some annotations that is there.
func first(annotations map[string]string, names ...string) (name, value string) {
	for _, n := range names {
		if v, ok := annotations[n]; ok {
			return n, v
		}
	}
	return "", ""
}

func list(s string) (out []string) {
	for _, f := range strings.Split(s, ",") {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

const maxShown = 60

func clip(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return s
}
