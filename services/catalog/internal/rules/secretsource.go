package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// maxRemoteKey is how long the place of a value in a store may be.
const maxRemoteKey = 1024

var storeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// Strategy gives the strategy of an environment type, the default when it names none.
func Strategy(r *rendererv1.SecretRules) rendererv1.SecretRules_Strategy {
	if s := r.GetStrategy(); s != rendererv1.SecretRules_STRATEGY_UNSPECIFIED {
		return s
	}
	return rendererv1.SecretRules_STRATEGY_GENERATED
}

// StrategyName gives a strategy as people write it.
func StrategyName(s rendererv1.SecretRules_Strategy) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "STRATEGY_")), "_", "-")
}

// CheckSecretRules checks where an environment type's Secrets come from.
func CheckSecretRules(field string, r *rendererv1.SecretRules) error {
	external := Strategy(r) == rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS
	switch {
	case r.GetStore() != "" && !external:
		return errs.InvalidField(field+".store", "is for the strategy external-secrets; this one is %s", StrategyName(Strategy(r)))
	case r.GetStore() != "" && (!storeName.MatchString(r.GetStore()) || len(r.GetStore()) > maxVariableKey):
		return errs.InvalidField(field+".store", "%s is no name of a store; use lower-case letters, digits, \"-\" and \".\"", quote(r.GetStore()))
	case r.GetNamespacedStore() && r.GetStore() == "":
		return errs.InvalidField(field+".namespaced_store", "is about a store, and none is named; give store too")
	case r.GetRefreshInterval() != "" && !external:
		return errs.InvalidField(field+".refresh_interval", "is for the strategy external-secrets; this one is %s", StrategyName(Strategy(r)))
	}
	return nil
}

// CheckSecretEngine refuses generated Secrets where nothing would make them: the values are made by Towpath's own engine when it
// syncs, and pods would wait for them for ever. Errors name field.
func CheckSecretEngine(field string, engine catalogv1.Target_Engine, r *rendererv1.SecretRules) error {
	native := engine == catalogv1.Target_ENGINE_NATIVE || engine == catalogv1.Target_ENGINE_UNSPECIFIED
	if native || Strategy(r) != rendererv1.SecretRules_STRATEGY_GENERATED {
		return nil
	}
	return &errs.Error{
		Kind: errs.Precondition, Reason: errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
		Msg: "nothing would make the environment's Secrets",
		Fields: []errs.Field{{Path: field, Problem: fmt.Sprintf(
			"is generated, which only Towpath's own engine does, and the target is synced by %s; use external-secrets, sealed-secrets or existing, as with `tow type update NAME --secret-strategy external-secrets --secret-store STORE`",
			strings.ToLower(strings.TrimPrefix(engine.String(), "ENGINE_")))}},
	}
}

// checkSecretSource checks what a reference says about where the value comes from. What is given is never shown again: somebody may
// have taken the value for its place.
func checkSecretSource(field string, r *rendererv1.SecretReference) error {
	if r.GetSealed() != "" {
		if problem := secrets.SealedProblem(r.GetSealed()); problem != "" {
			return errs.InvalidField(field+".sealed", "%s", problem)
		}
	}
	if r.Remote == nil {
		return nil
	}
	for _, part := range []struct{ name, value string }{
		{"key", r.GetRemote().GetKey()}, {"property", r.GetRemote().GetProperty()}, {"version", r.GetRemote().GetVersion()},
	} {
		at := field + ".remote." + part.name
		switch {
		case part.name == "key" && part.value == "":
			return errs.InvalidField(at, "is empty; say where the store has the value, such as shop/payments")
		case len(part.value) > maxRemoteKey || strings.ContainsFunc(part.value, func(c rune) bool { return c < ' ' || c == 0x7f }):
			return errs.InvalidField(at, "is no place in a store; give at most %d characters, without line breaks", maxRemoteKey)
		case secrets.Looks(part.value) != "":
			return &errs.Error{
				Kind: errs.Precondition, Reason: errorsv1.Reason_REASON_PLAINTEXT_SECRET,
				Msg:    "a plaintext secret would have reached Git; nothing was changed",
				Fields: []errs.Field{{Path: at, Problem: "looks like " + secrets.Looks(part.value) + "; give the place of the value in the store, not the value"}},
			}
		}
	}
	return nil
}

// CheckSecretWays refuses secret variables of an environment whose value would come from where its type's strategy does not look. A
// reference may have several ways, for environments of other types.
func CheckSecretWays(change *catalogv1.Change, r *rendererv1.SecretRules) error {
	strategy := Strategy(r)
	for _, key := range slices.Sorted(maps.Keys(change.GetSecretVariables())) {
		ref, field := change.GetSecretVariables()[key], fmt.Sprintf("change.secret_variables[%q]", key)
		sealed, remote := ref.GetSealed() != "", ref.GetRemote() != nil
		switch {
		case !sealed && !remote:
		case strategy == rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS && remote, strategy == rendererv1.SecretRules_STRATEGY_SEALED_SECRETS && sealed:
		case strategy == rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS:
			return errs.InvalidField(field+".sealed", "is a ciphertext, and the environment type takes secrets from a store; give --remote KEY")
		case strategy == rendererv1.SecretRules_STRATEGY_SEALED_SECRETS:
			return errs.InvalidField(field+".remote", "is a place in a store, and the environment type's secrets are sealed; give --sealed-file FILE")
		default:
			return errs.InvalidField(field, "says where the value comes from, and the environment type's strategy is %s, which uses neither ciphertexts nor a store; refer to the Secret alone, or change the strategy with `tow type update --secret-strategy`", StrategyName(strategy))
		}
	}
	return nil
}

// shownSecret tells a reference in a line. A ciphertext is no secret but long: it is told by its beginning.
func shownSecret(ref *rendererv1.SecretReference) string {
	out := "secret " + ref.GetName() + "/" + ref.GetKey()
	if r := ref.GetRemote(); r != nil {
		out += " from " + r.GetKey()
		if r.GetProperty() != "" {
			out += "#" + r.GetProperty()
		}
		if r.GetVersion() != "" {
			out += "@" + r.GetVersion()
		}
	}
	if s := ref.GetSealed(); s != "" {
		out += " sealed " + secrets.CutSealed(s)
	}
	return out
}
