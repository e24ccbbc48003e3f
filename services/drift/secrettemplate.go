package drift

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"
)

func isTemplated(u *unstructured.Unstructured) bool {
	return u.GetKind() == "Secret" && u.GetAPIVersion() == "v1" && u.GetAnnotations()[secrets.TemplateAnnotation] != ""
}

// parseTemplate reads the annotation. Its error shows nothing of the texts.
func parseTemplate(u *unstructured.Unstructured) (map[string]string, error) {
	out := map[string]string{}
	if err := json.Unmarshal([]byte(u.GetAnnotations()[secrets.TemplateAnnotation]), &out); err != nil {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_APPLY_REFUSED,
			"Secret %s: annotation %s is no JSON map of keys to texts", u.GetName(), secrets.TemplateAnnotation)
	}
	return out, nil
}

// fillTemplate writes what the annotation says into the live Secret. What is there already and right is not touched; a value that
// was renewed in the Secret that it comes from, or a key that somebody removed, is put right by the next sync.
func (e *environment) fillTemplate(ctx context.Context, c *cluster, t *tracked, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	texts, err := parseTemplate(t.declared())
	if err != nil {
		return nil, err
	}
	read := map[string]map[string]any{}
	fill, same := map[string]any{}, true
	have, _, _ := unstructured.NestedMap(live.Object, "data")
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		text, err := e.fillText(ctx, c, t, texts[key], read)
		if err != nil {
			return nil, err
		}
		fill[key] = base64.StdEncoding.EncodeToString([]byte(text))
		same = same && have[key] == fill[key]
	}
	if same {
		return live, nil
	}
	return e.fillSecret(ctx, c, t, live, fill, true)
}

// fillText replaces the references of a text by the values in the cluster. read are the Secrets that were read already.
func (e *environment) fillText(ctx context.Context, c *cluster, t *tracked, text string, read map[string]map[string]any) (string, error) {
	var out strings.Builder
	at := 0
	for _, m := range secrets.Reference.FindAllStringSubmatchIndex(text, -1) {
		value, err := e.secretValue(ctx, c, t, text[m[2]:m[3]], text[m[4]:m[5]], read)
		if err != nil {
			return "", err
		}
		out.WriteString(text[at:m[0]])
		out.Write(value)
		at = m[1]
	}
	out.WriteString(text[at:])
	return out.String(), nil
}

// secretValue reads one key of a Secret in the environment's namespace. When it is not there the sync waits: whoever makes it,
// an operator or a person, may need a moment.
func (e *environment) secretValue(ctx context.Context, c *cluster, t *tracked, name, key string, read map[string]map[string]any) ([]byte, error) {
	data, known := read[name]
	if !known {
		u, err := c.dyn.Resource(t.gvr).Namespace(t.key.namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, awaits(t, name, "is not there yet")
		case err != nil:
			return nil, clusterError(err, "read Secret "+name)
		}
		data, _, _ = unstructured.NestedMap(u.Object, "data")
		read[name] = data
	}
	text, ok := data[key].(string)
	if !ok {
		return nil, awaits(t, name, "has no key "+key+" yet")
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil { // the API server gives nothing else; the value must not be shown
		return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "Secret %s: the value of key %s cannot be read", name, key)
	}
	return value, nil
}

func awaits(t *tracked, name, what string) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_APPLY_REFUSED,
		"Secret %s is made of Secret %s in namespace %s, which %s: make it, or wait for what makes it; it is tried again by itself",
		t.key.name, name, t.key.namespace, what).With("secret", name)
}

// madeKeys gives the keys of a Secret whose values the cluster makes.
func madeKeys(desired *unstructured.Unstructured) (map[string]bool, error) {
	if desired.GetKind() != "Secret" {
		return nil, nil
	}
	out := map[string]bool{}
	if isTemplated(desired) {
		texts, err := parseTemplate(desired)
		for key := range texts {
			out[key] = true
		}
		return out, err
	}
	if spec := desired.GetAnnotations()[secrets.GenerateAnnotation]; spec != "" {
		lengths, err := parseGenerate(desired.GetName(), spec)
		for key := range lengths {
			out[key] = true
		}
		return out, err
	}
	return nil, nil
}
