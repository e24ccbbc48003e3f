package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

const (
	// troubleTime bounds how long is asked after a deployment that failed: who waited has waited long enough.
	troubleTime = 5 * time.Second
	// troubleObjects and troubleEvents are how much is told of it; `tow status` and `tow get --events` have the rest.
	troubleObjects = 3
	troubleEvents  = 3
)

// tellTrouble tells which objects of a deployment are not well and what the cluster says of them. What cannot be asked is left out:
// the deployment's own error is told all the same. It gives the first such object, for the hint.
func (t *tow) tellTrouble(ctx context.Context, p *printer, d *catalogv1.Deployment) string {
	if d.GetState() != catalogv1.Deployment_STATE_DEGRADED && d.GetError().GetStage() != "sync" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, troubleTime)
	defer cancel()
	env := envOf(d.GetName())
	status, err := t.client.drift.GetEnvironmentStatus(ctx, &driftv1.GetEnvironmentStatusRequest{Name: env + "/status"})
	if err != nil {
		return ""
	}
	ill := slices.DeleteFunc(slices.Clone(status.GetObjects()), func(o *driftv1.ObjectStatus) bool {
		return o.GetHealth() == driftv1.Health_HEALTH_HEALTHY && o.GetSync() != driftv1.SyncState_SYNC_STATE_FAILED
	})
	slices.SortStableFunc(ill, func(a, b *driftv1.ObjectStatus) int { return illness(b) - illness(a) })
	first := ""
	for i, o := range ill {
		if i == troubleObjects {
			fmt.Fprintf(t.Stderr, "and %s more: tow status -e %s\n", plural(len(ill)-i, "object"), short(env))
			break
		}
		object := strings.ToLower(o.GetKind()) + "/" + o.GetName()
		if first == "" {
			first = object
		}
		why := strings.Join(nonEmpty(o.GetSyncMessage(), o.GetMessage()), "; ")
		fmt.Fprintf(t.Stderr, "%s %s %s\n", object, p.painted(healthName(o.GetHealth())), clean(why))
		t.tellWarnings(ctx, t.Stderr, env, o)
	}
	return first
}

// illness orders objects by how bad they are.
func illness(o *driftv1.ObjectStatus) int {
	switch {
	case o.GetSync() == driftv1.SyncState_SYNC_STATE_FAILED:
		return 2
	case o.GetHealth() == driftv1.Health_HEALTH_DEGRADED:
		return 1
	}
	return 0
}

// tellWarnings writes the cluster's newest warnings about an object and what it owns.
func (t *tow) tellWarnings(ctx context.Context, out io.Writer, env string, o *driftv1.ObjectStatus) {
	ref := &driftv1.ObjectRef{ApiVersion: o.GetApiVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
	l, err := t.client.live.ListObjectEvents(ctx, &driftv1.ListObjectEventsRequest{Parent: env, Object: ref, PageSize: 100})
	if err != nil {
		return
	}
	warnings := slices.DeleteFunc(slices.Clone(l.GetEvents()), func(e *driftv1.ObjectEvent) bool { return e.GetType() != "Warning" })
	slices.SortStableFunc(warnings, func(a, b *driftv1.ObjectEvent) int { return b.GetLastTime().AsTime().Compare(a.GetLastTime().AsTime()) })
	for _, e := range warnings[:min(len(warnings), troubleEvents)] {
		fmt.Fprintf(out, "  %s %s (%d times, last %s): %s\n", e.GetObject().GetKind()+"/"+e.GetObject().GetName(), clean(e.GetReason()),
			max(e.GetCount(), 1), ago(t.Now(), e.GetLastTime().AsTime()), strings.ReplaceAll(clean(e.GetMessage()), "\n", " "))
	}
}

// whatNext says how to go on after a deployment that did not end well.
func whatNext(d *catalogv1.Deployment, object string) string {
	env, number := short(envOf(d.GetName())), last(d.GetName())
	switch d.GetState() {
	case catalogv1.Deployment_STATE_SUPERSEDED:
		return "tow wait -e " + env + " follows the one that took its place"
	case catalogv1.Deployment_STATE_REJECTED, catalogv1.Deployment_STATE_CANCELLED:
		return "tow retry -e " + env + " " + number + " asks for it again"
	}
	var steps []string
	if object != "" {
		steps = append(steps, "tow get -e "+env+" "+object+" --events shows all that the cluster says")
	}
	if d.GetState() == catalogv1.Deployment_STATE_DEGRADED || d.GetError().GetStage() == "sync" {
		steps = append(steps, "tow rollback -e "+env+" goes back to what ran before")
	}
	if len(steps) == 0 {
		return "tow history -e " + env + " " + number + " shows all of it"
	}
	return strings.Join(steps, "; ")
}
