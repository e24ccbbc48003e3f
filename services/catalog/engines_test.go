package catalog_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

func TestATargetsEngineIsCheckedWhenItIsWritten(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	const argo, flux = catalogv1.Target_ENGINE_ARGOCD, catalogv1.Target_ENGINE_FLUX
	for name, target := range map[string]*catalogv1.Target{
		"settings of a native target":        {EngineSettings: &catalogv1.EngineSettings{Namespace: "argocd"}},
		"an engine that nobody knows":        {Engine: 77},
		"a namespace that can be none":       {Engine: argo, EngineSettings: &catalogv1.EngineSettings{Namespace: "Argo_CD"}},
		"a Git secret of Argo CD":            {Engine: argo, EngineSettings: &catalogv1.EngineSettings{GitSecret: "git"}},
		"a Git secret that can be none":      {Engine: flux, EngineSettings: &catalogv1.EngineSettings{GitSecret: "a b"}},
		"a destination of Flux":              {Engine: flux, EngineSettings: &catalogv1.EngineSettings{Destination: "https://10.0.0.1"}},
		"a destination that is no URL":       {Engine: argo, EngineSettings: &catalogv1.EngineSettings{Destination: "production"}},
		"a Git address with a password":      {Engine: argo, EngineSettings: &catalogv1.EngineSettings{GitUrl: "https://a:b@towpath.example.com/git"}},
		"a Git address with a query":         {Engine: argo, EngineSettings: &catalogv1.EngineSettings{GitUrl: "https://towpath.example.com/git?x=1"}},
		"a Git address of another transport": {Engine: argo, EngineSettings: &catalogv1.EngineSettings{GitUrl: "ssh://towpath.example.com/git"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.api.CreateTarget(t.Context(), &catalogv1.CreateTargetRequest{TargetId: "t", Target: target})
			if code := codes.InvalidArgument; err == nil {
				t.Fatalf("it was taken, want %v", code)
			}
			wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
		})
	}
	for id, target := range map[string]*catalogv1.Target{
		"argo": {Engine: argo, EngineSettings: &catalogv1.EngineSettings{Namespace: "gitops", Destination: "https://10.0.0.1:6443", GitUrl: "https://towpath.example.com/git"}},
		"flux": {Engine: flux, EngineSettings: &catalogv1.EngineSettings{GitSecret: "towpath-git"}},
	} {
		_, err := w.api.CreateTarget(t.Context(), &catalogv1.CreateTargetRequest{TargetId: id, Target: target})
		must(t, err)
	}
}

func TestAnEnvironmentsEngineStaysAndGeneratedSecretsKeepOthersAway(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	engine := func(e catalogv1.Target_Engine) error {
		_, err := w.api.UpdateTarget(t.Context(), &catalogv1.UpdateTargetRequest{
			Target: &catalogv1.Target{Name: "targets/other", Engine: e}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"engine"}},
		})
		return err
	}
	_, err := w.api.CreateTarget(t.Context(), &catalogv1.CreateTargetRequest{TargetId: "other"})
	must(t, err)
	_, err = w.api.CreateEnvironmentType(t.Context(), &catalogv1.CreateEnvironmentTypeRequest{
		EnvironmentTypeId: "qa", EnvironmentType: &catalogv1.EnvironmentType{Target: "targets/other"},
	})
	must(t, err)
	wantError(t, engine(catalogv1.Target_ENGINE_ARGOCD), codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: &catalogv1.EnvironmentType{Name: "environmentTypes/qa", Defaults: &rendererv1.EnvironmentDefaults{
			Secrets: &rendererv1.SecretRules{Strategy: rendererv1.SecretRules_STRATEGY_EXISTING},
		}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"defaults.secrets.strategy"}},
	})
	must(t, err)
	must(t, engine(catalogv1.Target_ENGINE_ARGOCD))
	must(t, engine(catalogv1.Target_ENGINE_NATIVE))
	w.app("shop")
	_, err = w.api.CreateEnvironment(t.Context(), &catalogv1.CreateEnvironmentRequest{
		Parent: "applications/shop", EnvironmentId: "qa", Environment: &catalogv1.Environment{Type: "environmentTypes/qa"},
	})
	must(t, err)
	wantError(t, engine(catalogv1.Target_ENGINE_FLUX), codes.FailedPrecondition, errorsv1.Reason_REASON_IN_USE)
}
