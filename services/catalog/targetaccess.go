package catalog

import (
	"net/url"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/credentials"
	"github.com/towpath-dev/towpath/internal/errs"
)

// checkTargetAccess checks how a target says that its cluster is reached: by a kubeconfig, by credentials, by a server with
// credentials, or by none of them, which is drift's own cluster. What the credentials are, only drift can tell.
func checkTargetAccess(t *catalogv1.Target) error {
	server, name := t.GetServer(), t.GetCredentials()
	switch {
	case t.GetKubeconfig() != "" && server != "":
		return errs.InvalidField("target.server", "stands beside a kubeconfig, which names a server too; give one of them")
	case t.GetKubeconfig() != "" && name != "":
		return errs.InvalidField("target.credentials", "stand beside a kubeconfig, which has its own; give one of them")
	case server != "" && name == "":
		return errs.InvalidField("target.credentials", "are needed with a server; name a folder or Secret with \"token\" and \"ca.crt\" among drift's cluster credentials")
	case server != "" && t.GetContext() != "":
		return errs.InvalidField("target.context", "belongs to a kubeconfig, and a server needs none; leave it out")
	case name != "" && !credentials.ValidName(name):
		return errs.InvalidField("target.credentials", "%q cannot be a name; use letters, digits, \".\", \"_\" and \"-\", beginning with a letter or digit", name)
	case server == "":
		return nil
	}
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Hostname() == "":
		return errs.InvalidField("target.server", "is no https URL; give one such as https://10.0.0.1:6443")
	case u.User != nil:
		return errs.InvalidField("target.server", "has a user or password in it; take it out and put a token into the credentials")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return errs.InvalidField("target.server", "has a query or fragment; give the address alone, such as https://10.0.0.1:6443")
	}
	return nil
}
