package app

import (
	"context"
	"errors"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/towpath-dev/towpath/internal/errs"
)

// brittle answers as a cluster does that may be away.
type brittle struct {
	corev1.SecretInterface
	fails error
	asked int
}

// Get gives the one Secret.
func (b *brittle) Get(context.Context, string, metav1.GetOptions) (*v1.Secret, error) {
	b.asked++
	if b.fails != nil {
		return nil, b.fails
	}
	return &v1.Secret{Data: map[string][]byte{"token": []byte("tok")}}, nil
}

func TestASecretIsRememberedForAMomentAndWhileTheClusterIsAway(t *testing.T) {
	cluster := &brittle{}
	k := newKubeSecrets(cluster, "towpath")
	ask := func(maxAge time.Duration) error {
		data, err := k.Secret(t.Context(), "host", maxAge)
		if err == nil && string(data["token"]) != "tok" {
			t.Errorf("it gives %q", data)
		}
		return err
	}
	for range 3 {
		if err := ask(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if cluster.asked != 1 {
		t.Errorf("3 readings asked %d times", cluster.asked)
	}
	if err := ask(0); err != nil || cluster.asked != 2 {
		t.Errorf("a reading that wants it fresh gives %v after %d questions", err, cluster.asked)
	}
	cluster.fails = errors.New("connection refused")
	if err := ask(0); err != nil {
		t.Errorf("while the cluster is away it gives %v", err)
	}
	k.known["host"] = knownSecret{data: k.known["host"].data, at: time.Now().Add(-time.Hour)}
	if err := ask(0); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an hour later it gives %v", err)
	}
	secrets := schema.GroupResource{Resource: "secrets"}
	for want, fails := range map[errs.Kind]error{
		errs.NotFound: apierrors.NewNotFound(secrets, "host"), errs.Denied: apierrors.NewForbidden(secrets, "host", errors.New("no")),
	} {
		k.known["host"] = knownSecret{data: map[string][]byte{"token": []byte("tok")}, at: time.Now()}
		cluster.fails = fails
		if err := ask(0); !errs.Is(err, want) {
			t.Errorf("it gives %v, want %v", err, want)
		}
	}
}
