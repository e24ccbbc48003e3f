package drift

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
)

// alphabet is what generated values are made of: what needs no escaping in connection strings and shells.
const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"

// generateSecret fills in what the annotation asks for and the live Secret does not have, and gives the Secret as it is then.
func (e *environment) generateSecret(ctx context.Context, c *cluster, t *tracked, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if isTemplated(t.declared()) {
		return e.fillTemplate(ctx, c, t, live)
	}
	spec := t.declared().GetAnnotations()[secrets.GenerateAnnotation]
	if spec == "" || t.key.kind != "Secret" {
		return live, nil
	}
	wanted, err := parseGenerate(t.key.name, spec)
	if err != nil {
		return nil, err
	}
	have, _, _ := unstructured.NestedMap(live.Object, "data")
	fill, missing := map[string]any{}, false
	// What was generated before is sent again, also what is no longer asked for: leaving it out of an apply would take it away.
	for _, key := range generatedKeys(live) {
		if v, ok := have[key]; ok {
			fill[key] = v
		}
	}
	for key, length := range wanted {
		if v, ok := have[key]; ok {
			fill[key] = v
			continue
		}
		value, err := random(length)
		if err != nil {
			return nil, err
		}
		fill[key], missing = base64.StdEncoding.EncodeToString(value), true
	}
	if !missing {
		return live, nil
	}
	return e.fillSecret(ctx, c, t, live, fill, false)
}

// fillSecret writes the values of a Secret that the cluster makes, and gives the Secret as it is then.
func (e *environment) fillSecret(ctx context.Context, c *cluster, t *tracked, live *unstructured.Unstructured, fill map[string]any, force bool) (*unstructured.Unstructured, error) {
	patch := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": t.key.name, "namespace": t.key.namespace, "resourceVersion": live.GetResourceVersion()},
		"data":     fill,
	}}
	w, err := e.writer(c)
	if err != nil {
		return nil, err
	}
	out, err := w.Resource(t.gvr).Namespace(t.key.namespace).
		Apply(ctx, t.key.name, patch, metav1.ApplyOptions{FieldManager: generateManager, Force: force})
	if err != nil {
		return nil, clusterError(withoutSecret(patch, err), "generate the values of Secret "+t.key.name)
	}
	return out, nil
}

// generatedKeys gives the keys of a live Secret that were generated.
func generatedKeys(live *unstructured.Unstructured) []string {
	var out []string
	for _, m := range live.GetManagedFields() {
		if m.Manager != generateManager || m.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Data map[string]any `json:"f:data"`
		}
		if err := json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields); err != nil {
			continue
		}
		for k := range fields.Data {
			if key, ok := strings.CutPrefix(k, "f:"); ok {
				out = append(out, key)
			}
		}
	}
	return out
}

// withoutGenerated takes generated keys out of what was found: their values are the cluster's own, and who renews a password
// there has not drifted from anything that Git says.
func withoutGenerated(desired *unstructured.Unstructured, r compare.Result) compare.Result {
	keys, err := madeKeys(desired)
	if len(keys) == 0 || err != nil {
		return r // a sync would have refused it
	}
	generated := func(path string) bool {
		key, ok := fieldKey(path, "data")
		return ok && keys[key] || path == "data" && desired.Object["data"] == nil
	}
	r.Findings = slices.DeleteFunc(r.Findings, func(f compare.Finding) bool { return generated(f.Path) })
	r.Unverified = slices.DeleteFunc(r.Unverified, generated)
	return r
}

// parseGenerate reads the lengths of the values that are asked for.
func parseGenerate(secret, spec string) (map[string]int, error) {
	out, bad := secrets.ParseGenerate(spec)
	if bad != "" {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
			"Secret %s: annotation %s has %s; write key:length, with a length of 1 to %d", secret, secrets.GenerateAnnotation, bad, secrets.MaxGenerated)
	}
	return out, nil
}

// random gives letters and digits from the system's randomness, each equally likely.
func random(length int) ([]byte, error) {
	const fair = 256 - 256%len(alphabet)
	out := make([]byte, 0, length)
	buf := make([]byte, 2*length)
	for len(out) < length {
		if _, err := rand.Read(buf); err != nil {
			return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "no randomness").Because(err)
		}
		for _, b := range buf {
			if int(b) < fair && len(out) < length {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return out, nil
}
