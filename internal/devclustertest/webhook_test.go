package devclustertest_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func TestAWebhookOnThisMachineIsAsked(t *testing.T) {
	t.Parallel()
	ns := devclustertest.Namespace(t)
	client := clientFor(t, devclustertest.Config(t))
	configs := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := configs.Create(t.Context(), refuseConfigMaps(ns, startRefusing(t)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Left behind, it would ask a server that is gone: about this namespace only, but the cluster is shared.
	defer func() {
		if err := configs.Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, func() string { // the API server takes a moment to see the configuration
		_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(),
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "refused-"}}, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "the test says no") {
			return "a ConfigMap was not refused by the webhook"
		}
		return ""
	})
}

// startRefusing runs a webhook that refuses everything.
func startRefusing(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: "the test says no"}}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	return server
}

// refuseConfigMaps registers the server for new ConfigMaps of one namespace, under the namespace's name.
func refuseConfigMaps(ns string, server *httptest.Server) *registration.ValidatingWebhookConfiguration {
	return &registration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []registration.ValidatingWebhook{{
			Name: "refuse.example.com",
			ClientConfig: registration.WebhookClientConfig{
				URL:      new(server.URL),
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
			Rules: []registration.RuleWithOperations{{
				Operations: []registration.OperationType{registration.Create},
				Rule:       registration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			SideEffects:             new(registration.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
}
