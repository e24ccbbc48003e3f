package forge_test

import (
	"testing"

	"github.com/towpath-dev/towpath/internal/forge"
)

func TestAServiceIsGuessedFromTheAddressToCloneFrom(t *testing.T) {
	for clone, want := range map[string][2]string{
		"https://git.example.com/team/deploy.git":        {"https://git.example.com", "team/deploy"},
		"http://127.0.0.1:3000/team/deploy":              {"http://127.0.0.1:3000", "team/deploy"},
		"https://git.example.com/group/sub/deploy.git/":  {"https://git.example.com", "group/sub/deploy"},
		"ssh://git@git.example.com:2222/team/deploy.git": {"https://git.example.com", "team/deploy"},
		"git@git.example.com:team/deploy.git":            {"https://git.example.com", "team/deploy"},
		"git.example.com:team/deploy":                    {"https://git.example.com", "team/deploy"},
		"embedded:///deploy":                             {"", ""},
		"::":                                             {"", ""},
		"":                                               {"", ""},
	} {
		if base, project := forge.Address(clone); base != want[0] || project != want[1] {
			t.Errorf("%q is %q and %q, not %q", clone, base, project, want)
		}
	}
}
