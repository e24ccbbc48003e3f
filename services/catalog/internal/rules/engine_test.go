package rules_test

import (
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestWhatAnEngineCannotBringIsRefused(t *testing.T) {
	const argo, flux, native = catalogv1.Target_ENGINE_ARGOCD, catalogv1.Target_ENGINE_FLUX, catalogv1.Target_ENGINE_NATIVE
	split := &catalogv1.Place{Parts: []*catalogv1.PartPlace{{}}}
	kept := []*catalogv1.Repository{{Name: "repositories/default", Url: "embedded:///deployments"}}
	remote := []*catalogv1.Repository{{Name: "repositories/main", Url: "https://git.example.com/main.git"}}
	at := &catalogv1.EngineSettings{GitUrl: "https://towpath.example.com/git"}
	for _, c := range []struct {
		name   string
		target *catalogv1.Target
		place  *catalogv1.Place
		repos  []*catalogv1.Repository
		public string
		ok     bool
	}{
		{"native brings all", &catalogv1.Target{Engine: native}, split, kept, "", true},
		{"Argo CD has several sources", &catalogv1.Target{Engine: argo}, split, remote, "", true},
		{"Flux has one", &catalogv1.Target{Engine: flux}, split, remote, "", false},
		{"a repository of towpathd without an address", &catalogv1.Target{Engine: flux}, nil, kept, "", false},
		{"a repository of towpathd at its public address", &catalogv1.Target{Engine: flux}, nil, kept, "https://towpath.example.com", true},
		{"a repository of towpathd at the target's address", &catalogv1.Target{Engine: argo, EngineSettings: at}, nil, kept, "", true},
	} {
		err := rules.CheckEnginePlace("applications/shop/environments/dev", c.target, c.place, c.repos, c.public)
		if (err == nil) != c.ok || err != nil && !errs.Is(err, errs.Precondition) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
