package main

import (
	"context"
	"time"
)

// How long Stop waits for a component. The API server ends open watches and drains requests.
const (
	apiServerGrace  = 15 * time.Second
	controllerGrace = 5 * time.Second
)

// controllerManagerFlags are kube-controller-manager's. No leader election: there is one, and waiting for a lease costs
// seconds. No port of its own: nobody scrapes it and it could collide.
func (c *Cluster) controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfigOf(controllerManagerIdentity),
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials=false", // one identity for all loops: saves a token per loop at the start
		"--service-account-private-key-file=" + c.pki.path("sa.key"),
		"--root-ca-file=" + c.pki.path("ca.crt"),
		"--cluster-signing-cert-file=" + c.pki.path("ca.crt"),
		"--cluster-signing-key-file=" + c.pki.path("ca.key"),
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--min-resync-period=12h",
		"--controllers=*",
		"--flex-volume-plugin-dir=" + c.dir.file("flexvolume"),
		"--profiling=false",
	}
}

// schedulerFlags are kube-scheduler's.
func (c *Cluster) schedulerFlags() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfigOf(schedulerIdentity),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--profiling=false",
	}
}

// configure reads the flags of all components before the first of them runs, as components.go explains.
func (c *Cluster) configure(context.Context) (err error) {
	if err := c.writeAuditPolicy(); err != nil {
		return err
	}
	c.parts, err = parseComponents(c.apiServerFlags(), c.controllerManagerFlags(), c.schedulerFlags())
	return err
}

func (c *Cluster) startScheduler(context.Context) error {
	run, err := c.parts.setUpScheduler()
	if err != nil {
		return err
	}
	c.spawn("kube-scheduler", controllerGrace, run)
	return nil
}

// startControllerManager returns at once; waitUsable sees when it works.
func (c *Cluster) startControllerManager(context.Context) error {
	c.spawn("kube-controller-manager", controllerGrace, c.parts.setUpControllerManager())
	return nil
}
