package rules_test

import (
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// A name that is taken is written back as it was: no two spellings of one resource. One that is refused is the caller's fault.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"applications/shop", "applications/shop/environments/dev", "applications/shop/environments/dev/deployments/7",
		"applications/shop/environments/dev/deployments/latest", "applications/../environments/dev", "applications/shop/environments/dev/deployments/07",
		"applications/shop\x00/environments/dev", "applications/shop/environments/dev/deployments/9223372036854775808", "", "/", "applications//environments/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(err error, back string) {
			t.Helper()
			switch {
			case err == nil && back != s:
				t.Errorf("%q was taken and is written %q", s, back)
			case err != nil && !errs.Is(err, errs.Invalid):
				t.Errorf("%q: %v is not an error of the caller", s, err)
			}
		}
		id, err := rules.ParseName("name", "applications", s)
		check(err, "applications/"+id)
		env, err := rules.ParseEnv("name", s)
		check(err, env.Name())
		env, number, err := rules.ParseDeployment("name", s)
		check(err, env.Name()+"/deployments/"+number)
	})
}
