package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	apiapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiopts "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmopts "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedopts "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	_ "k8s.io/component-base/metrics/prometheus/version" // the build's version among the metrics, as upstream's mains do
)

// components holds the upstream components' parsed options. What is done here, and in this order, is what makes three programs
// live in one process:
//
//   - Upstream's cobra commands cannot be used. Those of the API server and the scheduler both install a signal handler, and
//     the second one panics. The Run functions below them are fine.
//   - All three register into one registry of feature gates. It has to be set once, after the last flag is parsed and before
//     anything runs.
//   - client-go makes the user agent, and from it the API server the field manager of every write, out of os.Args[0].
//     actAs sets it around each component's setup; otherwise every object would be managed by "devcluster", and what
//     attributes drift by field manager would not see what it sees in a real cluster.
type components struct {
	api   *apiopts.ServerRunOptions
	kcm   *kcmopts.KubeControllerManagerOptions
	sched *schedopts.Options
}

// parseComponents reads the components' flags.
func parseComponents(apiFlags, kcmFlags, schedFlags []string) (*components, error) {
	p := &components{api: apiopts.NewServerRunOptions(), sched: schedopts.NewOptions()}
	var err error
	if p.kcm, err = kcmopts.NewKubeControllerManagerOptions(); err != nil {
		return nil, fmt.Errorf("kube-controller-manager: %w", err)
	}
	err = errors.Join(
		parseFlags("kube-apiserver", p.api.Flags(), apiFlags),
		parseFlags("kube-controller-manager", p.kcm.Flags(controllerLists()), kcmFlags),
		parseFlags("kube-scheduler", *p.sched.Flags, schedFlags),
	)
	if err != nil {
		return nil, err
	}
	if err := p.api.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("feature gates: %w", err)
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{}) // deprecation warnings of upstream's own controllers
	return p, nil
}

func parseFlags(component string, sets cliflag.NamedFlagSets, args []string) error {
	fs := pflag.NewFlagSet(component, pflag.ContinueOnError)
	for _, f := range sets.FlagSets {
		fs.AddFlagSet(f)
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%s flags: %w", component, err)
	}
	return nil
}

// controllerLists are the controllers that exist, those that are off unless asked for, and their other names.
func controllerLists() (known, off []string, aliases map[string]string) {
	return kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases()
}

// actAs makes the process call itself by a component's name. Only between two steps of Start: readers are the clients that
// the component makes while it starts, and the API server has made its last one when it reports ready.
func actAs(component string) { os.Args[0] = component }

// useEtcd tells the API server where etcd listens, which is known only when it does.
func (p *components) useEtcd(url string) {
	p.api.Etcd.StorageConfig.Transport.ServerList = []string{url}
}

// useListener hands the API server its open port.
func (p *components) useListener(l net.Listener) { p.api.SecureServing.Listener = l }

// setUpAPIServer returns what runs the API server.
func (p *components) setUpAPIServer() (run func(context.Context) error) {
	actAs("kube-apiserver")
	return p.runAPIServer
}

func (p *components) runAPIServer(ctx context.Context) error {
	completed, err := p.api.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	return apiapp.Run(ctx, completed)
}

// setUpScheduler makes the scheduler's clients and returns what runs it. Its setup takes the context of the whole run, which
// the caller only has later: hence the one in between.
func (p *components) setUpScheduler() (run func(context.Context) error, err error) {
	actAs("kube-scheduler")
	ctx, cancel := context.WithCancel(context.Background())
	cfg, sched, err := schedapp.Setup(ctx, p.sched)
	if err != nil {
		cancel()
		return nil, err
	}
	return func(outer context.Context) error {
		stop := context.AfterFunc(outer, cancel)
		defer stop()
		return schedapp.Run(ctx, cfg, sched)
	}, nil
}

// setUpControllerManager returns what runs the controller manager. It makes clients all its life, so its name stays.
func (p *components) setUpControllerManager() (run func(context.Context) error) {
	actAs("kube-controller-manager")
	return func(ctx context.Context) error {
		known, off, aliases := controllerLists()
		cfg, err := p.kcm.Config(ctx, known, off, aliases)
		if err != nil {
			return err
		}
		return kcmapp.Run(ctx, cfg.Complete())
	}
}
