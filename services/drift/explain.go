package drift

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

const (
	// Pods are asked soon after a workload stopped being healthy, then less and less often while it stays so.
	firstExplain = 250 * time.Millisecond
	lastExplain  = 15 * time.Second
	// maxReason bounds what a pod's message adds, in bytes.
	maxReason = 300
)

// explainHealth adds to workloads that are not healthy what their pods say: a Deployment itself only tells that too few are there. Pods are
// not watched: there are many, and they matter only while something is wrong.
func (e *environment) explainHealth(ctx context.Context) {
	e.mu.Lock()
	now := e.svc.cfg.Now()
	var sick []*tracked
	for _, t := range e.objects {
		if t.exists && t.health != driftv1.Health_HEALTH_HEALTHY {
			sick = append(sick, t)
		}
	}
	c := e.cluster
	switch {
	case len(sick) == 0 || c == nil || e.down != nil:
		e.explain = schedule{}
		e.mu.Unlock()
		return
	case e.explain.at.IsZero():
		e.explain.next(now, firstExplain, lastExplain)
		e.mu.Unlock()
		return
	case now.Before(e.explain.at):
		e.mu.Unlock()
		return
	}
	e.explain.next(now, firstExplain, lastExplain)
	e.mu.Unlock()
	changed := false
	warned := map[string][]*driftv1.ObjectEvent{} // by namespace, read once
	for _, t := range sick {
		why := e.whySick(ctx, c, t, warned)
		e.mu.Lock()
		if t.why != why && t.health != driftv1.Health_HEALTH_HEALTHY {
			t.why, changed = why, true
		}
		e.mu.Unlock()
	}
	if changed {
		e.tell()
	}
}

// whySick asks the pods of a workload, and the warnings of its namespace when they say nothing, or there are none: a quota, an
// admission webhook and a volume that cannot be made keep pods from being there at all.
func (e *environment) whySick(ctx context.Context, c *cluster, t *tracked, warned map[string][]*driftv1.ObjectEvent) string {
	u := t.declared()
	if s := podSelector(u); s != nil {
		why, err := c.askPods(ctx, t.key.namespace, s)
		if err != nil {
			e.log.Debug("the pods of a workload cannot be listed", "kind", t.key.kind, "name", t.key.name, "error", err)
		}
		if why != "" {
			return why
		}
	}
	all, read := warned[t.key.namespace]
	if !read {
		var err error
		if all, err = c.warnings(ctx, t.key.namespace); err != nil {
			e.log.Debug("the events of a namespace cannot be listed", "namespace", t.key.namespace, "error", err)
		}
		warned[t.key.namespace] = all
	}
	return about(all, u)
}

// podSelector selects the pods of a workload; nil for what has none.
func podSelector(u *unstructured.Unstructured) labels.Selector {
	switch u.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
	default:
		return nil
	}
	m, ok, _ := unstructured.NestedMap(u.Object, "spec", "selector")
	if !ok {
		return nil
	}
	var typed metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, &typed); err != nil {
		return nil
	}
	s, err := metav1.LabelSelectorAsSelector(&typed)
	if err != nil || s.Empty() {
		return nil
	}
	return s
}

// askPods gives the worst that the pods have to say, "" when nothing. It reads from the API server's cache.
func (c *cluster) askPods(ctx context.Context, namespace string, selector labels.Selector) (string, error) {
	list, err := c.dyn.Resource(pods).Namespace(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: selector.String(), ResourceVersion: "0", Limit: 100,
	})
	if err != nil {
		return "", clusterError(err, "list pods")
	}
	var reasons []string
	for i := range list.Items {
		var p corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &p); err != nil || p.DeletionTimestamp != nil {
			continue
		}
		if r := podReason(&p); r != "" {
			reasons = append(reasons, r)
		}
	}
	if len(reasons) == 0 {
		return "", nil
	}
	// The same reason of many pods is told once.
	slices.Sort(reasons)
	n := len(reasons)
	reasons = slices.Compact(reasons)
	why := reasons[0]
	if len(reasons) > 1 {
		why += "; " + reasons[1]
	}
	if n > 1 {
		why = fmt.Sprintf("%d pods: %s", n, why)
	}
	return why, nil
}

// podReason says why a pod does not run.
func podReason(p *corev1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := s.State.Waiting
		if w == nil || w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing" {
			continue
		}
		text := "container " + s.Name + ": " + w.Reason
		if last := s.LastTerminationState.Terminated; last != nil {
			text += fmt.Sprintf(" (ended with %s, exit code %d)", last.Reason, last.ExitCode)
		} else if w.Message != "" {
			text += " (" + shortText(w.Message) + ")"
		}
		return text
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + shortText(c.Message)
		}
	}
	if ended := badEnd(p); ended != "" {
		return ended
	}
	if p.Status.Phase == corev1.PodFailed {
		return "failed: " + shortText(p.Status.Reason+" "+p.Status.Message)
	}
	return ""
}

// badEnd says which container of a pod that is over or starts again ended badly.
func badEnd(p *corev1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if end := s.State.Terminated; end != nil && end.ExitCode != 0 {
			text := fmt.Sprintf("container %s ended with %s, exit code %d", s.Name, end.Reason, end.ExitCode)
			if end.Message != "" {
				text += " (" + shortText(end.Message) + ")"
			}
			return text
		}
	}
	return ""
}

func shortText(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}
