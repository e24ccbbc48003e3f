package catalog_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestTheStrategyOfATypeWithEnvironmentsStays(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.app("shop")
	w.env("shop", "dev")
	typ, err := w.api.GetEnvironmentType(ctx, &catalogv1.GetEnvironmentTypeRequest{Name: "environmentTypes/development"})
	must(t, err)
	change := func(r *rendererv1.SecretRules) error {
		_, err := w.api.UpdateEnvironmentType(ctx, &catalogv1.UpdateEnvironmentTypeRequest{
			EnvironmentType: &catalogv1.EnvironmentType{Name: typ.GetName(), Defaults: &rendererv1.EnvironmentDefaults{Secrets: r}},
			UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"defaults.secrets"}},
		})
		return err
	}
	wantError(t, change(&rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXISTING}), codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE)
	must(t, change(&rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_GENERATED})) // what it has been all along
	wantError(t, change(&rendererv1.SecretRules{Store: "vault"}), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.api.CreateEnvironmentType(ctx, &catalogv1.CreateEnvironmentTypeRequest{EnvironmentTypeId: "vaulted", EnvironmentType: &catalogv1.EnvironmentType{
		Defaults: &rendererv1.EnvironmentDefaults{Secrets: &rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXTERNAL_SECRETS, Store: "vault"}},
	}})
	must(t, err)
}

func TestASecretVariableKeepsWhereItsValueIs(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.app("shop")
	raw := make([]byte, 2+512+40)
	raw[0] = 2
	ref := &rendererv1.SecretReference{
		Name: "payments", Key: "api.key", Sealed: base64.StdEncoding.EncodeToString(raw), Remote: &rendererv1.RemoteKey{Key: "shop/payments", Property: "key"},
	}
	name := "applications/shop/variables/PAY_KEY"
	got, err := w.variables().SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: name, Secret: ref}})
	must(t, err)
	if s := got.GetVariable().GetSecret(); s.GetRemote().GetKey() != "shop/payments" || s.GetSealed() != ref.GetSealed() {
		t.Errorf("secret = %v", s)
	}
	ref.Remote.Key = "shop/payments-2"
	_, err = w.variables().SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: name, Secret: ref}})
	must(t, err)
	back, err := w.variables().RestoreVariable(ctx, &catalogv1.RestoreVariableRequest{Name: name, Version: 1})
	must(t, err)
	if v := back.GetVariable(); v.GetVersion() != 3 || v.GetSecret().GetRemote().GetKey() != "shop/payments" {
		t.Errorf("restored = %v", v)
	}
	ref.Sealed = "hunter2"
	_, err = w.variables().SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: name, Secret: ref}})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); len(e.Fields) != 1 || e.Fields[0].Path != "variable.secret.sealed" {
		t.Errorf("fields = %v", e.Fields)
	}
	w.env("shop", "dev")
	ref.Sealed = ""
	_, err = w.variables().SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: "applications/shop/environments/dev/variables/PAY_KEY", Secret: ref}})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); !strings.Contains(e.Fields[0].Problem, "strategy is generated") {
		t.Errorf("fields = %v", e.Fields)
	}
}
