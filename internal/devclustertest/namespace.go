package devclustertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// namespaceTimeout bounds the wait for a new namespace's service account, usually some 20 ms.
const namespaceTimeout = time.Minute

// Namespace creates a namespace of a unique name, ready for pods, and deletes it after the test without waiting for its end.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	name := namespaceName(t.Name())
	t.Cleanup(func() {
		// A test may leave its own cluster stopped; then there is nothing to delete.
		_ = c.withClient(t, func(ctx context.Context, client kubernetes.Interface) error {
			return client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		})
	})
	err := c.withClient(t, func(ctx context.Context, client kubernetes.Interface) error {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			return err
		}
		return waitServiceAccount(ctx, client, name)
	})
	if err != nil {
		t.Fatalf("namespace %s: %v", name, err)
	}
	return name
}

// withClient runs f with a client whose connections are closed afterwards, so that no goroutine of ours is left.
func (c *Cluster) withClient(t testing.TB, f func(context.Context, kubernetes.Interface) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), namespaceTimeout) // not t.Context(): that is over in a cleanup
	defer cancel()
	cfg := c.Config(t)
	// Naming the default proxy function keeps the transport out of client-go's cache: closing a cached one would disturb the
	// test's own clients.
	cfg.Proxy = http.ProxyFromEnvironment
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	defer utilnet.CloseIdleConnectionsFor(httpClient.Transport)
	client, err := kubernetes.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		return err
	}
	return f(ctx, client)
}

// waitServiceAccount waits until pods can be created: admission refuses them before the controller manager has made the account.
func waitServiceAccount(ctx context.Context, client kubernetes.Interface, namespace string) error {
	for {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no default service account: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// namespaceName makes a test's name a valid one and adds a random part, so that repeated tests do not meet.
func namespaceName(test string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, test)
	if len(clean) > 40 {
		clean = clean[:40]
	}
	return "t-" + strings.Trim(clean, "-") + "-" + strings.ToLower(rand.Text()[:8])
}
