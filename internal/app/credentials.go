package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	secretTimeout = 10 * time.Second
	// secretStale is how long a Secret is used while the cluster does not answer: deployments to Git must not stop with it.
	secretStale = 15 * time.Minute
	maxSecrets  = 1000
)

// Credentials is where the committer finds credentials.
type Credentials struct {
	// Namespace holds Kubernetes Secrets named like credentials, for those that are neither file nor folder; empty for none.
	Namespace string
	// Kubeconfig is the cluster of Namespace; as for targets that name none when empty.
	Kubeconfig string
}

func (c *Credentials) add(fs *pflag.FlagSet) {
	fs.StringVar(&c.Namespace, "credentials-namespace", "", "namespace whose Kubernetes Secrets are the credentials that are neither file nor folder (default: none)")
	fs.StringVar(&c.Kubeconfig, "credentials-kubeconfig", "", "cluster of --credentials-namespace (default: as for --kubeconfig)")
}

// secrets gives the Secrets as the committer reads them; nil for none.
func (p *process) secrets() (*kubeSecrets, error) {
	return p.secretsAt(p.Credentials, "--credentials-namespace")
}

func (p *process) secretsAt(c Credentials, flag string) (*kubeSecrets, error) {
	if c.Namespace == "" {
		return nil, nil
	}
	cfg, err := p.connect(&eventsv1.TargetRef{Name: "of the credentials", Kubeconfig: c.Kubeconfig})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	client, err := corev1.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return newKubeSecrets(client.Secrets(c.Namespace), c.Namespace), nil
}

// secretGetter is the one call to the cluster: the right to get single Secrets is all that is needed.
type secretGetter = corev1.SecretInterface

// kubeSecrets reads the Secrets of a namespace and remembers them for a moment.
type kubeSecrets struct {
	client    secretGetter
	namespace string
	asking    singleflight.Group

	mu    sync.Mutex
	known map[string]knownSecret
}

type knownSecret struct {
	data map[string][]byte
	at   time.Time
}

func newKubeSecrets(client secretGetter, namespace string) *kubeSecrets {
	return &kubeSecrets{client: client, namespace: namespace, known: map[string]knownSecret{}}
}

// Secret gives the data of a Secret that is no older than maxAge, or, while the cluster does not answer, than 15 minutes.
// Callers that ask at the same time share one request.
func (k *kubeSecrets) Secret(ctx context.Context, name string, maxAge time.Duration) (map[string][]byte, error) {
	k.mu.Lock()
	have, ok := k.known[name]
	k.mu.Unlock()
	if ok && time.Since(have.at) < maxAge {
		return have.data, nil
	}
	answer := k.asking.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), secretTimeout)
		defer cancel()
		return k.ask(ctx, name)
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-answer:
		if r.Err == nil {
			return r.Val.(map[string][]byte), nil
		}
		if errs.Is(r.Err, errs.Unavailable) && ok && time.Since(have.at) < secretStale {
			return have.data, nil
		}
		return nil, r.Err
	}
}

func (k *kubeSecrets) ask(ctx context.Context, name string) (map[string][]byte, error) {
	asked := time.Now()
	s, err := k.client.Get(ctx, name, metav1.GetOptions{})
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err):
		delete(k.known, name)
		return nil, errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "there is no Secret %q in namespace %s", name, k.namespace)
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		delete(k.known, name)
		return nil, errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
			"the cluster does not let Towpath get Secrets in namespace %s; give its service account that right", k.namespace).Because(err)
	case err != nil:
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE,
			"the cluster of the credentials does not answer").Because(err)
	}
	if len(k.known) >= maxSecrets {
		clear(k.known)
	}
	k.known[name] = knownSecret{data: s.Data, at: asked}
	return s.Data, nil
}
