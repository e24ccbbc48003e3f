package cli

import (
	"strings"

	"github.com/spf13/pflag"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// engineFields are the flags of a target's sync engine.
func engineFields(fs *pflag.FlagSet) []field[target] {
	engine := fs.String("engine", "native", "who applies manifests: native, argocd or flux; see docs/engines.md")
	settings := func(m target) *catalogv1.EngineSettings {
		if m.EngineSettings == nil {
			m.EngineSettings = &catalogv1.EngineSettings{}
		}
		return m.EngineSettings
	}
	part := func(flag, path, usage string, set func(s *catalogv1.EngineSettings, v string)) field[target] {
		return text(fs, flag, "engine_settings."+path, usage, func(m target, v string) {
			if v != "" || m.EngineSettings != nil {
				set(settings(m), v)
			}
		})
	}
	return []field[target]{
		{"engine", "engine", func(m target) error {
			v, ok := catalogv1.Target_Engine_value["ENGINE_"+strings.ToUpper(*engine)]
			if !ok || v == 0 {
				return usagef("--engine %q is not known; use native, argocd or flux", *engine)
			}
			m.Engine = catalogv1.Target_Engine(v)
			return nil
		}},
		part("engine-namespace", "namespace", "namespace of the engine's objects (default argocd, or flux-system)",
			func(s *catalogv1.EngineSettings, v string) { s.Namespace = v }),
		part("engine-destination", "destination", "Argo CD's URL of the cluster (default https://kubernetes.default.svc)",
			func(s *catalogv1.EngineSettings, v string) { s.Destination = v }),
		part("engine-git-secret", "git_secret", "Flux: Secret in its namespace by which it reads the repositories",
			func(s *catalogv1.EngineSettings, v string) { s.GitSecret = v }),
		part("engine-git-url", "git_url", "where the engine reaches repositories that towpathd keeps (default the server's public URL and /git)",
			func(s *catalogv1.EngineSettings, v string) { s.GitUrl = v }),
	}
}

// engineSummary writes an engine's settings on one line.
func engineSummary(m target) string {
	var out []string
	for _, p := range [][2]string{
		{"namespace", m.GetEngineSettings().GetNamespace()}, {"destination", m.GetEngineSettings().GetDestination()},
		{"git-secret", m.GetEngineSettings().GetGitSecret()}, {"git-url", m.GetEngineSettings().GetGitUrl()},
	} {
		if p[1] != "" {
			out = append(out, p[0]+"="+p[1])
		}
	}
	return strings.Join(out, " ")
}

// engineLine says who syncs an environment, where that is not Towpath itself.
func engineLine(s *driftv1.EnvironmentStatus) string {
	if s.GetEngineObject() == "" {
		return ""
	}
	return s.GetEngine() + ", " + s.GetEngineObject()
}
