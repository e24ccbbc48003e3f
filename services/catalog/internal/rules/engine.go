package rules

import (
	"net/url"
	"regexp"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// EngineName gives a sync engine as people write it.
func EngineName(e catalogv1.Target_Engine) string {
	if e == catalogv1.Target_ENGINE_UNSPECIFIED {
		e = catalogv1.Target_ENGINE_NATIVE
	}
	return strings.ToLower(strings.TrimPrefix(e.String(), "ENGINE_"))
}

// CheckEngine checks a target's engine and its settings. Errors name fields below field, such as target.
func CheckEngine(field string, t *catalogv1.Target) error {
	set, at := t.GetEngineSettings(), field+".engine_settings"
	switch t.GetEngine() {
	case catalogv1.Target_ENGINE_UNSPECIFIED, catalogv1.Target_ENGINE_NATIVE:
		if set.GetNamespace()+set.GetDestination()+set.GetGitSecret()+set.GetGitUrl() != "" {
			return errs.InvalidField(at, "is for the engines argocd and flux; this target's is native: leave it out, or choose another engine")
		}
		return nil
	case catalogv1.Target_ENGINE_ARGOCD:
		if set.GetGitSecret() != "" {
			return errs.InvalidField(at+".git_secret", "is for the engine flux; Argo CD has credentials of its own: give it a repository Secret, see docs/engines.md")
		}
	case catalogv1.Target_ENGINE_FLUX:
		if set.GetDestination() != "" {
			return errs.InvalidField(at+".destination", "is for the engine argocd; Flux deploys to the cluster that it runs in")
		}
	default:
		return errs.InvalidField(field+".engine", "%d is no engine; use ENGINE_NATIVE, ENGINE_ARGOCD or ENGINE_FLUX", t.GetEngine())
	}
	if ns := set.GetNamespace(); ns != "" && !dnsLabel.MatchString(ns) {
		return errs.InvalidField(at+".namespace", "%s is no name of a namespace; use lower-case letters, digits and \"-\"", quote(ns))
	}
	if s := set.GetGitSecret(); s != "" && !storeName.MatchString(s) {
		return errs.InvalidField(at+".git_secret", "%s is no name of a Secret; use lower-case letters, digits, \"-\" and \".\"", quote(s))
	}
	if err := checkEngineURL(at+".destination", set.GetDestination()); err != nil {
		return err
	}
	return checkEngineURL(at+".git_url", set.GetGitUrl())
}

// checkEngineURL checks an address that stands in engines' objects, which are no place for credentials.
func checkEngineURL(field, raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return errs.InvalidField(field, "is no URL; give one such as https://towpath.example.com/git")
	case u.User != nil:
		return errs.InvalidField(field, "has a user or password in it; take it out: the engine's objects are no place for secrets")
	case u.RawQuery != "" || u.Fragment != "":
		return errs.InvalidField(field, "has a query or fragment; give the address alone")
	}
	return nil
}

// EngineMoves reports whether a change of a target puts environments into the hands of another engine, or of the same one elsewhere.
func EngineMoves(old, now *catalogv1.Target) bool {
	return EngineName(old.GetEngine()) != EngineName(now.GetEngine()) ||
		old.GetEngineSettings().GetNamespace() != now.GetEngineSettings().GetNamespace() ||
		old.GetEngineSettings().GetDestination() != now.GetEngineSettings().GetDestination()
}

// CheckEnginePlace refuses what an engine cannot bring to a cluster: an environment in several places of Git by Flux, and a repository
// that towpathd keeps where nobody said under which address the engine finds it.
func CheckEnginePlace(env string, t *catalogv1.Target, place *catalogv1.Place, repos []*catalogv1.Repository, publicURL string) error {
	engine := EngineName(t.GetEngine())
	if engine == "native" {
		return nil
	}
	if t.GetEngine() == catalogv1.Target_ENGINE_FLUX && len(place.GetParts()) > 0 {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
			"%s would stand in %d places of Git, and Flux has one source for an environment; use a repository without splits, or a target whose engine is native or argocd",
			env, len(place.GetParts())+1).With("target", t.GetName())
	}
	for _, r := range repos {
		if strings.HasPrefix(r.GetUrl(), "embedded:///") && publicURL == "" && t.GetEngineSettings().GetGitUrl() == "" {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_OBJECT_NOT_ALLOWED,
				"%s is kept by towpathd, and the engine %s of %s does not know how to reach it; start towpathd with --public-url, or give its address with `tow target update %s --engine-git-url https://towpath.example.com/git`",
				r.GetName(), engine, t.GetName(), strings.TrimPrefix(t.GetName(), "targets/")).With("target", t.GetName())
		}
	}
	return nil
}
