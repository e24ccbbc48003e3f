package drift

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// generateAnnotation asks on a Secret without data for values to be made in the cluster: "key:length" pairs separated by
// commas. A key that exists is never changed again, so a password survives every later deployment. The values exist in the
// cluster alone.
const generateAnnotation = "towpath.dev/generate"

const maxGenerated = 1024

// alphabet is what generated values are made of: what needs no escaping in connection strings and shells.
const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"

// generateSecret fills in what the annotation asks for and the live Secret does not have, and gives the Secret as it is then.
func (e *environment) generateSecret(ctx context.Context, c *cluster, t *tracked, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	spec := t.desired.GetAnnotations()[generateAnnotation]
	if spec == "" || t.key.kind != "Secret" {
		return live, nil
	}
	wanted, err := parseGenerate(t.key.name, spec)
	if err != nil {
		return nil, err
	}
	have, _, _ := unstructured.NestedMap(live.Object, "data")
	fill := map[string]any{}
	for key, length := range wanted {
		// What was generated before is sent again: leaving it out of an apply would take it away.
		if v, ok := have[key]; ok {
			fill[key] = v
			continue
		}
		value, err := random(length)
		if err != nil {
			return nil, err
		}
		fill[key] = base64.StdEncoding.EncodeToString(value)
	}
	patch := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": t.key.name, "namespace": t.key.namespace, "resourceVersion": live.GetResourceVersion()},
		"data":     fill,
	}}
	out, err := c.dyn.Resource(t.gvr).Namespace(t.key.namespace).
		Apply(ctx, t.key.name, patch, metav1.ApplyOptions{FieldManager: generateManager})
	if err != nil {
		return nil, clusterError(err, "generate the values of Secret "+t.key.name)
	}
	return out, nil
}

// parseGenerate reads "password:32,token:16".
func parseGenerate(secret, spec string) (map[string]int, error) {
	out := map[string]int{}
	for part := range strings.SplitSeq(spec, ",") {
		key, length, ok := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || key == "" || n < 1 || n > maxGenerated {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
				"Secret %s: annotation %s has %q; write key:length, with a length of 1 to %d", secret, generateAnnotation, part, maxGenerated)
		}
		out[key] = n
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
