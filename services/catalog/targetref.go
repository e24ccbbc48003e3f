package catalog

import (
	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

// engineNames are the sync engines as drift knows them.
var engineNames = map[catalogv1.Target_Engine]string{
	catalogv1.Target_ENGINE_UNSPECIFIED: "native", catalogv1.Target_ENGINE_NATIVE: "native",
	catalogv1.Target_ENGINE_ARGOCD: "argocd", catalogv1.Target_ENGINE_FLUX: "flux",
}

// targetRef is what drift needs to know of a target.
func targetRef(t *catalogv1.Target) *eventsv1.TargetRef {
	e := t.GetEngineSettings()
	return &eventsv1.TargetRef{
		Name: t.GetName(), Engine: engineNames[t.GetEngine()], Kubeconfig: t.GetKubeconfig(), Context: t.GetContext(),
		Server: t.GetServer(), Credentials: t.GetCredentials(), RequestLimit: t.GetRequestLimit(),
		EngineNamespace: e.GetNamespace(), EngineDestination: e.GetDestination(), EngineGitSecret: e.GetGitSecret(), EngineGitUrl: e.GetGitUrl(),
	}
}
