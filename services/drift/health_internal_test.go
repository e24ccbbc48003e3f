package drift

import (
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// healthCase is one object with what its health is; the objects are written after the API documentation of their kinds.
type healthCase struct {
	Want    string                    `json:"want"`
	Message string                    `json:"message"`
	Object  unstructured.Unstructured `json:"object"`
}

func readHealthCases(t *testing.T) []healthCase {
	t.Helper()
	text, err := os.ReadFile("testdata/health.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []healthCase
	if err := yaml.UnmarshalStrict(text, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestHealthOfCustomResourcesIsWhatTheirDocumentationSays(t *testing.T) {
	t.Parallel()
	tried := map[string]map[string]bool{}
	for _, c := range readHealthCases(t) {
		u := &c.Object
		health, message := healthOf(u)
		got := strings.ToLower(strings.TrimPrefix(health.String(), "HEALTH_"))
		if got != c.Want || !strings.Contains(message, c.Message) || health == driftv1.Health_HEALTH_HEALTHY && message != "" {
			t.Errorf("%s %s is %s (%q), want %s (%q)", u.GetKind(), u.GetName(), got, message, c.Want, c.Message)
		}
		kind := u.GroupVersionKind().GroupKind().String()
		if tried[kind] == nil {
			tried[kind] = map[string]bool{}
		}
		tried[kind][got] = true
	}
	for kind := range healthRules {
		if !tried[kind]["healthy"] || len(tried[kind]) < 2 {
			t.Errorf("testdata/health.yaml has not both a healthy %s and one that is not: %v", kind, tried[kind])
		}
	}
}

func TestAnObjectThatItsControllerHasNotSeenIsOnItsWay(t *testing.T) {
	t.Parallel()
	for _, c := range readHealthCases(t) {
		u := &c.Object
		if _, has, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); !has || c.Want != "healthy" {
			continue
		}
		u.SetGeneration(99)
		if health, _ := healthOf(u); health != driftv1.Health_HEALTH_PROGRESSING {
			t.Errorf("%s %s of a later generation is %s", u.GetKind(), u.GetName(), health)
		}
	}
}
