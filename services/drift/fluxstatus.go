package drift

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fluxReport reads a Kustomization and its GitRepository, which may not be there.
func fluxReport(k, source *unstructured.Unstructured) engineReport {
	var rep engineReport
	ready, reconciling := fluxCondition(k, "Ready"), fluxCondition(k, "Reconciling")
	seen, _, _ := unstructured.NestedInt64(ready, "observedGeneration")
	current := ready != nil && seen == k.GetGeneration()
	applied, attempted := fluxCommit(text(k.Object, "status", "lastAppliedRevision")), fluxCommit(text(k.Object, "status", "lastAttemptedRevision"))
	status, reason, message := text(ready, "status"), text(ready, "reason"), shortText(text(ready, "message"))
	checking := status == "Unknown" && strings.HasPrefix(text(ready, "message"), "Running health checks")
	rep.running = status == "Unknown" && !checking
	if text(reconciling, "status") == "True" && text(reconciling, "reason") == "Progressing" && !checking {
		rep.running = true
	}
	if !rep.running {
		rep.handled = text(k.Object, "status", "lastHandledReconcileAt")
	}
	switch {
	case !current:
	case status == "True":
		rep.revisions = applied
	case checking:
		rep.revisions = attempted
	case reason == "HealthCheckFailed":
		rep.revisions, rep.degraded = attempted, message
	case reason == "ArtifactFailed", reason == "DependencyNotReady", reason == "SourceNotFound":
		rep.waits = "Flux says: " + reason + ": " + message
	case status == "False":
		rep.failed, rep.attempted = message, attempted
	}
	if source != nil {
		if c := fluxCondition(source, "Ready"); text(c, "status") == "False" {
			rep.waits = "Flux cannot read the repository: " + shortText(text(c, "message"))
		}
	}
	rep.doing = fluxDoing(k, message, rep)
	return rep
}

func fluxDoing(k *unstructured.Unstructured, message string, rep engineReport) string {
	switch {
	case message == "":
		return "Flux has not looked at it yet; is its kustomize-controller running?"
	case rep.running:
		return "Flux is syncing: " + message
	case rep.degraded != "":
		return "Flux says: " + message
	}
	if suspended, _, _ := unstructured.NestedBool(k.Object, "spec", "suspend"); suspended {
		return "Flux waits for a sync by hand"
	}
	return "Flux says: " + message
}

func fluxCondition(u *unstructured.Unstructured, typ string) map[string]any {
	for _, c := range conditionsOf(u) {
		if text(c, "type") == typ {
			return c
		}
	}
	return nil
}

// fluxCommit gives the commit of a revision such as main@sha1:8f0c…; nil for none.
func fluxCommit(revision string) []string {
	_, commit, ok := strings.Cut(revision, "@sha1:")
	if !ok || commit == "" {
		return nil
	}
	return []string{commit}
}
