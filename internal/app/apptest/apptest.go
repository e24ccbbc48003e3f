// Package apptest runs all of Towpath for tests: Start in the test's own process, NewProcess and StartProcess as processes that a test can kill
// and start again on the same data and ports. Client has what tests of a whole system do again and again: deploy, wait, clone,
// ask over REST, listen to events.
//
// What belongs here is running the product and looking at it from outside. Everything is real: gRPC and HTTP on loopback,
// the embedded event server, bbolt, embedded repositories, and a cluster from internal/devclustertest where one is given.
//
//	func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		s := apptest.Start(t, apptest.WithCluster(devclustertest.Shared(t)))
//		env := s.NewEnvironment(t, "shop/dev")
//		d := s.DeployScore(t, env, apptest.Score("web", nil))
//		s.WaitState(t, d.GetName(), apptest.Healthy)
//	}
package apptest

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/towpath-dev/towpath/internal/app"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// Patience is how long anything may take that happens by itself. It is long because machines that run tests are busy.
const Patience = 60 * time.Second

// Option changes the configuration of what is started.
type Option func(*app.Config)

// WithCluster makes a cluster the default one.
func WithCluster(c *devclustertest.Cluster) Option {
	return func(cfg *app.Config) { cfg.Kubeconfig = c.Kubeconfig() }
}

// WithDataDir keeps the data in a folder that outlives what is started.
func WithDataDir(dir string) Option { return func(cfg *app.Config) { cfg.DataDir = dir } }

// WithNATS uses an event server outside of the process, with the role keys in a folder.
func WithNATS(url, seeds string) Option {
	return func(cfg *app.Config) { cfg.NATSURL, cfg.NATSSeeds = url, seeds }
}

// childEnv makes the test binary be towpathd.
const childEnv = "TOWPATH_TEST_RUN_TOWPATHD"

// Main runs a package's tests, from TestMain, and gives the exit code. The test binary is towpathd itself when NewProcess starts
// it, so that the race detector covers the server. A goroutine that is left at the end fails the package.
func Main(m *testing.M) int {
	if os.Getenv(childEnv) != "" {
		go func() { // the parent holds the other end: no server outlives a test binary that crashed
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		return app.Main("test", os.Args[1:], os.Stdout, os.Stderr)
	}
	code := devclustertest.Run(m)
	if code != 0 {
		return code
	}
	if err := goleak.Find(knownGoroutines()...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// knownGoroutines run for as long as a process that uses these libraries; none is ours and none grows in number.
func knownGoroutines() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
	}
}
