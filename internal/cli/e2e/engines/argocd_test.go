//go:build engines

// The tag is there because these tests need the controllers, which make e2e-argocd and make e2e-flux build.

package engines

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/app/apptest" //nolint:depguard // a test of the whole system
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// argoConfig is what Argo CD wants to find in its namespace. The credentials are those of the test's own server.
const argoConfig = `
apiVersion: v1
kind: Namespace
metadata: {name: argocd}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd, app.kubernetes.io/name: argocd-cm}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-rbac-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd, app.kubernetes.io/name: argocd-rbac-cm}}
---
apiVersion: v1
kind: Secret
metadata: {name: argocd-secret, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd, app.kubernetes.io/name: argocd-secret}}
stringData: {server.secretkey: a-key-of-this-test-alone}
---
apiVersion: v1
kind: Secret
metadata: {name: towpath-git, namespace: argocd, labels: {argocd.argoproj.io/secret-type: repo-creds}}
stringData: {type: git, url: GITURL, username: towpath, password: tow_admin, forceHttpBasicAuth: "true"}
`

// TestArgoCD is a person's journey on a cluster that Argo CD syncs.
func TestArgoCD(t *testing.T) {
	cluster := devclustertest.Shared(t)
	crds := given(t, "TOWPATH_ARGOCD_CRDS")
	for _, f := range []string{"application-crd.yaml", "appproject-crd.yaml", "applicationset-crd.yaml"} {
		cluster.Kubectl(t, "apply", "--server-side", "-f", filepath.Join(crds, f))
	}
	cluster.Kubectl(t, "wait", "--for=condition=Established", "crd/applications.argoproj.io", "crd/appprojects.argoproj.io")
	system := apptest.Start(t, apptest.WithCluster(cluster))
	applyText(t, cluster, strings.ReplaceAll(argoConfig, "GITURL", "http://"+system.Endpoints.HTTP+"/git"))
	argocd := given(t, "TOWPATH_ARGOCD")
	home := t.TempDir()
	env := []string{
		"HOME=" + home, "KUBECONFIG=" + cluster.Kubeconfig(), "ARGOCD_FAKE_IN_CLUSTER=true", "ARGOCD_GPG_ENABLED=false",
		"ARGOCD_TLS_DATA_PATH=" + home, "ARGOCD_SSH_DATA_PATH=" + home, "ARGOCD_GNUPGHOME=" + home, "ARGOCD_PLUGINSOCKFILEPATH=" + home, "TMPDIR=" + home,
	}
	redis, repo := freePort(t), freePort(t)
	program(t, env, argocd, "redis", redis)
	awaitListening(t, redis)
	program(t, env, argocd, "repo-server", "--address", "127.0.0.1", "--port", port(repo), "--metrics-address", "127.0.0.1", "--metrics-port", port(freePort(t)),
		"--redis", redis, "--disable-tls", "--loglevel", "warn")
	awaitListening(t, repo)
	program(t, env, argocd, "application-controller", "--namespace", "argocd", "--redis", redis, "--repo-server", repo, "--repo-server-plaintext",
		"--metrics-port", port(freePort(t)), "--loglevel", "info")
	runScripts(t, "argocd", system, cluster)
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}
