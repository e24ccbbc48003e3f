package secretsource

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// The APIs of the operators that make Secrets.
const (
	externalVersion  = "external-secrets.io/v1"
	generatorVersion = "generators.external-secrets.io/v1alpha1"
	sealedVersion    = "bitnami.com/v1alpha1"
)

// external makes the ExternalSecret of a Secret that a definition asks for. Passwords are made once and kept: with CreatedOnce the
// operator does not read a generator again, for which every reading is a new password. So a Secret has generated keys or keys of
// a store, never both.
func (s *Source) external(a *asked) ([]map[string]any, error) {
	given := s.given[a.name]
	var missing, remote []string
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if given[key].remote != nil {
			remote = append(remote, key)
		}
	}
	for _, key := range a.keys() {
		if given[key].remote == nil {
			missing = append(missing, key)
		}
	}
	if len(remote) > 0 && len(missing) > 0 {
		return nil, a.failed("variables take %s from a store and %s would be generated, which one Secret cannot have both of: give %s a place in the store too, as with `%s`",
			strings.Join(remote, ", "), strings.Join(missing, ", "), missing[0], command(a.name, missing[0], "--remote PATH"))
	}
	if len(remote) > 0 {
		return []map[string]any{s.externalSecret(a.metadata, a.name, a.typ, s.data(a.name, remote), a.fixed)}, nil
	}
	out := []map[string]any{}
	var from []any
	for _, key := range a.keys() {
		password := generatorName(a.name, key)
		out = append(out, map[string]any{
			"apiVersion": generatorVersion, "kind": "Password", "metadata": map[string]any{"name": password},
			// Letters and digits, as the native engine makes them: what needs no escaping in connection strings.
			"spec": map[string]any{"length": a.lengths[key], "digits": a.lengths[key] / 4, "symbols": 0, "noUpper": false, "allowRepeat": true},
		})
		from = append(from, map[string]any{
			"sourceRef": map[string]any{"generatorRef": map[string]any{"apiVersion": generatorVersion, "kind": "Password", "name": password}},
			"rewrite":   []any{map[string]any{"regexp": map[string]any{"source": "^password$", "target": key}}},
		})
	}
	spec := map[string]any{"refreshPolicy": "CreatedOnce", "target": target(a.name, a.typ, a.fixed, "Merge"), "dataFrom": from}
	return append(out, map[string]any{"apiVersion": externalVersion, "kind": "ExternalSecret", "metadata": a.metadata, "spec": spec}), nil
}

// generatorName names the generator of a key. What an object's name cannot hold would make two keys one, so that such a key gets a
// hash.
func generatorName(secret, key string) string {
	name := definition.Shorten(secret+"-"+key, 63)
	if strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789") == "" {
		return name
	}
	sum := sha256.Sum256([]byte(secret + "/" + key))
	return definition.Shorten(fmt.Sprintf("%s-%x", name, sum[:4]), 63)
}

// externalSecret makes an ExternalSecret that takes its keys from the store.
func (s *Source) externalSecret(meta map[string]any, name, typ string, data []any, fixed map[string]string) map[string]any {
	return map[string]any{
		"apiVersion": externalVersion, "kind": "ExternalSecret", "metadata": meta,
		"spec": map[string]any{
			"refreshPolicy": "Periodic", "refreshInterval": s.interval(), "secretStoreRef": s.store(),
			"target": target(name, typ, fixed, "Merge"), "data": data,
		},
	}
}

func (s *Source) interval() string {
	if i := s.rules.GetRefreshInterval(); i != "" {
		return i
	}
	return "1h"
}

func (s *Source) store() map[string]any {
	kind := "ClusterSecretStore"
	if s.rules.GetNamespacedStore() {
		kind = "SecretStore"
	}
	return map[string]any{"name": s.rules.GetStore(), "kind": kind}
}

// data says where the store has the keys of a Secret.
func (s *Source) data(secret string, keys []string) []any {
	var out []any
	for _, key := range keys {
		out = append(out, map[string]any{"secretKey": key, "remoteRef": remoteRef(s.given[secret][key].remote)})
	}
	return out
}

func remoteRef(r *rendererv1.RemoteKey) map[string]any {
	ref := map[string]any{"key": r.GetKey()}
	if r.GetProperty() != "" {
		ref["property"] = r.GetProperty()
	}
	if r.GetVersion() != "" {
		ref["version"] = r.GetVersion()
	}
	return ref
}

// target is the Secret that an ExternalSecret makes. fixed are its values that are no secrets.
func target(name, typ string, fixed map[string]string, merge string) map[string]any {
	out := map[string]any{"name": name, "creationPolicy": "Owner", "deletionPolicy": "Retain"}
	template := map[string]any{}
	if typ != "" && typ != "Opaque" {
		template["type"] = typ
	}
	if len(fixed) > 0 {
		template["data"] = escaped(fixed)
	}
	if len(template) > 0 {
		template["engineVersion"], template["mergePolicy"] = "v2", merge
		out["template"] = template
	}
	return out
}

// escaped keeps the operators' template engine from taking a text for a template.
func escaped(fixed map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range fixed {
		out[k] = escape(v)
	}
	return out
}

func escape(text string) string { return strings.ReplaceAll(text, "{{", `{{ "{{" }}`) }

// sealed makes the SealedSecret of a Secret that a definition asks for, of ciphertexts that variables carry.
func (s *Source) sealed(a *asked) ([]map[string]any, error) {
	given := s.given[a.name]
	for _, key := range a.keys() {
		if given[key].sealed == "" {
			return nil, a.failed("key %s has no ciphertext, and the environment type's strategy is sealed-secrets: seal the value for namespace %s and set it with `%s`",
				key, s.namespace, command(a.name, key, "--sealed-file FILE"))
		}
	}
	return []map[string]any{s.sealedSecret(a.metadata, a.name, a.typ, given, a.fixed)}, nil
}

// command is what a person types to say where a secret comes from.
func command(secret, key, how string) string {
	variable := strings.ToUpper(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, secret+"_"+key))
	if variable[0] >= '0' && variable[0] <= '9' {
		variable = "S_" + variable
	}
	return fmt.Sprintf("tow var set %s --secret %s/%s %s -e APP/ENV", variable, secret, key, how)
}

func (s *Source) sealedSecret(meta map[string]any, name, typ string, given map[string]given, fixed map[string]string) map[string]any {
	encrypted := map[string]any{}
	for key, g := range given {
		if g.sealed != "" {
			encrypted[key] = g.sealed
		}
	}
	if typ == "" {
		typ = "Opaque"
	}
	template := map[string]any{"type": typ, "metadata": map[string]any{"name": name, "namespace": s.namespace}}
	if len(fixed) > 0 {
		template["data"] = escaped(fixed)
	}
	return map[string]any{
		"apiVersion": sealedVersion, "kind": "SealedSecret", "metadata": meta,
		"spec": map[string]any{"encryptedData": encrypted, "template": template},
	}
}

// Rest gives the objects that make the Secrets of variables which no definition has asked for. meta makes an object's metadata. It
// comes after everything that Make is asked for.
func (s *Source) Rest(meta func(name string) map[string]any) ([]map[string]any, error) {
	var out []map[string]any
	for _, name := range slices.Sorted(maps.Keys(s.given)) {
		if s.taken[name] {
			continue
		}
		o, err := s.rest(name, meta)
		if err != nil {
			return nil, err
		}
		if o != nil {
			out = append(out, o)
		}
	}
	return out, nil
}

func (s *Source) rest(name string, meta func(name string) map[string]any) (map[string]any, error) {
	keys := s.given[name]
	has := func(given) bool { return false }
	switch s.strategy() {
	case rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS:
		has = func(g given) bool { return g.remote != nil }
	case rendererv1.SecretRules_STRATEGY_SEALED_SECRETS:
		has = func(g given) bool { return g.sealed != "" }
	}
	var with, without []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if has(keys[key]) {
			with = append(with, key)
		} else {
			without = append(without, key)
		}
	}
	switch {
	case len(with) > 0 && len(without) > 0:
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED,
			"the Secret %s would be made with %s, and the variable %s needs its key %s: say where that comes from, as with `%s`",
			name, strings.Join(with, ", "), keys[without[0]].variable, without[0], command(name, without[0], s.how())).With("secret", name).With("key", without[0])
	case len(with) == 0:
		s.unused(name, keys)
		return nil, nil
	case s.strategy() == rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS:
		return s.externalSecret(meta(name), name, "", s.data(name, with), nil), nil
	default:
		return s.sealedSecret(meta(name), name, "", keys, nil), nil
	}
}

func (s *Source) how() string {
	if s.strategy() == rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS {
		return "--remote PATH"
	}
	return "--sealed-file FILE"
}

// unused notes that a Secret must be there. Where Towpath's own engine makes Secrets, one that variables just refer to is somebody
// else's, and nothing is to be said of it.
func (s *Source) unused(name string, keys map[string]given) {
	if s.strategy() != rendererv1.SecretRules_STRATEGY_GENERATED {
		s.need(name, slices.Sorted(maps.Keys(keys))...)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if keys[key].sealed != "" || keys[key].remote != nil {
			s.need(name, key)
		}
	}
}
