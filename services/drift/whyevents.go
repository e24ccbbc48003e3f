package drift

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var eventsResource = schema.GroupVersionResource{Version: "v1", Resource: "events"}

const (
	// maxEvents is how many warnings of a namespace are read at a time.
	maxEvents = 500
	// eventAge is how old a warning may be to explain what is wrong now.
	eventAge = 15 * time.Minute
)

// clusterEvent is a warning about an object.
type clusterEvent struct {
	kind, name, reason, message string
	last                        time.Time
}

// loud are the reasons of warnings by which a cluster says why something does not run. Others, such as a probe that failed once, come
// after them.
var loud = []string{
	"FailedCreate", "FailedScheduling", "Failed", "ErrImagePull", "BackOff", "FailedMount", "FailedAttachVolume", "ProvisioningFailed",
	"FailedCreatePodSandBox", "OOMKilling", "Evicted",
}

// warnings gives the warnings of a namespace, the newest first. It reads from the API server's cache.
func (c *cluster) warnings(ctx context.Context, namespace string) ([]clusterEvent, error) {
	list, err := c.dyn.Resource(eventsResource).Namespace(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "type=Warning", ResourceVersion: "0", Limit: maxEvents,
	})
	if err != nil {
		return nil, clusterError(err, "list events")
	}
	var out []clusterEvent
	for i := range list.Items {
		o := list.Items[i].Object
		var ev clusterEvent
		ev.kind, _, _ = unstructured.NestedString(o, "involvedObject", "kind")
		ev.name, _, _ = unstructured.NestedString(o, "involvedObject", "name")
		ev.reason, _, _ = unstructured.NestedString(o, "reason")
		ev.message, _, _ = unstructured.NestedString(o, "message")
		ev.last = timeOf(o)
		if c.svc.cfg.Now().Sub(ev.last) < eventAge {
			out = append(out, ev)
		}
	}
	slices.SortStableFunc(out, func(a, b clusterEvent) int {
		return cmp.Or(cmp.Compare(loudness(a), loudness(b)), b.last.Compare(a.last))
	})
	return out, nil
}

func loudness(e clusterEvent) int {
	if slices.Contains(loud, e.reason) {
		return 0
	}
	return 1
}

// timeOf is when an event was last seen; the newer kind of events has other fields for it.
func timeOf(o map[string]any) (last time.Time) {
	for _, path := range [][]string{{"series", "lastObservedTime"}, {"lastTimestamp"}, {"eventTime"}, {"metadata", "creationTimestamp"}} {
		text, _, _ := unstructured.NestedString(o, path...)
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// about gives the worst warning about an object or what it has made, whose names begin with its own; "" for none.
func about(all []clusterEvent, u *unstructured.Unstructured) string {
	for _, ev := range all {
		its := ev.kind == u.GetKind() && ev.name == u.GetName()
		switch u.GetKind() {
		case "Deployment":
			its = its || (ev.kind == "ReplicaSet" || ev.kind == "Pod") && strings.HasPrefix(ev.name, u.GetName()+"-")
		case "StatefulSet":
			_, claim, _ := strings.Cut(ev.name, "-"+u.GetName()+"-")
			its = its || ev.kind == "Pod" && strings.HasPrefix(ev.name, u.GetName()+"-") || ev.kind == "PersistentVolumeClaim" && ordinal.MatchString(claim)
		case "DaemonSet", "ReplicaSet", "Job", "CronJob":
			its = its || (ev.kind == "Pod" || ev.kind == "Job") && strings.HasPrefix(ev.name, u.GetName()+"-")
		}
		if its {
			return ev.kind + " " + ev.name + ": " + ev.reason + ": " + shortText(ev.message)
		}
	}
	return ""
}

// explain says why a live object is not healthy, by its pods and the warnings about it; "" when nobody says anything.
func (c *cluster) explain(ctx context.Context, live *unstructured.Unstructured) string {
	if s := podSelector(live); s != nil {
		if why, err := c.askPods(ctx, live.GetNamespace(), s); err == nil && why != "" {
			return why
		}
	}
	all, err := c.warnings(ctx, live.GetNamespace())
	if err != nil {
		c.log.Debug("the events of a namespace cannot be listed", "namespace", live.GetNamespace(), "error", err)
		return ""
	}
	return about(all, live)
}
