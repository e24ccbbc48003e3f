package drift

import (
	"encoding/base64"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

func TestAnErrorAboutASecretNeverShowsItsValue(t *testing.T) {
	t.Parallel()
	const value = "correct horse"
	encoded := base64.StdEncoding.EncodeToString([]byte(value))
	for name, o := range map[string]map[string]any{
		"as text": {"stringData": map[string]any{"password": value}}, "encoded": {"data": map[string]any{"password": encoded}},
	} {
		o["apiVersion"], o["kind"], o["metadata"] = "v1", "Secret", map[string]any{"name": "db"}
		u := &unstructured.Unstructured{Object: o}
		for _, says := range []string{"denied: password " + value + " is weak", "denied: data is " + encoded} {
			if name == "as text" && strings.Contains(says, encoded) {
				continue // nobody encodes what is no data
			}
			raw := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "db", errs.New(errs.Internal, 0, "admission webhook %s", says))
			err := clusterError(withoutSecret(u, raw), "apply Secret db")
			if strings.Contains(err.Error(), value) || strings.Contains(err.Error(), encoded) {
				t.Errorf("%s: the error shows the value, which goes to the log: %v", name, err)
			}
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_APPLY_REFUSED || errs.KindOf(err) != errs.Precondition || !strings.Contains(errs.Message(err), `Secret "db"`) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	harmless := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "db", errs.New(errs.Internal, 0, "exceeded quota"))
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "Secret", "data": map[string]any{"password": encoded}}}
	if err := withoutSecret(u, harmless); !strings.Contains(err.Error(), "exceeded quota") {
		t.Errorf("a message without a value is withheld: %v", err)
	}
}

func TestARefusalOfRightsIsToldApartFromOneOfAdmission(t *testing.T) {
	t.Parallel()
	configMaps := schema.GroupResource{Resource: "configmaps"}
	for says, want := range map[string]errs.Reason{
		`User "system:serviceaccount:shop-dev:deployer" cannot patch resource "configmaps" in API group "" in the namespace "shop-dev"`: errorsv1.Reason_REASON_RIGHT_MISSING,
		`exceeded quota: small, requested: configmaps=1`:                                                           errorsv1.Reason_REASON_APPLY_REFUSED,
		`violates PodSecurity "restricted:latest"`:                                                                 errorsv1.Reason_REASON_APPLY_REFUSED,
		`User "towpath" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "shop-dev"`: errorsv1.Reason_REASON_RIGHT_MISSING,
	} {
		err := clusterError(apierrors.NewForbidden(configMaps, "web", errs.New(errs.Internal, 0, "%s", says)), "apply ConfigMap web")
		if errs.ReasonOf(err) != want || errs.KindOf(err) != errs.Precondition {
			t.Errorf("%s: %v", says, err)
		}
	}
	cluster := rightMissing(apierrors.NewForbidden(schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, "x",
		errs.New(errs.Internal, 0, "%s", `User "system:serviceaccount:a:b" cannot patch resource "clusterroles" in API group "rbac.authorization.k8s.io" at the cluster scope`)), "apply")
	if cluster == nil || !strings.Contains(cluster.Msg, "kubectl create clusterrole towpath-b-clusterroles-rbac-authorization-k8s-io --verb=get,create,patch,delete "+
		"--resource=clusterroles.rbac.authorization.k8s.io && kubectl create clusterrolebinding") {
		t.Errorf("in the whole cluster: %v", cluster)
	}
}

func TestClientsThatActAsOthersAreBounded(t *testing.T) {
	t.Parallel()
	a := newActors(&rest.Config{Host: "https://127.0.0.1:1"})
	first, err := a.as(syncpolicy.Account{Namespace: "a", Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.as(syncpolicy.Account{Namespace: "a", Name: "b"}); err != nil || again != first {
		t.Errorf("the client was made anew: %v", err)
	}
	for i := range 2 * maxActors {
		if _, err := a.as(syncpolicy.Account{Namespace: "a", Name: strings.Repeat("c", i%200+1) + strings.Repeat("d", i/200)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.byUser) > maxActors || len(a.order) != len(a.byUser) {
		t.Errorf("%d clients, %d in order, at most %d", len(a.byUser), len(a.order), maxActors)
	}
}
