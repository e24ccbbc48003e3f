package drift

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/credentials"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The parts of a target's credentials: files of a folder, keys of a Kubernetes Secret.
const (
	partToken      = "token"
	partCA         = "ca.crt"
	partKubeconfig = "kubeconfig"
	partCert       = "tls.crt"
	partKey        = "tls.key"
)

// accessParts are their spellings.
var accessParts = map[string]string{
	partToken: partToken, partCA: partCA, partKubeconfig: partKubeconfig, partCert: partCert, partKey: partKey,
	"bearerToken": partToken, "caFile": partCA, "value": partKubeconfig, // of other tools' Secrets
}

func accessPart(file string) string { return accessParts[file] }

// secretSource reads Kubernetes Secrets of one namespace. Its answer is no older than maxAge. A Secret that is not there is
// errs.NotFound, a cluster that does not answer errs.Unavailable.
type secretSource interface {
	Secret(ctx context.Context, name string, maxAge time.Duration) (map[string][]byte, error)
}

const (
	// accessEvery is how often a target's access is read anew, secretAge how old a Kubernetes Secret may be then.
	accessEvery = 5 * time.Second
	secretAge   = 4 * time.Second
)

// access resolves how targets are reached. It is the only one that does: names of credentials mean nothing anywhere else, and
// what they stand for never leaves this process but to the cluster itself.
type access struct {
	dir     string
	secrets secretSource
	connect func(*eventsv1.TargetRef) (*rest.Config, error)
}

// of gives the configuration by which a target is reached now, with all files read, and a digest of it. No error of it holds
// anything of a secret. errs.Unavailable may pass by itself, errs.Precondition needs somebody to mend what it names.
func (a *access) of(ctx context.Context, t *eventsv1.TargetRef) (*rest.Config, [sha256.Size]byte, error) {
	cfg, err := a.resolve(ctx, t)
	if err == nil {
		cfg = rest.CopyConfig(cfg)
		if lerr := rest.LoadTLSFiles(cfg); lerr != nil {
			err = unusableAccess(t, "a certificate that its kubeconfig names cannot be read; check the paths in it, and that drift may read them").Because(lerr)
		}
	}
	if err != nil {
		return nil, [sha256.Size]byte{}, err
	}
	cfg.CertFile, cfg.KeyFile, cfg.CAFile = "", "", "" // read just now, so they would only hide the next change
	return cfg, sumOf(cfg), nil
}

func (a *access) resolve(ctx context.Context, t *eventsv1.TargetRef) (*rest.Config, error) {
	if t.GetCredentials() != "" {
		f, err := a.find(ctx, t)
		if err != nil {
			return nil, err
		}
		return configOf(t, f)
	}
	if t.GetServer() != "" {
		return nil, unusableAccess(t, "it names a server and no credentials; name them, or give a kubeconfig instead")
	}
	cfg, err := a.connect(t)
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// find reads the credentials that a target names: a folder or file, else a Kubernetes Secret.
func (a *access) find(ctx context.Context, t *eventsv1.TargetRef) (*credentials.Found, error) {
	name := t.GetCredentials()
	missing := unusableAccess(t, "its credentials %q are not among drift's own; put a folder of that name into the folder of cluster "+
		"credentials, with %q and %q or with %q, or make a Kubernetes Secret of that name", name, partToken, partCA, partKubeconfig)
	if !credentials.ValidName(name) {
		return nil, missing
	}
	f, err := credentials.ReadDir(a.dir, name, accessPart)
	var large *credentials.TooLargeError
	switch {
	case errors.As(err, &large):
		return nil, unusableAccess(t, "its credentials %q have more than 1 MiB in %q; that is no credential", name, large.Part)
	case err != nil:
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"%s: its credentials %q cannot be read; give drift access to their files", t.GetName(), name).Because(err)
	case f != nil:
		if text := strings.TrimSpace(f.Text); text != "" {
			f.Parts[single(text)] = text
		}
		return f, nil
	case a.secrets == nil:
		return nil, missing
	}
	data, err := a.secrets.Secret(ctx, name, secretAge)
	switch {
	case errs.Is(err, errs.NotFound):
		return nil, missing
	case errs.Is(err, errs.Denied):
		return nil, unusableAccess(t, "its credentials %q cannot be read: %s", name, errs.Message(err)).Because(err)
	case err != nil:
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"%s: its credentials %q cannot be read from Kubernetes: %s", t.GetName(), name, errs.Message(err)).Because(err)
	}
	return credentials.OfSecret(data, accessPart), nil
}

// single says what a file that stands for itself is.
func single(text string) string {
	if strings.Contains(text, "clusters:") || strings.Contains(text, `"clusters"`) {
		return partKubeconfig
	}
	return partToken
}

// configOf makes a configuration of credentials.
func configOf(t *eventsv1.TargetRef, f *credentials.Found) (*rest.Config, error) {
	name := t.GetCredentials()
	wrong := func(format string, args ...any) (*rest.Config, error) {
		return nil, unusableAccess(t, "its credentials %q (%s) "+format, append([]any{name, f.Where}, args...)...)
	}
	kube, token, cert, key := f.Parts[partKubeconfig], f.Parts[partToken], f.Parts[partCert], f.Parts[partKey]
	switch {
	case kube != "" && (token != "" || cert != ""):
		return wrong("hold a %q and a %q; keep one of the two", partKubeconfig, partToken)
	case kube != "" && t.GetServer() != "":
		return wrong("hold a kubeconfig, which names a server already; take the target's server away")
	case kube != "":
		return ofKubeconfig(t, []byte(kube), wrong)
	case token == "" && cert == "":
		return wrong("hold nothing to log in with; add a %q, or %q and %q, or a %q", partToken, partCert, partKey, partKubeconfig)
	case (cert == "") != (key == ""):
		return wrong("hold one of %q and %q; add the other", partCert, partKey)
	case t.GetServer() == "":
		return wrong("hold no kubeconfig, so the target must say where its API server is; set its server")
	case t.GetContext() != "":
		return wrong("hold no kubeconfig, so there is no context; take the target's context away")
	}
	return &rest.Config{
		Host: t.GetServer(), BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{CAData: dataOf(f.Parts[partCA]), CertData: dataOf(cert), KeyData: dataOf(key)},
	}, nil
}

func dataOf(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s + "\n")
}

func ofKubeconfig(t *eventsv1.TargetRef, content []byte, wrong func(string, ...any) (*rest.Config, error)) (*rest.Config, error) {
	parsed, err := clientcmd.Load(content)
	if err != nil {
		return wrong("hold a %q that cannot be read; write it anew", partKubeconfig) // the reader's own words may quote it
	}
	if c := t.GetContext(); c != "" && parsed.Contexts[c] == nil {
		return wrong("hold a %q without the context %q; correct the target's context", partKubeconfig, c)
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*parsed, t.GetContext(), &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return wrong("hold a %q that names no cluster and user; check its current context, or set the target's", partKubeconfig)
	}
	return cfg, nil
}

// unusableAccess says what is wrong with how a target is reached.
func unusableAccess(t *eventsv1.TargetRef, format string, args ...any) *errs.Error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "%s: "+format, append([]any{t.GetName()}, args...)...).
		With("target", t.GetName())
}

// sumOf gives a digest of all that decides how a cluster is reached, so that a change is noticed without keeping the secrets
// themselves.
func sumOf(c *rest.Config) [sha256.Size]byte {
	var b bytes.Buffer
	for _, s := range []string{
		c.Host, c.APIPath, c.Username, c.Password, c.BearerToken, c.BearerTokenFile, c.ServerName,
		fmt.Sprint(c.Insecure, c.DisableCompression), string(c.CAData), string(c.CertData), string(c.KeyData), strings.Join(c.NextProtos, ","),
		fmt.Sprintf("%p", c.Proxy),
	} {
		fmt.Fprintf(&b, "%d %s\n", len(s), s)
	}
	// What does not encode has no fields that could change.
	enc := json.NewEncoder(&b)
	_ = enc.Encode(c.Impersonate)
	_ = enc.Encode(c.ExecProvider)
	_ = enc.Encode(c.AuthProvider)
	return sha256.Sum256(b.Bytes())
}
