// Package secretsource decides where the Secrets of an environment come from: the strategies of an environment type. It turns a
// Secret that a definition asks for, a secret variable, and a file with secrets in its text into the objects that make the Secret
// in the cluster. It is pure, and no value ever enters it: it knows names, keys, ciphertexts and places in stores.
//
// What belongs here: the four strategies and what each cannot do. What does not: who fills in a generated Secret (drift), and how
// a Secret is used by a pod (kube).
package secretsource

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/internal/secrets"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// TemplateAnnotation is put on a Secret whose values the native sync engine makes of other Secrets' values: a JSON map of keys
// to texts with references.
const TemplateAnnotation = secrets.TemplateAnnotation

// Source makes Secrets by one strategy, for one rendering.
type Source struct {
	rules     *rendererv1.SecretRules
	namespace string
	// given are the references of secret variables by Secret and key.
	given map[string]map[string]given
	// taken are Secrets that definitions have asked for.
	taken map[string]bool
	// needed are keys by Secret that must be in the cluster already.
	needed   map[string]map[string]bool
	warnings []string
}

// given is what variables say of one key of a Secret.
type given struct {
	variable string
	sealed   string
	remote   *rendererv1.RemoteKey
}

var storeName = lazyre.New(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// New makes a source of an environment type's rules and an environment's secret variables, whose names and keys were checked. Its
// error names what in them cannot be.
func New(rules *rendererv1.SecretRules, namespace string, variables map[string]*rendererv1.SecretReference) (*Source, error) {
	s := &Source{rules: rules, namespace: namespace}
	fields := s.take(variables)
	if s.strategy() == rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS {
		if store := rules.GetStore(); store != "" && !storeName.MatchString(store) {
			fields = append(fields, errs.Field{Path: "input.defaults.secrets.store", Problem: fmt.Sprintf("%q is not the name of a store: expected lower-case letters, digits, dashes and dots", store)})
		} else if store == "" && s.anyRemote() {
			fields = append(fields, errs.Field{Path: "input.defaults.secrets.store", Problem: "is empty, and variables take their values from a store: name the ClusterSecretStore, as with `tow type update NAME --secret-store vault`"})
		}
	}
	if len(fields) > 0 {
		return nil, errs.InvalidFields(fields...)
	}
	return s, nil
}

// take sorts what variables say by Secret and key.
func (s *Source) take(variables map[string]*rendererv1.SecretReference) (fields []errs.Field) {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		ref := variables[name]
		where := fmt.Sprintf("input.secret_variables[%q]", name)
		if ref.GetSealed() != "" {
			if problem := secrets.SealedProblem(ref.GetSealed()); problem != "" {
				fields = append(fields, errs.Field{Path: where + ".sealed", Problem: problem})
			}
		}
		if s.given == nil {
			s.given = map[string]map[string]given{}
		}
		keys := s.given[ref.GetName()]
		if keys == nil {
			keys = map[string]given{}
			s.given[ref.GetName()] = keys
		}
		now, before := given{variable: name, sealed: ref.GetSealed(), remote: ref.GetRemote()}, keys[ref.GetKey()]
		switch {
		case before.variable == "", before.sealed == "" && before.remote == nil:
			keys[ref.GetKey()] = now
		case now.sealed == "" && now.remote == nil, before.sealed == now.sealed && sameRemote(before.remote, now.remote):
		default:
			fields = append(fields, errs.Field{Path: where, Problem: fmt.Sprintf("says of key %q of Secret %q something else than the variable %s: say it once", ref.GetKey(), ref.GetName(), before.variable)})
		}
	}
	return fields
}

func sameRemote(a, b *rendererv1.RemoteKey) bool {
	return a.GetKey() == b.GetKey() && a.GetProperty() == b.GetProperty() && a.GetVersion() == b.GetVersion()
}

func (s *Source) anyRemote() bool {
	for _, keys := range s.given {
		for _, g := range keys {
			if g.remote != nil {
				return true
			}
		}
	}
	return false
}

func (s *Source) strategy() rendererv1.SecretRules_Strategy {
	if st := s.rules.GetStrategy(); st != rendererv1.SecretRules_STRATEGY_UNSPECIFIED {
		return st
	}
	return rendererv1.SecretRules_STRATEGY_GENERATED
}

// asked is a Secret that a definition asks for.
type asked struct {
	name     string
	typ      string
	metadata map[string]any
	// lengths are those of the values to be made, fixed the values that are no secret.
	lengths map[string]int
	fixed   map[string]string
	uid     string
}

func (a *asked) keys() []string { return slices.Sorted(maps.Keys(a.lengths)) }

// Make gives what is rendered in place of an object that a definition made: the object itself when it is no Secret, or the objects
// that make the Secret by the strategy. It refuses a Secret with values.
func (s *Source) Make(o map[string]any, uid string) ([]map[string]any, error) {
	if o["kind"] != "Secret" || o["apiVersion"] != "v1" {
		return []map[string]any{o}, nil
	}
	a, err := read(o, uid)
	if err != nil {
		return nil, err
	}
	generated := s.strategy() == rendererv1.SecretRules_STRATEGY_GENERATED
	if len(a.fixed) > 0 && (generated || len(a.lengths) == 0) {
		return nil, a.plaintext()
	}
	if generated || len(a.lengths) == 0 {
		return []map[string]any{o}, nil
	}
	if s.taken == nil {
		s.taken = map[string]bool{}
	}
	s.taken[a.name] = true
	switch s.strategy() {
	case rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS:
		return s.external(a)
	case rendererv1.SecretRules_STRATEGY_SEALED_SECRETS:
		return s.sealed(a)
	default:
		s.need(a.name, append(a.keys(), slices.Sorted(maps.Keys(a.fixed))...)...)
		return nil, nil
	}
}

// read takes a Secret of a definition apart.
func read(o map[string]any, uid string) (*asked, error) {
	meta, _ := o["metadata"].(map[string]any)
	a := &asked{uid: uid, lengths: map[string]int{}, fixed: map[string]string{}, metadata: map[string]any{}}
	a.name, _ = meta["name"].(string)
	a.typ, _ = o["type"].(string)
	for k, v := range meta {
		if k != "annotations" {
			a.metadata[k] = v
		}
	}
	annotations, _ := meta["annotations"].(map[string]any)
	others := map[string]any{}
	for k, v := range annotations {
		if k != definition.GenerateAnnotation {
			others[k] = v
		}
	}
	if len(others) > 0 {
		a.metadata["annotations"] = others
	}
	spec, _ := annotations[definition.GenerateAnnotation].(string)
	if err := a.lengthsOf(spec); err != nil {
		return nil, err
	}
	return a, a.fixedOf(o)
}

// lengthsOf reads "password:32,token:16".
func (a *asked) lengthsOf(spec string) error {
	if spec == "" {
		return nil
	}
	lengths, bad := secrets.ParseGenerate(spec)
	for _, key := range slices.Sorted(maps.Keys(lengths)) {
		if bad == "" && !secretKey.MatchString(key) {
			bad = fmt.Sprintf("%q", fmt.Sprint(key, ":", lengths[key]))
		}
	}
	if bad != "" {
		return a.failed("annotation %s has %s: write key:length, with a length of 1 to %d", definition.GenerateAnnotation, bad, secrets.MaxGenerated)
	}
	a.lengths = lengths
	return nil
}

var secretKey = lazyre.New(`^[-._a-zA-Z0-9]{1,253}$`)

// fixedOf reads the values that stand in the Secret.
func (a *asked) fixedOf(o map[string]any) error {
	data, _ := o["data"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text, _ := data[key].(string)
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return a.failed("the value of %q under data is no base64", key)
		}
		if len(raw) > 0 {
			a.fixed[key] = string(raw)
		}
	}
	plain, _ := o["stringData"].(map[string]any)
	for key, v := range plain {
		if text := definition.ValueText(v); v != nil && text != "" {
			a.fixed[key] = text
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.fixed)) {
		if _, both := a.lengths[key]; both {
			return a.failed("%q has a value and is to be generated too", key)
		}
		if secrets.LooksNamed(key, a.fixed[key]) != "" {
			return a.plaintext()
		}
	}
	return nil
}

func (a *asked) failed(format string, args ...any) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_DEFINITION_FAILED, "the resource %s cannot be made: Secret %s: %s", a.uid, a.name, fmt.Sprintf(format, args...)).
		With("resource", a.uid).With("secret", a.name)
}

// plaintext says which keys have values, and never the values.
func (a *asked) plaintext() error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PLAINTEXT_SECRET,
		"the resource %s makes the Secret %s with plain values (%s), which must not reach Git: let them be made in the cluster, by the annotation %s, or refer to a Secret that is there",
		a.uid, a.name, strings.Join(slices.Sorted(maps.Keys(a.fixed)), ", "), definition.GenerateAnnotation).With("resource", a.uid).With("secret", a.name)
}

func (s *Source) need(secret string, keys ...string) {
	if s.needed == nil {
		s.needed = map[string]map[string]bool{}
	}
	if s.needed[secret] == nil {
		s.needed[secret] = map[string]bool{}
	}
	for _, key := range keys {
		s.needed[secret][key] = true
	}
}

// Warnings tells what a person has to see to: the Secrets that must be there, and variables that say what the strategy does not use.
func (s *Source) Warnings() []string {
	out := slices.Clone(s.warnings)
	for _, secret := range slices.Sorted(maps.Keys(s.needed)) {
		keys := strings.Join(slices.Sorted(maps.Keys(s.needed[secret])), ", ")
		out = append(out, fmt.Sprintf("the Secret %s with %s must be in namespace %s already: nothing here makes it", secret, keys, s.namespace))
	}
	return out
}

// Version gives what Git says of a secret's value by the strategy: its ciphertext or its place in the store. It is empty where the
// value lives in the cluster alone.
func (s *Source) Version(ref definition.Secret) string {
	g := s.given[ref.Name][ref.Key]
	switch s.strategy() {
	case rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS:
		if g.remote != nil {
			return fmt.Sprintf("%q %q %q", g.remote.GetKey(), g.remote.GetProperty(), g.remote.GetVersion())
		}
	case rendererv1.SecretRules_STRATEGY_SEALED_SECRETS:
		return g.sealed
	}
	return ""
}
