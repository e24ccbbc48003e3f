package catalog

import (
	"errors"
	"testing"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestATargetSaysInOneWayHowItsClusterIsReached(t *testing.T) {
	const server = "https://10.0.0.1:6443"
	for name, c := range map[string]struct {
		target *catalogv1.Target
		field  string // that is wrong; "" for none
	}{
		"drift's own cluster":                 {&catalogv1.Target{}, ""},
		"a context of drift's own kubeconfig": {&catalogv1.Target{Context: "prod"}, ""},
		"a kubeconfig":                        {&catalogv1.Target{Kubeconfig: "/etc/prod", Context: "prod"}, ""},
		"credentials that hold a kubeconfig":  {&catalogv1.Target{Credentials: "prod", Context: "prod"}, ""},
		"a server and credentials":            {&catalogv1.Target{Server: server, Credentials: "prod"}, ""},
		"a server behind a path":              {&catalogv1.Target{Server: "https://rancher.example.com/k8s/clusters/c-1", Credentials: "prod"}, ""},
		"a kubeconfig and a server":           {&catalogv1.Target{Kubeconfig: "/etc/prod", Server: server, Credentials: "prod"}, "target.server"},
		"a kubeconfig and credentials":        {&catalogv1.Target{Kubeconfig: "/etc/prod", Credentials: "prod"}, "target.credentials"},
		"a server without credentials":        {&catalogv1.Target{Server: server}, "target.credentials"},
		"a server and a context":              {&catalogv1.Target{Server: server, Credentials: "prod", Context: "prod"}, "target.context"},
		"credentials that lead elsewhere":     {&catalogv1.Target{Server: server, Credentials: "../prod"}, "target.credentials"},
		"a server without encryption":         {&catalogv1.Target{Server: "http://10.0.0.1", Credentials: "prod"}, "target.server"},
		"a server that is no URL":             {&catalogv1.Target{Server: "10.0.0.1:6443", Credentials: "prod"}, "target.server"},
		"a server with a password":            {&catalogv1.Target{Server: "https://a:b@10.0.0.1", Credentials: "prod"}, "target.server"},
		"a server with a query":               {&catalogv1.Target{Server: server + "?token=x", Credentials: "prod"}, "target.server"},
		"a server that is a port and no name": {&catalogv1.Target{Server: "https://:6443", Credentials: "prod"}, "target.server"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkTargetAccess(c.target)
			if (err == nil) != (c.field == "") {
				t.Fatalf("error = %v, want one about %q", err, c.field)
			}
			var e *errs.Error
			if err != nil && (!errors.As(err, &e) || e.Kind != errs.Invalid || e.Fields[0].Path != c.field) {
				t.Errorf("error = %v, want one about %q", err, c.field)
			}
		})
	}
}
