package secretsource

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// maxTemplate is how many bytes of text with secrets a Secret can be made of: Kubernetes takes 256 KiB of annotations.
const maxTemplate = 200_000

// Files makes the Secret that holds files with secrets in their text. texts are by key and hold references. The Secret's name has
// a hash of the texts, so that it never changes and pods roll with it. The object has no namespace and labels yet; its metadata
// may have annotations.
func (s *Source) Files(base string, texts map[string]string) (name string, object map[string]any, err error) {
	encoded := encode(texts)
	if len(encoded) > maxTemplate {
		return "", nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE,
			"the files with secrets in their text have %d bytes together, at most %d are possible: keep the secrets in a small file of their own", len(encoded), maxTemplate)
	}
	sum := sha256.Sum256(encoded)
	name = fmt.Sprintf("%s-%x", definition.Shorten(base, 200), sum[:5])
	switch s.strategy() {
	case rendererv1.SecretRules_STRATEGY_GENERATED:
		return name, map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
			"metadata": map[string]any{"annotations": map[string]any{TemplateAnnotation: string(encoded)}},
		}, nil
	case rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS:
		object, err = s.externalFiles(name, texts)
		return name, object, err
	case rendererv1.SecretRules_STRATEGY_SEALED_SECRETS:
		return "", nil, refused("the strategy sealed-secrets can only mount whole values: seal the whole content as one key and let the file be that reference alone, without a line break behind it, or let the program read the secret from a variable")
	default:
		return "", nil, refused("the Secrets are there already and Towpath makes none of them: put the whole content into one key and let the file be that reference alone, without a line break behind it, or let the program read the secret from a variable")
	}
}

func refused(why string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET, "has a secret inside of other text, and files are kept in Git as they are; %s", why)
}

// encode gives the texts as one line of JSON whose keys are sorted.
func encode(texts map[string]string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(texts) // a map of strings has a JSON form
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// externalFiles makes an ExternalSecret with a template. The operator reads no Secrets but stores, so that every secret in the text
// must have a place in the store.
func (s *Source) externalFiles(name string, texts map[string]string) (map[string]any, error) {
	names := map[definition.Secret]string{}
	var data []any
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		var text strings.Builder
		for _, p := range definition.SplitSecrets(texts[key]) {
			if p.Secret == nil {
				text.WriteString(escape(p.Text))
				continue
			}
			if names[*p.Secret] == "" {
				g := s.given[p.Secret.Name][p.Secret.Key]
				if g.remote == nil {
					return nil, refused(fmt.Sprintf("key %s of Secret %s has no place in the store, and the operator reads nothing else: give it one, as with `%s`, or let the program read it from a variable",
						p.Secret.Key, p.Secret.Name, command(p.Secret.Name, p.Secret.Key, "--remote PATH")))
				}
				names[*p.Secret] = fmt.Sprintf("s%d", len(names))
				data = append(data, map[string]any{"secretKey": names[*p.Secret], "remoteRef": remoteRef(g.remote)})
			}
			text.WriteString("{{ ." + names[*p.Secret] + " }}")
		}
		out[key] = text.String()
	}
	o := s.externalSecret(map[string]any{}, name, "", data, nil)
	spec, _ := o["spec"].(map[string]any)
	to, _ := spec["target"].(map[string]any)
	template := map[string]any{"engineVersion": "v2", "mergePolicy": "Replace"}
	lines := map[string]any{}
	for k, v := range out {
		lines[k] = v
	}
	template["data"] = lines
	to["template"] = template
	return o, nil
}
