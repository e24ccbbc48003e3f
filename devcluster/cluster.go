package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// Options say what cluster to run. The zero value is a usable one in a temporary folder, but for Logf and without nodes.
type Options struct {
	Dir       string // state folder; empty: temporary
	Port      int    // of the API server; 0: the folder's last one when free, else any
	Nodes     int    // simulated nodes, at least
	Stages    string // file of more KWOK stages; empty: none
	Verbosity int    // of the components' log
	Logf      func(format string, args ...any)
}

// Cluster is a running control plane. There can be one per process, ever: the upstream components keep their feature gates,
// metrics and signal handling in package variables. Several clusters are several processes.
type Cluster struct {
	opts     Options
	dir      *stateDir
	pki      *pki
	stages   stageSet
	listener *net.TCPListener // of the API server, until it takes it over
	etcdURL  string
	parts    *components
	admin    kubernetes.Interface
	failed   chan error
	stops    []func() // run in reverse order
	once     sync.Once
}

// Start brings a cluster up and returns when objects can be created, scheduled and become ready. When it fails, everything
// that it started is stopped again. ctx ends the waiting only; a started cluster lives until Stop.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := openStateDir(o.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: o, dir: dir, failed: make(chan error, 8)}
	c.onStop(dir.close)
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"stages", c.readStages},
		{"log", c.openLog},
		{"port", c.openPort},
		{"certificates", c.issueCertificates},
		{"settings", c.configure},
		{"etcd", c.startEtcd},
		{"kube-apiserver", c.startAPIServer},
		{"kube-scheduler", c.startScheduler},
		{"kube-controller-manager", c.startControllerManager},
		{"nodes", c.createNodes},
		{"kwok", c.startKwok},
		{"storage", c.startStorage},
		{"first objects", c.waitUsable},
	}
	for _, s := range steps {
		if err := s.run(ctx); err != nil {
			err = c.explain(fmt.Errorf("%s: %w", s.name, err))
			c.Stop()
			return nil, err
		}
		if ctx.Err() != nil {
			c.Stop()
			return nil, ctx.Err()
		}
	}
	return c, nil
}

// Dir is the state folder, absolute.
func (c *Cluster) Dir() string { return c.dir.path }

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.dir.file(kubeconfigName) }

// AuditLog is the path of the API server's audit log: JSON lines, one per write by a person or an application.
func (c *Cluster) AuditLog() string { return c.dir.file(auditLogName) }

// Failed yields the error of a component that ended although nobody stopped it. The cluster is of no use after that.
func (c *Cluster) Failed() <-chan error { return c.failed }

// Stop ends the components, the last started first, and gives the state folder back. It may be called more than once.
func (c *Cluster) Stop() {
	c.once.Do(func() {
		for i := len(c.stops) - 1; i >= 0; i-- {
			c.stops[i]()
		}
	})
}

func (c *Cluster) onStop(f func()) { c.stops = append(c.stops, f) }

// spawn runs a component until Stop. Stop waits for it for at most grace and then goes on: a component that hangs must not
// keep the state folder locked.
func (c *Cluster) spawn(name string, grace time.Duration, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := f(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended early")
		}
		select {
		case c.failed <- fmt.Errorf("%s: %w", name, err):
		default: // the first failures are the interesting ones
		}
	}()
	c.onStop(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(grace):
		}
	})
}

// openLog sends the log of all components to one file in the state folder. It holds the last run only.
func (c *Cluster) openLog(context.Context) error {
	f, err := os.Create(c.dir.file(logName))
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	for _, kv := range [][2]string{
		{"logtostderr", "false"}, {"alsologtostderr", "false"}, {"stderrthreshold", "FATAL"}, {"one_output", "true"},
		{"v", strconv.Itoa(c.opts.Verbosity)},
	} {
		if err := fs.Set(kv[0], kv[1]); err != nil {
			return fmt.Errorf("log flag %s: %w", kv[0], err)
		}
	}
	klog.SetOutput(f)
	c.onStop(klog.Flush)
	return nil
}

// explain adds to an error what a person needs to go on: the last errors of the log, because a temporary folder's log is gone
// when they read the message, and where the log is when it stays. Before anything is logged the error says it all.
func (c *Cluster) explain(err error) error {
	klog.Flush()
	b, _ := os.ReadFile(c.dir.file(logName))
	if len(b) == 0 {
		return err
	}
	var last []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "E") || strings.HasPrefix(line, "F") { // klog's severities error and fatal
			last = append(last, "  "+strings.TrimRight(line, "\n"))
		}
	}
	if n := len(last) - 5; n > 0 {
		last = last[n:]
	}
	where := "run again with --dir to keep the log"
	if !c.dir.temporary {
		where = "the log is " + c.dir.file(logName)
	}
	if len(last) == 0 {
		return fmt.Errorf("%w; %s", err, where)
	}
	return fmt.Errorf("%w; %s; its last errors:\n%s", err, where, strings.Join(last, "\n"))
}

// openPort opens the API server's port early: clients that come before it is ready wait instead of being refused.
func (c *Cluster) openPort(context.Context) (err error) {
	if c.listener, err = c.dir.listen(c.opts.Port); err != nil {
		return err
	}
	c.onStop(func() { _ = c.listener.Close() })
	return nil
}

// server is the URL of the API server.
func (c *Cluster) server() string { return "https://" + c.listener.Addr().String() }

// restConfig is a client configuration for one of the identities that issueCertificates wrote.
func (c *Cluster) restConfig(kubeconfig, userAgent string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	cfg.UserAgent = userAgent
	cfg.QPS, cfg.Burst = 200, 400 // the defaults of 5 and 10 make a start take seconds longer
	return cfg, nil
}
