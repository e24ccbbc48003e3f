package drift_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/events"
)

// These tests run the engines' side as their documentation describes it, on the real API server with their kinds: what is made up is
// only that a goroutine of the test applies, and not the engines' own processes. tools/argocd and tools/flux have those.

// history is a Git repository with commits, as the committer reads it and an engine does.
type history struct {
	*git
	mu    sync.Mutex
	head  string
	files map[string]map[string]string // by commit and folder: the tree there
	state map[string]int64             // by commit: the generation in the state file
}

func (h *history) GetTree(ctx context.Context, in *committerv1.GetTreeRequest, o ...grpc.CallOption) (*committerv1.Tree, error) {
	if in.GetTree() != "" || h.away.Load() {
		return h.git.GetTree(ctx, in, o...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.HasPrefix(in.GetPath(), ".towpath/state/") {
		return &committerv1.Tree{Files: []*committerv1.File{{Path: "dev", Content: fmt.Appendf(nil, `{"generation": %d}`, h.state[in.GetCommit()])}}}, nil
	}
	return &committerv1.Tree{Tree: h.files[in.GetCommit()][in.GetPath()]}, nil
}

// commit puts manifests at a folder, or removes it, and gives the new head and its tree.
func (h *history) commit(path, manifests string, generation int64) (commit, tree string) {
	if manifests != "" {
		tree = h.put(manifests)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := sha256.Sum256([]byte(h.head + path + manifests))
	commit = hex.EncodeToString(sum[:20])
	h.files[commit] = maps.Clone(h.files[h.head])
	if h.files[commit] == nil {
		h.files[commit] = map[string]string{}
	}
	delete(h.files[commit], path)
	if tree != "" {
		h.files[commit][path] = tree
	}
	h.head, h.state[commit] = commit, generation
	return commit, tree
}

// at gives the head and the manifests that stand at a folder of it.
func (h *history) at(path string) (commit string, manifests []*unstructured.Unstructured, ok bool) {
	h.mu.Lock()
	tree, ok := h.files[h.head][path]
	commit = h.head
	h.mu.Unlock()
	if !ok {
		return commit, nil, false
	}
	h.git.mu.Lock()
	defer h.git.mu.Unlock()
	for _, doc := range strings.Split(string(h.trees[tree][0].GetContent()), "---\n") {
		u := &unstructured.Unstructured{}
		if yaml.Unmarshal([]byte(doc), &u.Object) == nil && u.GetKind() != "" {
			manifests = append(manifests, u)
		}
	}
	return commit, manifests, true
}

// engineEnv is an environment that another engine brings to the cluster.
type engineEnv struct {
	*env
	repo      *history
	engine    string
	engineNS  string
	folder    string
	objects   dynamic.Interface
	policy    *driftv1.SyncPolicy
	lastState *eventsv1.DesiredState
}

var engineKinds = sync.OnceValue(func() error {
	_, err := os.Stat(filepath.Join("testdata", "engines", "crds.yaml"))
	return err
})

// newEngineEnv makes an environment of an engine whose kinds the cluster has.
func newEngineEnv(t *testing.T, engine string) *engineEnv {
	t.Helper()
	if err := engineKinds(); err != nil {
		t.Fatal(err)
	}
	devclustertest.Kubectl(t, "apply", "--server-side", "-f", filepath.Join("testdata", "engines", "crds.yaml"))
	devclustertest.Kubectl(t, "wait", "--for=condition=Established", "crd/applications.argoproj.io", "crd/appprojects.argoproj.io",
		"crd/gitrepositories.source.toolkit.fluxcd.io", "crd/kustomizations.kustomize.toolkit.fluxcd.io")
	w := newWorld(t, nil)
	w.stop()
	h := &history{git: w.git, files: map[string]map[string]string{}, state: map[string]int64{}}
	w.cfg.Committer = h
	w.start()
	e := &engineEnv{env: w.envIn(t, "env-"+fmt.Sprint(time.Now().UnixNano())), repo: h, engine: engine, engineNS: devclustertest.Namespace(t)}
	e.folder = "environments/dev/" + e.ns
	e.objects = dynamicClient(t)
	return e
}

func dynamicClient(t testing.TB) dynamic.Interface {
	t.Helper()
	cfg := devclustertest.Config(t)
	cfg.QPS, cfg.Burst = 1000, 1000
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpClient.CloseIdleConnections)
	d, err := dynamic.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ship commits manifests and publishes the desired state, as the committer does; empty manifests remove the environment.
func (e *engineEnv) ship(manifests string) {
	e.t.Helper()
	e.generation++
	if e.engine == "flux" && manifests != "" {
		manifests = named(manifests, e.ns)
	}
	commit, tree := e.repo.commit(e.folder, manifests, e.generation)
	e.announce(commit, tree, manifests == "")
}

// named gives manifests with their namespace, as the renderer writes them.
func named(manifests, namespace string) string {
	var out []string
	for _, doc := range strings.Split(manifests, "---\n") {
		u := &unstructured.Unstructured{}
		if yaml.Unmarshal([]byte(doc), &u.Object) != nil || u.GetKind() == "" {
			continue
		}
		u.SetNamespace(namespace)
		b, err := yaml.Marshal(u.Object)
		if err != nil {
			panic(err)
		}
		out = append(out, string(b))
	}
	return strings.Join(out, "---\n")
}

func (e *engineEnv) announce(commit, tree string, removed bool) {
	e.t.Helper()
	subject, err := events.DesiredSubject(strings.Split(e.name, "/")[1], "dev")
	if err != nil {
		e.t.Fatal(err)
	}
	e.lastState = &eventsv1.DesiredState{
		Environment: e.name, Deployment: e.deployment(), Generation: e.generation, Tree: tree, Commit: commit, Removed: removed,
		Repository: &committerv1.RepositoryRef{Name: "repositories/main", Url: "https://git.example.com/main.git", Branch: "main"},
		Path:       e.folder, Namespace: e.ns, AutomaticSync: !e.manual, SelfHeal: e.selfHeal, SyncPolicy: e.policy,
		Target: &eventsv1.TargetRef{Name: "targets/local", Engine: e.engine, EngineNamespace: e.engineNS},
	}
	if err := e.publish.Publish(e.t.Context(), events.Message{
		Subject: subject, ID: e.deployment() + "/desired", Type: "dev.towpath.environment.desired", Source: "//towpath.dev/committer", Body: e.lastState,
	}); err != nil {
		e.t.Fatal(err)
	}
}

// bring ships manifests and waits until they are in the cluster.
func (e *engineEnv) bring(manifests string) *eventsv1.EnvironmentSynced {
	e.t.Helper()
	e.ship(manifests)
	return e.awaitSynced()
}

func (e *engineEnv) awaitSync(want driftv1.SyncState) {
	e.t.Helper()
	eventually(e.t, func() string {
		if st := e.status(); st.GetSync() != want {
			return fmt.Sprintf("status is %v, want %v", st, want)
		}
		return ""
	})
}

var (
	argoApps    = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	fluxSources = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	fluxKusts   = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
)

// appliedKinds are the kinds that the tests' environments have.
var appliedKinds = map[string]schema.GroupVersionResource{
	"ConfigMap": {Version: "v1", Resource: "configmaps"}, "Service": {Version: "v1", Resource: "services"},
	"Deployment":            {Group: "apps", Version: "v1", Resource: "deployments"},
	"PersistentVolumeClaim": {Version: "v1", Resource: "persistentvolumeclaims"},
}

// standIn is what both engines' stand-ins do: apply as their field manager, with their mark on each object.
type standIn struct {
	t       *testing.T
	objects dynamic.Interface
	repo    *history
	ns      string // the engine's
	manager string
	mark    func(u *unstructured.Unstructured, owner string)
	marked  func(u *unstructured.Unstructured, owner string) bool
}

// run calls step until the test ends.
func (s *standIn) run(step func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := step(ctx); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				s.t.Logf("the engine's stand-in: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(25 * time.Millisecond):
			}
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return stop
}

// apply applies one manifest.
func (s *standIn) apply(ctx context.Context, u *unstructured.Unstructured, owner, namespace string) error {
	u = u.DeepCopy()
	u.SetNamespace(namespace)
	s.mark(u, owner)
	_, err := s.objects.Resource(appliedKinds[u.GetKind()]).Namespace(namespace).Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: s.manager, Force: true})
	return err
}

// differs asks the API server by a dry run whether an apply would change anything.
func (s *standIn) differs(ctx context.Context, u *unstructured.Unstructured, owner, namespace string) (bool, error) {
	r := s.objects.Resource(appliedKinds[u.GetKind()]).Namespace(namespace)
	live, err := r.Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	u = u.DeepCopy()
	u.SetNamespace(namespace)
	s.mark(u, owner)
	dry, err := r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: s.manager, Force: true, DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return true, nil //nolint:nilerr // what cannot be applied differs
	}
	return dry.GetGeneration() != live.GetGeneration() || fmt.Sprint(dry.Object["data"], dry.GetLabels(), dry.GetAnnotations()) != fmt.Sprint(live.Object["data"], live.GetLabels(), live.GetAnnotations()) ||
		fmt.Sprint(dry.Object["spec"]) != fmt.Sprint(live.Object["spec"]), nil
}

// owned lists what was applied for an owner.
func (s *standIn) owned(ctx context.Context, owner, namespace string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, gvr := range appliedKinds {
		list, err := s.objects.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if s.marked(&list.Items[i], owner) {
				out = append(out, &list.Items[i])
			}
		}
	}
	return out, nil
}

func (s *standIn) delete(ctx context.Context, u *unstructured.Unstructured) error {
	return s.objects.Resource(appliedKinds[u.GetKind()]).Namespace(u.GetNamespace()).Delete(ctx, u.GetName(), metav1.DeleteOptions{})
}

func declares(manifests []*unstructured.Unstructured, u *unstructured.Unstructured) bool {
	for _, m := range manifests {
		if m.GetKind() == u.GetKind() && m.GetName() == u.GetName() {
			return true
		}
	}
	return false
}
