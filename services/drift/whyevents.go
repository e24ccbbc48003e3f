package drift

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

const (
	// maxEvents is how many warnings of a namespace are read at a time.
	maxEvents = 500
	// eventAge is how old a warning may be to explain what is wrong now.
	eventAge = 15 * time.Minute
)

// loud are the reasons of warnings by which a cluster says why something does not run. Others, such as a probe that failed once, come
// after them.
var loud = []string{
	"FailedCreate", "FailedScheduling", "Failed", "ErrImagePull", "BackOff", "FailedMount", "FailedAttachVolume", "ProvisioningFailed",
	"FailedCreatePodSandBox", "OOMKilling", "Evicted",
}

// warnings gives the warnings of a namespace, the newest first. It reads from the API server's cache.
func (c *cluster) warnings(ctx context.Context, namespace string) ([]*driftv1.ObjectEvent, error) {
	list, err := c.dyn.Resource(coreEvents).Namespace(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "type=Warning", ResourceVersion: "0", Limit: maxEvents,
	})
	if err != nil {
		return nil, clusterError(err, "list events")
	}
	var out []*driftv1.ObjectEvent
	for i := range list.Items {
		var read corev1.Event
		if runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &read) != nil {
			continue
		}
		if ev := eventOf(&read); c.svc.cfg.Now().Sub(ev.GetLastTime().AsTime()) < eventAge {
			out = append(out, ev)
		}
	}
	slices.SortStableFunc(out, func(a, b *driftv1.ObjectEvent) int {
		return cmp.Or(cmp.Compare(loudness(a), loudness(b)), b.GetLastTime().AsTime().Compare(a.GetLastTime().AsTime()))
	})
	return out, nil
}

func loudness(e *driftv1.ObjectEvent) int {
	if slices.Contains(loud, e.GetReason()) {
		return 0
	}
	return 1
}

// about gives the worst warning about an object or what it has made, whose names begin with its own; "" for none.
func about(all []*driftv1.ObjectEvent, u *unstructured.Unstructured) string {
	for _, ev := range all {
		kind, name := ev.GetObject().GetKind(), ev.GetObject().GetName()
		its := kind == u.GetKind() && name == u.GetName()
		switch u.GetKind() {
		case "Deployment":
			its = its || (kind == "ReplicaSet" || kind == "Pod") && strings.HasPrefix(name, u.GetName()+"-")
		case "StatefulSet":
			_, claim, _ := strings.Cut(name, "-"+u.GetName()+"-")
			its = its || kind == "Pod" && strings.HasPrefix(name, u.GetName()+"-") || kind == "PersistentVolumeClaim" && ordinal.MatchString(claim)
		case "DaemonSet", "ReplicaSet", "Job", "CronJob":
			its = its || (kind == "Pod" || kind == "Job") && strings.HasPrefix(name, u.GetName()+"-")
		}
		if its {
			return kind + " " + name + ": " + ev.GetReason() + ": " + shortText(ev.GetMessage())
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
