package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"

	"k8s.io/client-go/kubernetes"
)

const (
	auditLogName    = "audit.log"
	auditPolicyName = "audit-policy.yaml"
	serviceCIDR     = "10.96.0.0/16" // ClusterIPs come from here; they lead nowhere, there is no network
)

// auditPolicy decides which requests the audit log holds: the writes of people and applications, one line each. What the
// cluster's own components write is left out, so that the log answers "who changed this?" without a search.
//
//go:embed audit/policy.yaml
var auditPolicy []byte

// apiServerFlags are kube-apiserver's. Everything not named keeps upstream's default: admission with webhooks and PodSecurity
// (namespaces choose a level by label) among them.
func (c *Cluster) apiServerFlags() []string {
	return []string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--cert-dir=" + c.pki.dir,
		"--tls-cert-file=" + c.pki.path(apiServerIdentity+".crt"),
		"--tls-private-key-file=" + c.pki.path(apiServerIdentity+".key"),
		"--client-ca-file=" + c.pki.path("ca.crt"),
		"--etcd-servers=https://127.0.0.1:0", // replaced when etcd has a port
		"--etcd-cafile=" + c.pki.path("ca.crt"),
		"--etcd-certfile=" + c.pki.path(etcdIdentity+".crt"),
		"--etcd-keyfile=" + c.pki.path(etcdIdentity+".key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.pki.path("sa.pub"),
		"--service-account-signing-key-file=" + c.pki.path("sa.key"),
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=RBAC",
		"--endpoint-reconciler-type=none", // 127.0.0.1 is not allowed as an endpoint address
		"--allow-privileged=true",
		"--audit-policy-file=" + c.dir.file(auditPolicyName),
		"--audit-log-path=" + c.AuditLog(),
		"--audit-log-format=json",
		"--audit-log-maxsize=20", // MiB, then the file is renamed and a new one begun
		"--audit-log-maxbackup=3",
		"--profiling=false",
		"--shutdown-delay-duration=0s", // no load balancer has to notice
	}
}

// writeAuditPolicy puts the policy where kube-apiserver's flag can name it.
func (c *Cluster) writeAuditPolicy() error {
	if err := os.WriteFile(c.dir.file(auditPolicyName), auditPolicy, 0o600); err != nil {
		return fmt.Errorf("audit policy: %w", err)
	}
	return nil
}

// startAPIServer runs kube-apiserver and waits until it is ready.
func (c *Cluster) startAPIServer(ctx context.Context) error {
	c.parts.useEtcd(c.etcdURL)
	c.parts.useListener(c.listener)
	c.spawn("kube-apiserver", apiServerGrace, c.parts.setUpAPIServer())
	cfg, err := c.restConfig(c.Kubeconfig(), "devcluster")
	if err != nil {
		return err
	}
	if c.admin, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	// Not to be interrupted: upstream's start hooks end the whole process when they are cancelled, and nobody would remove the
	// temporary folder. Being told to stop takes effect when the server is up, a second or two later.
	if err := c.poll(context.WithoutCancel(ctx), c.apiReady); err != nil {
		return err
	}
	c.opts.Logf("kube-apiserver ready on %s", c.server())
	return nil
}
