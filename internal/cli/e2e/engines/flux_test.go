//go:build engines

// The tag is there because these tests need the controllers, which make e2e-argocd and make e2e-flux build.

package engines

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/towpath-dev/towpath/internal/app/apptest" //nolint:depguard // a test of the whole system
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// fluxConfig is what kustomize-controller wants to find beside its own kind: it watches all kinds of sources. The Secret is of the test's
// own server.
const fluxConfig = `
apiVersion: v1
kind: Namespace
metadata: {name: flux-system}
---
apiVersion: v1
kind: Secret
metadata: {name: towpath-git, namespace: flux-system}
stringData: {username: towpath, password: tow_admin}
`

func sourceKind(kind, plural string) string {
	return fmt.Sprintf(`---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.source.toolkit.fluxcd.io}
spec:
  group: source.toolkit.fluxcd.io
  scope: Namespaced
  names: {kind: %[1]s, listKind: %[1]sList, plural: %[2]s, singular: %[3]s}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, kind, plural, strings.ToLower(kind))
}

// TestFlux is a person's journey on a cluster that Flux's kustomize-controller syncs. The source-controller, whose dependencies cannot
// all be had, is stood in for: the test fetches the repository with git and serves it as the artifact that the controller expects.
func TestFlux(t *testing.T) {
	cluster := devclustertest.Shared(t)
	cluster.Kubectl(t, "apply", "--server-side", "-f", filepath.Join(given(t, "TOWPATH_FLUX_CRDS"), "kustomize.toolkit.fluxcd.io_kustomizations.yaml"))
	kinds := ""
	for kind, plural := range map[string]string{"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "Bucket": "buckets", "ExternalArtifact": "externalartifacts"} {
		kinds += sourceKind(kind, plural)
	}
	applyText(t, cluster, kinds+"---"+fluxConfig)
	cluster.Kubectl(t, "wait", "--for=condition=Established", "crd/kustomizations.kustomize.toolkit.fluxcd.io", "crd/gitrepositories.source.toolkit.fluxcd.io")
	system := apptest.Start(t, apptest.WithCluster(cluster))
	standInForSourceController(t, cluster)
	home := t.TempDir()
	program(t, []string{"HOME=" + home, "TMPDIR=" + home, "KUBECONFIG=" + cluster.Kubeconfig(), "RUNTIME_NAMESPACE=flux-system"}, given(t, "TOWPATH_FLUX"),
		"--watch-all-namespaces=true", "--enable-leader-election=false", "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--log-level=info")
	runScripts(t, "flux", system, cluster)
}

var gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}

// sources stands in for the source-controller.
type sources struct {
	t      *testing.T
	api    dynamic.ResourceInterface
	dir    string
	url    string
	mu     sync.Mutex
	served map[string][]byte
}

func standInForSourceController(t *testing.T, cluster *devclustertest.Cluster) {
	t.Helper()
	client, err := dynamic.NewForConfig(cluster.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &sources{t: t, api: client.Resource(gitRepositories).Namespace("flux-system"), dir: t.TempDir(), served: map[string][]byte{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Write(s.served[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			list, err := s.api.List(ctx, metav1.ListOptions{})
			for i := 0; err == nil && i < len(list.Items); i++ {
				err = s.fetch(ctx, &list.Items[i])
			}
			if err != nil && ctx.Err() == nil {
				t.Logf("sources: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// fetch does what a request for a reconciliation asks for, once.
func (s *sources) fetch(ctx context.Context, u *unstructured.Unstructured) error {
	token := u.GetAnnotations()["reconcile.fluxcd.io/requestedAt"]
	handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
	old, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "revision")
	if old != "" && token == handled {
		return nil
	}
	url, _, _ := unstructured.NestedString(u.Object, "spec", "url")
	branch, _, _ := unstructured.NestedString(u.Object, "spec", "ref", "branch")
	clone := filepath.Join(s.dir, fmt.Sprint(time.Now().UnixNano()))
	defer os.RemoveAll(clone)
	with := strings.Replace(url, "://", "://towpath:tow_admin@", 1)
	if out, err := exec.CommandContext(ctx, "git", "clone", "-q", "--depth=1", "--branch", branch, with, clone).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	head, err := exec.CommandContext(ctx, "git", "-C", clone, "rev-parse", "HEAD").Output()
	if err != nil {
		return err
	}
	revision := branch + "@sha1:" + strings.TrimSpace(string(head))
	body, err := pack(clone)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	path := "/" + hex.EncodeToString(sum[:]) + ".tar.gz"
	s.mu.Lock()
	s.served[path] = body
	s.mu.Unlock()
	now := time.Now().UTC().Format(time.RFC3339)
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"observedGeneration": u.GetGeneration(), "lastHandledReconcileAt": token,
		"artifact": map[string]any{"url": s.url + path, "path": path, "revision": revision, "digest": "sha256:" + hex.EncodeToString(sum[:]), "lastUpdateTime": now, "size": len(body)},
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact for revision '" + revision + "'", "lastTransitionTime": now, "observedGeneration": u.GetGeneration(),
		}},
	}})
	if err != nil {
		return err
	}
	_, err = s.api.Patch(ctx, u.GetName(), types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// pack makes the archive that an artifact is.
func pack(dir string) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return filepath.SkipDir
			}
			return w.WriteHeader(&tar.Header{Name: rel + "/", Mode: 0o755, Typeflag: tar.TypeDir})
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: rel, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
