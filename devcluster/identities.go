package main

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Who there is. The components have names of their own, those of a real cluster, so that the audit log can tell their writes
// from a person's. All are in system:masters: the roles that RBAC has for them suppose an identity per control loop.
const (
	adminIdentity             = "devcluster-admin"
	controllerManagerIdentity = "system:kube-controller-manager"
	schedulerIdentity         = "system:kube-scheduler"
	kwokIdentity              = "system:kwok"

	// Server certificates.
	apiServerIdentity = "kube-apiserver"
	etcdIdentity      = "devcluster-etcd"

	masters = "system:masters"
)

// issueCertificates writes all certificates and kubeconfigs anew under the state folder's authority, which stays the same.
func (c *Cluster) issueCertificates(context.Context) (err error) {
	if c.pki, err = openPKI(c.dir.file(pkiName)); err != nil {
		return err
	}
	loopback := net.IPv4(127, 0, 0, 1)
	err = c.pki.issue(apiServerIdentity, pkix.Name{CommonName: apiServerIdentity},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		[]net.IP{loopback, net.IPv4(10, 96, 0, 1)})
	if err != nil {
		return err
	}
	// etcd's one certificate is its server's, its peer's and the API server's key to it.
	if err := c.pki.issue(etcdIdentity, pkix.Name{CommonName: etcdIdentity}, []string{"localhost"}, []net.IP{loopback}); err != nil {
		return err
	}
	for _, user := range []string{adminIdentity, controllerManagerIdentity, schedulerIdentity, kwokIdentity} {
		if err := c.writeKubeconfig(user); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", user, err)
		}
	}
	return nil
}

// kubeconfigOf is the path of an identity's kubeconfig. The administrator's is at the top of the folder, for people.
func (c *Cluster) kubeconfigOf(user string) string {
	if user == adminIdentity {
		return c.Kubeconfig()
	}
	return c.pki.path(fileName(user) + ".kubeconfig")
}

// fileName of an identity's files: some file systems do not take a colon.
func fileName(user string) string { return strings.TrimPrefix(user, "system:") }

// writeKubeconfig issues a client certificate and writes a kubeconfig that holds everything in itself, so that it can be
// copied elsewhere.
func (c *Cluster) writeKubeconfig(user string) error {
	name := fileName(user)
	if err := c.pki.issue(name, pkix.Name{CommonName: user, Organization: []string{masters}}, nil, nil); err != nil {
		return err
	}
	crt, err := os.ReadFile(c.pki.path(name + ".crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(c.pki.path(name + ".key"))
	if err != nil {
		return err
	}
	k := clientcmdapi.NewConfig()
	k.Clusters["devcluster"] = &clientcmdapi.Cluster{Server: c.server(), CertificateAuthorityData: c.pki.caPEM}
	k.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: crt, ClientKeyData: key}
	k.Contexts["devcluster"] = &clientcmdapi.Context{Cluster: "devcluster", AuthInfo: user}
	k.CurrentContext = "devcluster"
	b, err := clientcmd.Write(*k)
	if err != nil {
		return err
	}
	return writeFileAtomic(c.kubeconfigOf(user), b, 0o600)
}
