package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/drift"
)

// addClusterFlags adds what only drift needs.
func addClusterFlags(fs *pflag.FlagSet, cfg *Config) {
	fs.StringVar(&cfg.ClusterCredentialsDir, "cluster-credentials-dir", "", "folder with the credentials of targets, a folder or kubeconfig each; drift reads it (default DATA-DIR/cluster-credentials)")
	fs.StringVar(&cfg.ClusterCredentials.Namespace, "cluster-credentials-namespace", "", "namespace whose Kubernetes Secrets are the targets' credentials that are neither file nor folder (default: none)")
	fs.StringVar(&cfg.ClusterCredentials.Kubeconfig, "cluster-credentials-kubeconfig", "", "cluster of --cluster-credentials-namespace (default: as for --kubeconfig)")
	fs.StringVar(&cfg.AdvertiseGRPC, "advertise-grpc", "", "host:port by which the other drift processes reach this one (default: --grpc-listen, or the host's name where that is all addresses)")
}

func (c *completed) checkDrift(problem func(flag, format string, args ...any)) {
	if c.ClusterCredentials.Kubeconfig != "" && c.ClusterCredentials.Namespace == "" {
		problem("--cluster-credentials-namespace", "is needed: the namespace of --cluster-credentials-kubeconfig that holds the targets' credentials")
	}
	if c.AdvertiseGRPC == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.AdvertiseGRPC)
	if ip := net.ParseIP(host); err != nil || host == "" || port == "" || port == "0" || ip != nil && ip.IsUnspecified() {
		problem("--advertise-grpc", "%q is no host:port that others can reach; give this process's own name or address", c.AdvertiseGRPC)
	}
}

// advertised is where others reach a process that listens at an address.
func (c *completed) advertised(listens string) string {
	if c.AdvertiseGRPC != "" {
		return c.AdvertiseGRPC
	}
	host, port, err := net.SplitHostPort(listens)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		if name, err := os.Hostname(); err == nil {
			return net.JoinHostPort(name, port)
		}
	}
	return listens
}

// maskKey is what baselines' digests of secret values are made with. It must be the same after a restart, and for all drift
// processes: where there may be several, it is made of the secret that they share, and kept when that is changed.
func (p *process) maskKey() (string, error) {
	file := filepath.Join(p.DataDir, "drift-mask-key")
	if p.DriftKey != "" || len(p.runs) == len(targets) {
		if p.DriftKey != "" {
			return p.DriftKey, nil
		}
		return keptSecret(file, "")
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		sum := sha256.Sum256([]byte("drift-mask-key\x00" + p.ServiceToken))
		if err := os.WriteFile(file+".tmp", []byte(hex.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("write the key of masks: %w", err)
		}
		if err := os.Rename(file+".tmp", file); err != nil {
			return "", fmt.Errorf("write the key of masks: %w", err)
		}
	}
	return keptSecret(file, "")
}

func (p *process) newDrift(ctx context.Context) error {
	if !p.runs[Drift] {
		return nil
	}
	bus, err := p.bus(ctx, events.RoleDrift)
	if err != nil {
		return err
	}
	key, err := p.maskKey()
	if err != nil {
		return err
	}
	cfg := drift.Config{
		Bus: bus, Committer: committerv1.NewCommitterServiceClient(p.conns[Committer]),
		Connect: p.connect, CredentialsDir: p.ClusterCredentialsDir, MaskKey: []byte(key), Log: p.Log,
	}
	if secrets, err := p.secretsAt(p.ClusterCredentials, "--cluster-credentials-namespace"); err != nil {
		return err
	} else if secrets != nil {
		cfg.Secrets = secrets
	}
	if cfg.Audit, err = p.ClusterAudit.drift(); err != nil {
		return err
	}
	s, err := drift.New(cfg)
	if err != nil {
		return err
	}
	s.Register(p.server)
	p.handlers.Handle("POST "+drift.AuditPath, s.AuditEvents())
	trail := audit.NewPublisher(bus, "drift", p.Log)
	p.auditors.set(Drift, trail)
	p.running("audit of drift", trail.Run)
	p.running("drift", s.Run)
	return nil
}

// connect gives access to a target's cluster: its own kubeconfig, else ours, else the cluster that this process runs in.
func (p *process) connect(t *eventsv1.TargetRef) (*rest.Config, error) {
	file := t.GetKubeconfig()
	if file == "" {
		file = p.Kubeconfig
	}
	unusable := func(err error) error {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"target %s: its kubeconfig cannot be used; check the target's kubeconfig and context, or --kubeconfig", t.GetName()).Because(err)
	}
	if file == "" {
		cfg, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, unusable(fmt.Errorf("no kubeconfig is given and this process runs in no cluster: %w", err))
		}
		if err != nil {
			return nil, unusable(err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file},
		&clientcmd.ConfigOverrides{CurrentContext: t.GetContext()},
	).ClientConfig()
	if err != nil {
		return nil, unusable(err)
	}
	return cfg, nil
}
