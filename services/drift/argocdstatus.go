package drift

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argoReport reads an Application. Its status counts only where it was made for the sources that the Application has now.
func argoReport(app *unstructured.Unstructured, places []enginePlace) engineReport {
	var rep engineReport
	op, _, _ := unstructured.NestedMap(app.Object, "status", "operationState")
	phase := text(op, "phase")
	rep.running = app.Object["operation"] != nil || phase == "Running" || phase == "Terminating"
	if !rep.running {
		rep.handled = argoToken(op)
	}
	current := argoCompared(app, places)
	status := text(app.Object, "status", "sync", "status")
	some, _, _ := unstructured.NestedSlice(op, "operation", "sync", "resources")
	done := argoRevisions(op, "syncResult")
	switch {
	case status == "Synced" && current:
		rep.revisions = argoRevisions(app.Object, "status", "sync")
	case phase == "Succeeded" && current && len(some) == 0:
		rep.revisions = done
	case phase == "Succeeded" && current && status == "OutOfSync" && argoOnlyExtra(app):
		rep.revisions = argoRevisions(app.Object, "status", "sync")
	}
	if phase == "Failed" || phase == "Error" {
		rep.failed, rep.attempted = argoFailure(op), done
		if rep.attempted == nil {
			rep.attempted = argoRevisions(op, "operation", "sync")
		}
	}
	rep.idle = status == "OutOfSync" && !rep.running && rep.failed == ""
	rep.extra = argoExtra(app)
	rep.degraded = argoDegraded(app)
	rep.waits = argoWaits(app)
	rep.doing = argoDoing(app, op, status, rep)
	return rep
}

// argoCompared reports whether the Application's status is of the places.
func argoCompared(app *unstructured.Unstructured, places []enginePlace) bool {
	to, ok, _ := unstructured.NestedMap(app.Object, "status", "sync", "comparedTo")
	if !ok {
		return false
	}
	sources, _, _ := unstructured.NestedSlice(to, "sources")
	if len(sources) == 0 {
		one, _, _ := unstructured.NestedMap(to, "source")
		sources = []any{one}
	}
	if len(sources) != len(places) {
		return false
	}
	for i, p := range places {
		m, _ := sources[i].(map[string]any)
		if text(m, "repoURL") != p.url || text(m, "path") != p.path || text(m, "targetRevision") != p.repository.GetBranch() {
			return false
		}
	}
	return true
}

func argoRevisions(m map[string]any, at ...string) []string {
	if many, ok, _ := unstructured.NestedStringSlice(m, append(slices.Clone(at), "revisions")...); ok && len(many) > 0 {
		return many
	}
	if one := text(m, append(slices.Clone(at), "revision")...); one != "" {
		return []string{one}
	}
	return nil
}

// argoToken gives the token of ours that the last operation carries.
func argoToken(op map[string]any) string {
	infos, _, _ := unstructured.NestedSlice(op, "operation", "info")
	for _, i := range infos {
		if m, ok := i.(map[string]any); ok && text(m, "name") == argoRequestKey {
			return text(m, "value")
		}
	}
	return ""
}

func argoResources(m map[string]any, at ...string) []map[string]any {
	list, _, _ := unstructured.NestedSlice(m, at...)
	var out []map[string]any
	for _, r := range list {
		if m, ok := r.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// argoFailure is why an operation failed, with what was said about each object.
func argoFailure(op map[string]any) string {
	var texts []string
	for _, r := range argoResources(op, "syncResult", "resources") {
		if s, h := text(r, "status"), text(r, "hookPhase"); s == "SyncFailed" || h == "Failed" || h == "Error" {
			texts = append(texts, text(r, "kind")+"/"+text(r, "name")+": "+shortText(text(r, "message")))
		}
	}
	slices.Sort(texts)
	if len(texts) == 0 {
		return shortText(text(op, "message"))
	}
	return summarise(texts) + " (" + shortText(text(op, "message")) + ")"
}

// argoExtra are the objects that Git no longer has.
func argoExtra(app *unstructured.Unstructured) []objectKey {
	var out []objectKey
	for _, r := range argoResources(app.Object, "status", "resources") {
		if gone, _, _ := unstructured.NestedBool(r, "requiresPruning"); gone {
			out = append(out, objectKey{group: text(r, "group"), kind: text(r, "kind"), namespace: text(r, "namespace"), name: text(r, "name")})
		}
	}
	return out
}

// argoOnlyExtra reports whether nothing but what Git no longer has keeps an Application from being in sync.
func argoOnlyExtra(app *unstructured.Unstructured) bool {
	some := false
	for _, r := range argoResources(app.Object, "status", "resources") {
		if text(r, "status") != "OutOfSync" {
			continue
		}
		if gone, _, _ := unstructured.NestedBool(r, "requiresPruning"); !gone {
			return false
		}
		some = true
	}
	return some
}

// argoDegraded is what Argo CD says about unhealthy objects, "" while it calls the Application anything else than Degraded.
func argoDegraded(app *unstructured.Unstructured) string {
	if text(app.Object, "status", "health", "status") != "Degraded" {
		return ""
	}
	var texts []string
	for _, r := range argoResources(app.Object, "status", "resources") {
		if text(r, "health", "status") == "Degraded" {
			texts = append(texts, strings.TrimSuffix(text(r, "kind")+"/"+text(r, "name")+": "+shortText(text(r, "health", "message")), ": "))
		}
	}
	slices.Sort(texts)
	if len(texts) == 0 {
		return strings.TrimSuffix("the application is Degraded: "+shortText(text(app.Object, "status", "health", "message")), ": ")
	}
	return summarise(texts)
}

// argoWaits is why Argo CD cannot go on. What passes by itself and what somebody has to mend look the same to it.
func argoWaits(app *unstructured.Unstructured) string {
	var texts []string
	for _, c := range conditionsOf(app) {
		switch t := text(c, "type"); t {
		case "ComparisonError", "InvalidSpecError", "SyncError", "UnknownError", "OrphanedResourceWarning", "ExcludedResourceWarning", "RepeatedResourceWarning":
			if strings.HasSuffix(t, "Error") {
				texts = append(texts, t+": "+shortText(text(c, "message")))
			}
		}
	}
	if len(texts) == 0 {
		return ""
	}
	slices.Sort(texts)
	return "Argo CD says: " + summarise(texts)
}

// argoDoing says what Argo CD does or finds.
func argoDoing(app *unstructured.Unstructured, op map[string]any, status string, rep engineReport) string {
	switch {
	case rep.running && text(op, "message") != "":
		return "Argo CD is syncing: " + shortText(text(op, "message"))
	case rep.running:
		return "Argo CD is syncing"
	case status == "OutOfSync":
		var texts []string
		for _, r := range argoResources(app.Object, "status", "resources") {
			if gone, _, _ := unstructured.NestedBool(r, "requiresPruning"); text(r, "status") == "OutOfSync" && !gone {
				texts = append(texts, text(r, "kind")+"/"+text(r, "name"))
			}
		}
		slices.Sort(texts)
		return strings.TrimSuffix("Argo CD calls it OutOfSync: "+summarise(texts), ": ")
	case status == "":
		return "Argo CD has not looked at it yet; is its application controller running?"
	default:
		return "Argo CD calls it " + status + " at " + strings.Join(rep.revisions, ", ") + ", which is not what was deployed"
	}
}
