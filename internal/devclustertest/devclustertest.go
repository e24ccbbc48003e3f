// Package devclustertest gives tests a real Kubernetes API server: it runs the devcluster binary as a process of its own.
//
// A package whose tests need a cluster calls Run from TestMain. The cluster starts when the first test asks for it, so the
// other tests of the package run without, and all tests share it: each works in a namespace of its own, from Namespace.
// A test that has to stop, kill or restart a cluster starts one for itself with Start.
//
//	func TestMain(m *testing.M) { os.Exit(devclustertest.Run(m)) }
//
//	func TestApply(t *testing.T) {
//		ns := devclustertest.Namespace(t)
//		client, err := kubernetes.NewForConfig(devclustertest.Config(t))
//		...
//		devclustertest.Kubectl(t, "-n", ns, "scale", "deployment/web", "--replicas=2")
//	}
//
// A test that needs a cluster fails when the binary is missing; it is never skipped, because a skipped test is one that
// nobody notices. What belongs here is running the binary, and nothing that knows of the product.
package devclustertest

import (
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// Options say what cluster to run. The zero value is one node in a temporary folder.
type Options struct {
	// Dir is the state folder. Empty: one of the test's own, removed with it.
	Dir string
	// Nodes is the number of simulated nodes; 0 means 1.
	Nodes int
	// Stages names a file of more KWOK stages, for pods that behave in a special way.
	Stages string
}

// shared is the cluster of a test binary.
var shared struct {
	sync.Mutex
	usable  bool // Run is at work
	opts    Options
	cluster *Cluster
	err     error // of the start, told to every test that asks: a second try would only be slow
}

// Run runs the package's tests and stops the cluster when one of them started it. It returns the exit code. m is *testing.M,
// or what wraps it. opts may hold one Options for the shared cluster; its Dir is not used.
func Run(m interface{ Run() int }, opts ...Options) int {
	if len(opts) > 1 {
		panic("devclustertest: Run takes one Options at most")
	}
	shared.Lock()
	shared.usable = true
	for _, o := range opts {
		o.Dir = ""
		shared.opts = o
	}
	shared.Unlock()
	defer stopShared()
	return m.Run()
}

func stopShared() {
	shared.Lock()
	defer shared.Unlock()
	shared.usable = false
	if shared.cluster != nil {
		shared.cluster.end()
		shared.cluster = nil
	}
}

// Shared is the cluster of this test binary, started now if it is not running yet.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.usable {
		t.Fatal("this package has no shared cluster: add func TestMain(m *testing.M) { os.Exit(devclustertest.Run(m)) }")
	}
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = startShared(shared.opts)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

func startShared(o Options) (*Cluster, error) {
	c, err := newCluster(o)
	if err != nil {
		return nil, err
	}
	return c, c.launch()
}

// Kubeconfig is the path of the shared cluster's administrator kubeconfig.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	return Shared(t).Kubeconfig()
}

// Config is a client configuration for the shared cluster's administrator, the caller's to change.
func Config(t testing.TB) *rest.Config {
	t.Helper()
	return Shared(t).Config(t)
}

// Namespace creates a namespace of a unique name in the shared cluster and deletes it after the test.
func Namespace(t testing.TB) string {
	t.Helper()
	return Shared(t).Namespace(t)
}

// Kubectl runs kubectl as the shared cluster's administrator and returns its standard output. A failure fails the test.
func Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return Shared(t).Kubectl(t, args...)
}

// AuditLog is the path of the shared cluster's audit log: JSON lines, one for each write by anybody but the cluster itself.
// A line is written when the request ends, which may be a moment after its answer: wait for it.
func AuditLog(t testing.TB) string {
	t.Helper()
	return Shared(t).AuditLog()
}
