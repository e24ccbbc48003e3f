package drift

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// podState tells how a pod and its containers do, init containers first.
func podState(p *corev1.Pod) *driftv1.PodState {
	out := &driftv1.PodState{Phase: string(p.Status.Phase), Node: p.Spec.NodeName}
	if p.DeletionTimestamp != nil {
		out.Phase = "Terminating"
	}
	add := func(specs []corev1.Container, states []corev1.ContainerStatus, init bool) {
		for _, spec := range specs {
			c := &driftv1.ContainerState{Name: spec.Name, Image: spec.Image, Init: init, State: "waiting"}
			if i := slices.IndexFunc(states, func(s corev1.ContainerStatus) bool { return s.Name == spec.Name }); i >= 0 {
				c.Ready, c.Restarts, c.State = states[i].Ready, states[i].RestartCount, containerState(states[i])
			}
			out.Containers = append(out.Containers, c)
		}
	}
	add(p.Spec.InitContainers, p.Status.InitContainerStatuses, true)
	add(p.Spec.Containers, p.Status.ContainerStatuses, false)
	return out
}

// containerState tells a container's state in a word, with the reason behind a colon.
func containerState(s corev1.ContainerStatus) string {
	because := func(state, reason string) string {
		if reason == "" {
			return state
		}
		return state + ": " + reason
	}
	switch {
	case s.State.Running != nil:
		return "running"
	case s.State.Terminated != nil:
		return because("terminated", fmt.Sprintf("%s, exit code %d", s.State.Terminated.Reason, s.State.Terminated.ExitCode))
	case s.State.Waiting != nil:
		return because("waiting", s.State.Waiting.Reason)
	default:
		return "waiting"
	}
}
