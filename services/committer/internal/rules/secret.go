package rules

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"path"
	"slices"

	"go.yaml.in/yaml/v3"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// CheckSecrets refuses a bundle with a Kubernetes Secret that holds values, or with a credential of a known form in any file,
// such as a private key in a ConfigMap: what is in Git once can be read there for ever.
// The error is errs.Precondition with REASON_PLAINTEXT_SECRET and never holds the value. A manifest that cannot be read is
// refused too, as errs.Invalid, because nobody can say what is in it.
func CheckSecrets(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		if what := secrets.Looks(string(data)); what != "" {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET,
				"%s holds what looks like %s, which must not reach Git; refer to a secret instead of writing it down", name, what).With("file", name)
		}
		if !maybeSecret(data) {
			continue
		}
		object, found, err := findSecret(data)
		switch {
		case found:
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET,
				"%s holds the Secret %q with plain values, which must not reach Git; refer to a secret store instead", name, object).
				With("file", name)
		case err != nil && isManifest(name):
			e := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the bundle is not valid").Because(err)
			e.Fields = []errs.Field{{Path: name, Problem: "is not readable as YAML, so it cannot be checked for secrets"}}
			return e
		}
	}
	return nil
}

func isManifest(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name))
}

// maybeSecret saves parsing files that cannot name the kind: neither in plain text nor by an escape, a tag such as !!binary,
// or an encoding other than UTF-8.
func maybeSecret(data []byte) bool {
	return bytes.Contains(data, []byte("Secret")) || bytes.ContainsAny(data, "\\!\x00\xfe\xff")
}

func findSecret(data []byte) (name string, found bool, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc any
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		if name, found := secretIn(doc); found {
			return name, true, nil
		}
	}
}

// secretIn looks for a Secret with values anywhere in a document: by itself, in a list, or inside of another object's field, from
// where an operator would make it.
func secretIn(doc any) (name string, found bool) {
	switch v := doc.(type) {
	case []any:
		for _, item := range v {
			if name, found := secretIn(item); found {
				return name, true
			}
		}
	case map[string]any:
		items, _ := v["items"].([]any)
		for _, item := range items { // the items of a SecretList need not say what they are
			if o, ok := item.(map[string]any); ok && v["kind"] == "SecretList" && holdsValues(o) {
				return nameOf(o), true
			}
		}
		version, _ := v["apiVersion"].(string)
		if v["kind"] == "Secret" && (version == "v1" || version == "") && holdsValues(v) {
			return nameOf(v), true
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if name, found := secretIn(v[key]); found {
				return name, true
			}
		}
	}
	return "", false
}

func holdsValues(object map[string]any) bool {
	return hasValue(object["data"]) || hasValue(object["stringData"])
}

func nameOf(object map[string]any) string {
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	return name
}

func hasValue(v any) bool {
	switch m := v.(type) {
	case nil:
		return false
	case map[string]any:
		for _, value := range m {
			if value != nil && value != "" {
				return true
			}
		}
		return false
	case map[any]any:
		return len(m) > 0
	default:
		return true
	}
}
