package drift

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

const (
	// removePoll is how often removal looks whether finalizers are through.
	removePoll = 100 * time.Millisecond
	// removePatience is how long something may take to go before it is told what is waited for.
	removePatience = 2 * time.Second
)

// holdup is what a removal waits for.
type holdup struct {
	e     *environment
	want  *eventsv1.DesiredState
	since time.Time
	told  string
	count int
}

func (e *environment) waitFor(want *eventsv1.DesiredState) *holdup {
	return &holdup{e: e, want: want, since: e.svc.cfg.Now()}
}

// wait waits for the next look, and tells what is still there once that has taken some time, each reason once.
func (h *holdup) wait(ctx context.Context, there []string) error {
	slices.Sort(there)
	reason := summarise(there)
	if now := h.e.svc.cfg.Now(); reason != h.told && now.Sub(h.since) >= removePatience {
		h.told = reason
		h.count++
		h.e.mu.Lock()
		h.e.holdup = reason
		h.e.mu.Unlock()
		h.e.tell()
		h.e.announceHoldup(h.want, "the removal waits until it is gone: "+reason, h.count, now)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(removePoll):
		return nil
	}
}

// whyThere says which finalizers keep an object.
func whyThere(u *unstructured.Unstructured) string {
	name := u.GetKind() + " " + u.GetName()
	switch f := u.GetFinalizers(); {
	case u.GetDeletionTimestamp() == nil:
		return name + " (not yet deleted)"
	case len(f) > 0:
		return name + " (finalizer " + strings.Join(f, ", ") + ")"
	}
	return name + " (being deleted)"
}

// whyNamespace says what keeps a namespace, in the cluster's words.
func whyNamespace(ns *unstructured.Unstructured) []string {
	var out []string
	conditions, _, _ := unstructured.NestedSlice(ns.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		typ, _ := m["type"].(string)
		message, _ := m["message"].(string)
		if m["status"] == "True" && (typ == "NamespaceContentRemaining" || typ == "NamespaceFinalizersRemaining") {
			out = append(out, shortText(message))
		}
	}
	if len(out) == 0 {
		return []string{whyThere(ns)}
	}
	return []string{"Namespace " + ns.GetName() + " (" + strings.Join(out, "; ") + ")"}
}

func (e *environment) announceHoldup(want *eventsv1.DesiredState, reason string, count int, now time.Time) {
	e.svc.out.send(announcement{
		env: e.name, typ: "deployment.waiting", resource: want.GetDeployment(), time: now,
		id:   want.GetDeployment() + "/waiting@" + strconv.FormatInt(now.UnixNano(), 10),
		body: &eventsv1.DeploymentWaiting{Deployment: want.GetDeployment(), Stage: "sync", Reason: reason, Attempts: int32(count)},
	})
}
