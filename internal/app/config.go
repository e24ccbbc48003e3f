// Package app is the composition root: Config -> Complete -> Run. It alone knows all services; everything is wired by hand,
// one newX for each part.
package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/ratelimit"
	"github.com/towpath-dev/towpath/internal/store/etcdkv"
)

// Target is a part of towpathd that a process can run.
type Target string

// The targets.
const (
	Catalog   Target = "catalog"
	Renderer  Target = "renderer"
	Committer Target = "committer"
	Drift     Target = "drift"
	// Gateway serves REST, the portal and embedded repositories over HTTP, and forwards gRPC to whoever serves it.
	Gateway Target = "gateway"
	// All is all of them, the default.
	All Target = "all"
)

var targets = []Target{Catalog, Renderer, Committer, Drift, Gateway}

// Config is what towpathd is started with. The zero value of a field means its default.
type Config struct {
	// Targets to run in this process; All when empty.
	Targets []Target
	// DataDir holds everything that is kept: the catalog's database, the event store, embedded repositories, generated keys.
	// One process at a time may use it for the same target.
	DataDir string
	// Store is the catalog's database: an etcd URL as etcdkv.ParseURL reads, for several catalog processes at once; a file in
	// DataDir when empty. With it NATSURL and AdminToken are needed.
	Store string
	// GRPCListen is the address of the gRPC API; 127.0.0.1:7081. Empty ports pick a free one.
	GRPCListen string
	// HTTPListen is the address of REST, portal, metrics and embedded repositories; 127.0.0.1:7080.
	HTTPListen string
	// NATSListen is where the embedded event server listens for operators and other processes; 127.0.0.1:7082. Unused with NATSURL.
	NATSListen string
	// NATSURL is an event server outside of this process.
	NATSURL string
	// NATSSeeds is a folder with one nkey seed per role (catalog.nk, committer.nk, drift.nk) for NATSURL, as the embedded
	// server writes it to DataDir/nats.
	NATSSeeds string
	// NATSCreds is a credentials file for NATSURL, instead of NATSSeeds.
	NATSCreds string
	// Addresses of services that run in other processes, by target: host:port of their gRPC API.
	Addresses map[Target]string
	// ServiceToken is the secret by which the processes of one installation know each other. Needed in more than one process;
	// made up for one.
	ServiceToken string
	// AdminToken is the secret of the first admin token; made up and kept in DataDir/admin-token when empty.
	AdminToken string
	// Issuers are the identity providers whose tokens the catalog takes beside its own.
	Issuers []oidc.Issuer
	// SessionKey is the secret that browser sessions are sealed with: the same for all gateways of an installation. ServiceToken where
	// that is given, else made up and kept in DataDir.
	SessionKey string
	// Limits bound how many calls a subject may make, and how many without a valid token an address; DefaultLimits when nil. A
	// limit of 0 is none.
	Limits *ratelimit.Config
	// Kubeconfig is the default cluster of targets that name none; in-cluster access when empty.
	Kubeconfig string
	// ClusterAudit is where the audit events of clusters come from; nowhere when empty.
	ClusterAudit ClusterAudit
	// CredentialsDir holds the files that repositories' credentials are named after.
	CredentialsDir string
	// Credentials is where credentials are that are no files.
	Credentials Credentials
	// ClusterCredentialsDir holds the files and folders that targets' credentials are named after, for drift alone;
	// DataDir/cluster-credentials.
	ClusterCredentialsDir string
	// ClusterCredentials is where targets' credentials are that are no files.
	ClusterCredentials Credentials
	// DriftKey is the secret that masks secret values in what drift keeps: the same for all drift processes of an installation, for
	// ever. Made up and kept in DataDir, or made of ServiceToken where the targets run in several processes, when empty.
	DriftKey string
	// AdvertiseGRPC is host:port by which the other drift processes reach this one; the listening address by default.
	AdvertiseGRPC string
	// History is where old history goes: a folder, or s3://BUCKET/PREFIX?endpoint=HOST:PORT. DataDir/catalog/history by default.
	History string
	// ArchiveAfter is the age from which history goes there; 90 days.
	ArchiveAfter time.Duration
	// RepublishAfter is how long a deployment may be without effect before its command is looked for and sent again; 30 s.
	RepublishAfter time.Duration
	// PullInterval is how often an open pull request is asked about where no webhook tells; a minute.
	PullInterval time.Duration
	// PublicURL is where people find the portal, for links in pull requests and for signing in; none when empty.
	PublicURL string
	// AckWait is how long work that a killed process had begun waits until it is begun again; 30 s. A process that lives says
	// so three times in that time.
	AckWait time.Duration
	// Log gets everything; JSON to standard error by default.
	Log *slog.Logger
	// Failpoint is called at the boundaries of package failpoint; from the environment by default.
	Failpoint func(name string)
	// Ready is called once everything listens.
	Ready func(Endpoints)
	// Version is what the binary calls itself.
	Version string
}

// Endpoints is where a running process can be reached; empty where it does not serve.
type Endpoints struct {
	GRPC, HTTP, NATS string
	// AdminTokenFile holds the first admin token.
	AdminTokenFile string
}

// completed is a Config whose every field is valid. Only Complete makes one.
type completed struct {
	Config
	runs map[Target]bool
	etcd *etcdkv.Config // nil for the file
}

// App is ready to run.
type App struct{ cfg completed }

// Complete checks the configuration and fills in its defaults. All problems are reported at once, by the names of the flags.
// It creates the data folder and the secrets in it.
func (c Config) Complete() (*App, error) {
	cfg := completed{Config: c, runs: map[Target]bool{}}
	var bad []errs.Field
	problem := func(flag, format string, args ...any) {
		bad = append(bad, errs.Field{Path: flag, Problem: fmt.Sprintf(format, args...)})
	}
	if len(cfg.Targets) == 0 {
		cfg.Targets = []Target{All}
	}
	for _, t := range cfg.Targets {
		switch {
		case t == All:
			for _, t := range targets {
				cfg.runs[t] = true
			}
		case slices.Contains(targets, t):
			cfg.runs[t] = true
		default:
			problem("--target", "%q is no target; use all or a list of %v", t, targets)
		}
	}
	for _, a := range []struct {
		flag  string
		value *string
		def   string
	}{
		{"--grpc-listen", &cfg.GRPCListen, "127.0.0.1:7081"},
		{"--http-listen", &cfg.HTTPListen, "127.0.0.1:7080"},
		{"--nats-listen", &cfg.NATSListen, "127.0.0.1:7082"},
	} {
		if *a.value == "" {
			*a.value = a.def
		}
		if _, _, err := net.SplitHostPort(*a.value); err != nil {
			problem(a.flag, "%q is not host:port: %v", *a.value, err)
		}
	}
	for t := range needs(cfg.runs) {
		if !cfg.runs[t] && cfg.Addresses[t] == "" {
			problem("--"+string(t)+"-addr", "is needed: this process does not run the %s, but what it runs calls it", t)
		}
	}
	if len(cfg.runs) < len(targets) && cfg.ServiceToken == "" {
		problem("--service-token-file", "is needed where the targets run in several processes: the same random secret for all of them")
	}
	if cfg.DataDir == "" {
		problem("--data-dir", "is needed: a folder that only this installation uses")
	}
	if cfg.NATSURL == "" && !cfg.runs[Catalog] && (cfg.runs[Committer] || cfg.runs[Drift]) {
		problem("--nats-url", "is needed: the event server is embedded only where the catalog runs")
	}
	if cfg.Credentials.Kubeconfig != "" && cfg.Credentials.Namespace == "" {
		problem("--credentials-namespace", "is needed: the namespace of --credentials-kubeconfig that holds the credentials")
	}
	if u, err := url.Parse(cfg.PublicURL); cfg.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery+u.Fragment != "") {
		problem("--public-url", "%q is no address of a portal; give one such as https://towpath.example.com", cfg.PublicURL)
	}
	cfg.checkDrift(problem)
	cfg.checkStore(problem)
	cfg.ClusterAudit.check(cfg.runs[Drift], problem)
	if err := oidc.Check(cfg.Issuers); err != nil {
		var e *errs.Error
		if errors.As(err, &e) {
			bad = append(bad, e.Fields...)
		}
	}
	if len(bad) > 0 {
		return nil, errs.InvalidFields(bad...)
	}
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &App{cfg: cfg}, nil
}

// needs tells which services the ones of this process call.
func needs(runs map[Target]bool) map[Target]bool {
	n := map[Target]bool{}
	if runs[Catalog] {
		n[Renderer], n[Committer] = true, true
	}
	if runs[Committer] {
		n[Renderer] = true
	}
	if runs[Drift] {
		n[Committer] = true
	}
	if runs[Gateway] {
		for _, t := range targets[:4] {
			n[t] = true
		}
	}
	// Everybody who authenticates callers asks the catalog.
	n[Catalog] = true
	return n
}

func (c *completed) fill() error {
	if c.Log == nil {
		c.Log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	if c.Limits == nil {
		c.Limits = DefaultLimits()
	}
	if c.RepublishAfter == 0 {
		c.RepublishAfter = 30 * time.Second
	}
	if c.SessionKey == "" {
		c.SessionKey = c.ServiceToken
	}
	if c.ServiceToken == "" {
		c.ServiceToken = rand.Text()
	}
	if c.Ready == nil {
		c.Ready = func(Endpoints) {}
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if c.CredentialsDir == "" {
		c.CredentialsDir = filepath.Join(c.DataDir, "credentials")
	}
	if c.ClusterCredentialsDir == "" {
		c.ClusterCredentialsDir = filepath.Join(c.DataDir, "cluster-credentials")
	}
	if c.Failpoint == nil {
		hit, err := failpoint.FromEnv()
		if err != nil {
			return err
		}
		if c.Failpoint = hit; hit == nil {
			c.Failpoint = func(string) {}
		}
	}
	var err error
	if c.SessionKey == "" && c.runs[Gateway] {
		if c.SessionKey, err = keptSecret(filepath.Join(c.DataDir, "session-key"), ""); err != nil {
			return err
		}
	}
	if c.AdminToken == "" && c.runs[Catalog] { // never with a store that others use as well
		c.AdminToken, err = keptSecret(c.adminTokenFile(), "tow_")
	}
	return err
}

func (c *completed) adminTokenFile() string { return filepath.Join(c.DataDir, "admin-token") }

// keptSecret reads a secret from a file, or makes it up and writes it there for the next start.
func keptSecret(file, prefix string) (string, error) {
	b, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := prefix + rand.Text() + rand.Text()
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write secret: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return "", fmt.Errorf("write secret: %w", err)
	}
	return secret, nil
}
