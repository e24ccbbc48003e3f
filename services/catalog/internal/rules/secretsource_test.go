package rules_test

import (
	"encoding/base64"
	"strings"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// ciphertext has the form of one: the length of an RSA key, and enough behind it.
func ciphertext() string {
	raw := make([]byte, 2+512+40)
	raw[0] = 2
	return base64.StdEncoding.EncodeToString(raw)
}

func TestGeneratedSecretsAreRefusedWhereNothingMakesThem(t *testing.T) {
	const other = catalogv1.Target_Engine(2) // an engine that is not Towpath's own
	generated := &rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_GENERATED}
	for _, r := range []*rendererv1.SecretRules{nil, {}, generated} {
		err := rules.CheckSecretEngine("f", other, r)
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED || !strings.Contains(errs.Message(err), "--secret-strategy external-secrets") {
			t.Errorf("%v on another engine: %v", r, err)
		}
		if err := rules.CheckSecretEngine("f", catalogv1.Target_ENGINE_NATIVE, r); err != nil {
			t.Errorf("%v on the native engine: %v", r, err)
		}
	}
	for _, s := range []rendererv1.SecretRules_Strategy{
		rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS, rendererv1.SecretRules_STRATEGY_SEALED_SECRETS, rendererv1.SecretRules_STRATEGY_EXISTING,
	} {
		if err := rules.CheckSecretEngine("f", other, &rendererv1.SecretRules{Strategy: s}); err != nil {
			t.Errorf("%s on another engine: %v", s, err)
		}
	}
}

func TestReferencesSayWhereAValueIsAndNeverTheValue(t *testing.T) {
	token := "ghp_" + strings.Repeat("aB3", 12)
	for name, tc := range map[string]struct {
		ref    *rendererv1.SecretReference
		reason errorsv1.Reason
		field  string
	}{
		"a ciphertext":              {&rendererv1.SecretReference{Sealed: ciphertext()}, 0, ""},
		"a place in a store":        {&rendererv1.SecretReference{Remote: &rendererv1.RemoteKey{Key: "shop/payments", Property: "key"}}, 0, ""},
		"a value as ciphertext":     {&rendererv1.SecretReference{Sealed: "hunter2-hunter2"}, errorsv1.Reason_REASON_INVALID_FIELD, "f.sealed"},
		"a value in base64":         {&rendererv1.SecretReference{Sealed: base64.StdEncoding.EncodeToString([]byte(strings.Repeat("hunter2 ", 100)))}, errorsv1.Reason_REASON_INVALID_FIELD, "f.sealed"},
		"a remote key that is none": {&rendererv1.SecretReference{Remote: &rendererv1.RemoteKey{}}, errorsv1.Reason_REASON_INVALID_FIELD, "f.remote.key"},
		"a value as remote key":     {&rendererv1.SecretReference{Remote: &rendererv1.RemoteKey{Key: token}}, errorsv1.Reason_REASON_PLAINTEXT_SECRET, "f.remote.key"},
		"two lines as remote key":   {&rendererv1.SecretReference{Remote: &rendererv1.RemoteKey{Key: "a\nhunter2"}}, errorsv1.Reason_REASON_INVALID_FIELD, "f.remote.key"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.ref.Name, tc.ref.Key = "payments", "api.key"
			err := rules.CheckSecretRef("f", tc.ref)
			if tc.reason == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if errs.ReasonOf(err) != tc.reason || !strings.Contains(errs.Message(err), tc.field) {
				t.Errorf("error = %v, want %s at %s", err, tc.reason, tc.field)
			}
			if m := errs.Message(err); strings.Contains(m, "hunter2") || strings.Contains(m, token) || strings.Contains(m, "aHVudGVy") {
				t.Errorf("the error shows what was given: %s", m)
			}
		})
	}
}

func TestTheWayOfAValueFitsTheStrategy(t *testing.T) {
	sealed := &rendererv1.SecretReference{Name: "a", Key: "b", Sealed: ciphertext()}
	remote := &rendererv1.SecretReference{Name: "a", Key: "b", Remote: &rendererv1.RemoteKey{Key: "x"}}
	both := &rendererv1.SecretReference{Name: "a", Key: "b", Sealed: ciphertext(), Remote: &rendererv1.RemoteKey{Key: "x"}}
	plain := &rendererv1.SecretReference{Name: "a", Key: "b"}
	const (
		generated = rendererv1.SecretRules_STRATEGY_UNSPECIFIED
		external  = rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS
		seals     = rendererv1.SecretRules_STRATEGY_SEALED_SECRETS
		existing  = rendererv1.SecretRules_STRATEGY_EXISTING
	)
	for _, tc := range []struct {
		strategy rendererv1.SecretRules_Strategy
		ref      *rendererv1.SecretReference
		says     string
	}{
		{generated, plain, ""},
		{external, plain, ""},
		{seals, plain, ""},
		{existing, plain, ""},
		{external, remote, ""},
		{external, both, ""},
		{seals, sealed, ""},
		{seals, both, ""},
		{external, sealed, "give --remote KEY"},
		{seals, remote, "give --sealed-file FILE"},
		{generated, remote, "strategy is generated"},
		{existing, sealed, "strategy is existing"},
	} {
		err := rules.CheckSecretWays(&catalogv1.Change{SecretVariables: map[string]*rendererv1.SecretReference{"K": tc.ref}}, &rendererv1.SecretRules{Strategy: tc.strategy})
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(errs.Message(err), tc.says)) {
			t.Errorf("%s with %v: %v, want %q", tc.strategy, tc.ref, err, tc.says)
		}
	}
}

func TestSecretRulesFitTogether(t *testing.T) {
	for name, tc := range map[string]struct {
		rules *rendererv1.SecretRules
		field string
	}{
		"nothing":                      {nil, ""},
		"a store":                      {&rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS, Store: "vault", RefreshInterval: "10m"}, ""},
		"a store without its strategy": {&rendererv1.SecretRules{Store: "vault"}, "f.store"},
		"a store with a bad name":      {&rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS, Store: "Vault!"}, "f.store"},
		"a namespaced store unnamed":   {&rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS, NamespacedStore: true}, "f.namespaced_store"},
		"an interval for nothing":      {&rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXISTING, RefreshInterval: "1h"}, "f.refresh_interval"},
	} {
		err := rules.CheckSecretRules("f", tc.rules)
		if tc.field == "" && err != nil || tc.field != "" && (errs.ReasonOf(err) != errorsv1.Reason_REASON_INVALID_FIELD || !strings.Contains(errs.Message(err), tc.field)) {
			t.Errorf("%s: %v, want %q", name, err, tc.field)
		}
	}
}
