package oidc

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Issuer is an identity provider whose tokens are taken.
type Issuer struct {
	// URL is the issuer exactly as its tokens name it.
	URL string `json:"issuer"`
	// Audiences are whom a token may be for; one of them must be in it.
	Audiences []string `json:"audiences"`
	// UsernameClaim is the claim with the name of users/{name}; sub when empty.
	UsernameClaim string `json:"usernameClaim,omitempty"`
	// GroupsClaim is the claim with the groups; groups when empty.
	GroupsClaim string `json:"groupsClaim,omitempty"`
	// UsernamePrefix and GroupsPrefix keep the names of several issuers apart. For a cluster the first is put before the namespace.
	UsernamePrefix string `json:"usernamePrefix,omitempty"`
	GroupsPrefix   string `json:"groupsPrefix,omitempty"`
	// Kubernetes says that it is a cluster: its tokens are of service accounts, serviceAccounts/{namespace}/{name}.
	Kubernetes bool `json:"kubernetes,omitempty"`
	// KeysURL is where its keys are, where it has no discovery document or that names an address that we cannot reach.
	KeysURL string `json:"keysURL,omitempty"`
	// CAFile is a PEM file of the authority that signed the issuer's certificate.
	CAFile string `json:"caFile,omitempty"`
	// TokenFile holds a bearer token for reading discovery document and keys, as clusters may ask for.
	TokenFile string `json:"tokenFile,omitempty"`
	// ClientID is what the portal is registered as there, for signing in with a browser; nobody signs in there when empty.
	ClientID string `json:"clientID,omitempty"`
	// ClientSecretFile holds the client's secret; a public client, protected by PKCE alone, when empty.
	ClientSecretFile string `json:"clientSecretFile,omitempty"`
	// Scopes are asked for when somebody signs in; those of DefaultScopes that the issuer offers when empty.
	Scopes []string `json:"scopes,omitempty"`
	// DisplayName is what the sign-in page calls it; the host of its URL when empty.
	DisplayName string `json:"displayName,omitempty"`

	index int
}

func (i Issuer) usernameClaim() string {
	if i.UsernameClaim == "" {
		return "sub"
	}
	return i.UsernameClaim
}

func (i Issuer) groupsClaim() string {
	if i.GroupsClaim == "" {
		return "groups"
	}
	return i.GroupsClaim
}

func (i Issuer) field(name string) string { return fmt.Sprintf("issuers[%d].%s", i.index, name) }

// Parse reads a configuration of issuers, YAML or JSON: {issuers: [{issuer: …, audiences: […]}]}.
func Parse(b []byte) ([]Issuer, error) {
	var doc struct {
		Issuers []Issuer `json:"issuers"`
	}
	if err := yaml.UnmarshalStrict(b, &doc); err != nil {
		return nil, errs.InvalidField("issuers", "cannot be read: %v", err)
	}
	if len(doc.Issuers) == 0 {
		return nil, errs.InvalidField("issuers", "is empty; name at least one issuer with its audiences")
	}
	return doc.Issuers, Check(doc.Issuers)
}

// Check checks issuers; the error names every wrong place.
func Check(all []Issuer) error {
	var bad []errs.Field
	seen := map[string]bool{}
	for n := range all {
		i := &all[n]
		i.index = n
		problem := func(name, format string, args ...any) {
			bad = append(bad, errs.Field{Path: i.field(name), Problem: fmt.Sprintf(format, args...)})
		}
		for _, u := range []struct{ name, value string }{{"issuer", i.URL}, {"keysURL", i.KeysURL}} {
			if p := urlProblem(u.value); p != "" && (u.value != "" || u.name == "issuer") {
				problem(u.name, "%q %s", u.value, p)
			}
		}
		if seen[i.URL] {
			problem("issuer", "%s is there twice; name its audiences in one place", i.URL)
		}
		seen[i.URL] = true
		if len(i.Audiences) == 0 {
			problem("audiences", "is empty; without it a token for any other program would open Towpath")
		}
		for _, a := range i.Audiences {
			if strings.TrimSpace(a) == "" {
				problem("audiences", "holds an empty name")
			}
		}
		if i.Kubernetes && (i.UsernameClaim != "" || i.GroupsClaim != "") {
			problem("kubernetes", "takes names and groups from the subject; leave usernameClaim and groupsClaim out")
		}
		i.checkClient(problem)
		if strings.Contains(i.UsernamePrefix, "/") {
			problem("usernamePrefix", "has a \"/\" in it, which names cannot have")
		}
	}
	if len(bad) > 0 {
		return errs.InvalidFields(bad...)
	}
	return nil
}

// checkClient checks what is needed for signing in with a browser.
func (i *Issuer) checkClient(problem func(name, format string, args ...any)) {
	if i.ClientID == "" {
		if i.ClientSecretFile != "" || len(i.Scopes) > 0 || i.DisplayName != "" {
			problem("clientID", "is needed for clientSecretFile, scopes and displayName, which are for signing in with a browser")
		}
		return
	}
	if i.Kubernetes {
		problem("clientID", "is for people who sign in, and nobody signs in with a cluster; leave it out")
	}
	if !slices.Contains(i.Audiences, i.ClientID) {
		problem("audiences", "does not name the clientID %q, so the tokens of those who sign in would be refused; add it", i.ClientID)
	}
	for _, s := range i.Scopes {
		if s == "" || strings.ContainsAny(s, " \t\n\"\\") {
			problem("scopes", "%q is no scope; give a list such as [profile, email, groups]", s)
		}
	}
	if utf8.RuneCountInString(i.DisplayName) > 60 {
		problem("displayName", "is longer than 60 characters; it stands on a button")
	}
}

// urlProblem says what is wrong with an issuer's URL. Plain HTTP is for this machine only: whoever stands in between could
// hand out keys of their own.
func urlProblem(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "is no URL of an issuer; give one such as https://login.example.com"
	case u.Scheme == "https":
		return ""
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "is not https; only an issuer on this machine may be http"
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
