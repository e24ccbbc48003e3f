package docstest

import (
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// emptied waits until nothing of the page before is in the cluster.
func emptied(t *testing.T, cluster *devclustertest.Cluster) {
	t.Helper()
	left := func() []string {
		var out []string
		for _, ns := range strings.Fields(cluster.Kubectl(t, "get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}")) {
			if ns != "default" && !strings.HasPrefix(ns, "kube-") {
				out = append(out, ns)
			}
		}
		return out
	}
	if l := left(); len(l) > 0 {
		cluster.Kubectl(t, append([]string{"delete", "namespace", "--wait=false"}, l...)...)
	}
	released(t, cluster)
	apptest.Await(t, "the namespaces of the page before are gone", func() bool { return len(left()) == 0 })
}

// released takes away the finalizers of what Argo CD and Flux would have removed: their controllers do not run here.
func released(t *testing.T, cluster *devclustertest.Cluster) {
	t.Helper()
	kinds := cluster.Kubectl(t, "get", "customresourcedefinitions", "-o", "name")
	for _, kind := range []string{"applications.argoproj.io", "kustomizations.kustomize.toolkit.fluxcd.io"} {
		if !strings.Contains(kinds, "/"+kind+"\n") {
			continue
		}
		list := cluster.Kubectl(t, "get", kind, "--all-namespaces", "-o", `jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}`)
		for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
			if ns, name, ok := strings.Cut(line, " "); ok {
				cluster.Kubectl(t, "-n", ns, "patch", kind, name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
			}
		}
	}
}
