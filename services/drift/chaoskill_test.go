package drift_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/drift"
)

// childEnv makes the test binary a drift process of its own, which can be killed.
const childEnv = "TOWPATH_DRIFT_CHILD"

// childSpec is what such a process is told.
type childSpec struct {
	NATS, Seed, Kubeconfig, Trees string
	// KillAt is the write to the API server at which the process dies: before it is sent, or when it was answered.
	KillAt int64
	After  bool
}

// mortal dies at a write.
type mortal struct {
	next http.RoundTripper
	spec childSpec
	n    atomic.Int64
}

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	fatal := r.Method != http.MethodGet && m.n.Add(1) == m.spec.KillAt
	if fatal && !m.spec.After {
		die()
	}
	resp, err := m.next.RoundTrip(r)
	if fatal {
		die()
	}
	return resp, err
}

// die ends the process as a power cut would.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// runChild is the process; it ends by being killed.
func runChild(text string) {
	var spec childSpec
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "drift child:", err)
		os.Exit(3)
	}
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		fail(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	bus, err := events.Connect(context.Background(), events.Config{URL: spec.NATS, Role: events.RoleDrift, NkeySeedFile: spec.Seed, Name: "child", Logger: log})
	if err != nil {
		fail(err)
	}
	if err := bus.Wait(context.Background()); err != nil {
		fail(err)
	}
	g := &git{trees: map[string][]*committerv1.File{}}
	files, err := filepath.Glob(filepath.Join(spec.Trees, "*"))
	if err != nil {
		fail(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		tree := &committerv1.Tree{}
		if err == nil {
			err = proto.Unmarshal(b, tree)
		}
		if err != nil {
			fail(err)
		}
		g.trees[tree.GetTree()] = tree.GetFiles()
	}
	svc, err := drift.New(drift.Config{
		Bus: bus, Committer: g, MaskKey: []byte("0123456789abcdef0123456789abcdef"), Log: log,
		Connect: func(*eventsv1.TargetRef) (*rest.Config, error) {
			cfg, err := clientcmd.BuildConfigFromFlags("", spec.Kubeconfig)
			if err == nil {
				cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &mortal{next: next, spec: spec} })
			}
			return cfg, err
		},
	})
	if err != nil {
		fail(err)
	}
	fail(svc.Run(context.Background()))
}

// child runs a drift process on what Git has now, and waits until it has died at its write.
func (w *world) child(t *testing.T, killAt int64, after bool) {
	t.Helper()
	dir := t.TempDir()
	w.git.mu.Lock()
	for id, files := range w.git.trees {
		b, err := proto.Marshal(&committerv1.Tree{Tree: id, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, id), string(b))
	}
	w.git.mu.Unlock()
	spec, err := json.Marshal(childSpec{
		NATS: w.server.ClientURL(), Seed: w.server.SeedFile(events.RoleDrift), Kubeconfig: devclustertest.Kubeconfig(t), Trees: dir, KillAt: killAt, After: after,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ctx.Err() != nil || !ok || !status.Signaled() {
		t.Fatalf("the process did not die at write %d: %v\n%s", killAt, err, out)
	}
}

func TestChaosADriftProcessKilledAtAnyWriteOfASyncConverges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.deploy(stormManifests(0) + configMap("old", "x"))
	w.stop()
	c := client(t)
	// A sync writes the inventory, six ConfigMaps and a new one, removes what is not declared any more, and writes the inventory.
	last := 0
	for i, at := range []int64{1, 2, 5, 8, 9, 10}[:rounds(4, 6)] {
		for _, after := range []bool{false, true}[:rounds(1, 2)] {
			last++
			e.want(stormManifests(last) + configMap(fmt.Sprintf("new-%d", last), "x"))
			w.child(t, at, after != (i%2 == 1))
			// Nobody watches now. What is added has to be found afterwards, and only once; it is not a declared value, which syncs put back.
			_, err := c.CoreV1().ConfigMaps(e.ns).Patch(t.Context(), fmt.Sprintf("cm-%d", i), types.MergePatchType, []byte(`{"data":{"K0":"x"}}`), metav1.PatchOptions{FieldManager: "night-shift"})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	w.start()
	e.awaitSynced()
	e.converges(c, last)
	for _, f := range e.findings() {
		if f.GetManager() != "night-shift" || f.GetKind() != extra {
			t.Errorf("found %v", f)
		}
	}
	if n := len(e.findings()); n != rounds(4, 6) {
		t.Errorf("%d findings, want one for each edit", n)
	}
	// What was declared on the way and is not any more is gone, whenever the process died.
	list, err := c.CoreV1().ConfigMaps(e.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Items {
		if m.Name == "old" || len(m.Name) > 4 && m.Name[:4] == "new-" && m.Name != fmt.Sprintf("new-%d", last) {
			t.Errorf("%s is still there", m.Name)
		}
	}
	e.revert()
	e.converges(c, last)
}
