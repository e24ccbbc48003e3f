package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestSpellingsOfOneRemoteAreOne(t *testing.T) {
	for raw, want := range map[string]string{
		"https://Git.example.com/team/x.git":        "https://git.example.com/team/x",
		"https://git.example.com/team/x/":           "https://git.example.com/team/x",
		"ssh://git@git.example.com:2222/team/x.git": "https://git.example.com/team/x",
		"git@git.example.com:team/x.git":            "https://git.example.com/team/x",
		"git.example.com:team/x":                    "https://git.example.com/team/x",
		"https://git.example.com:8443/team/x":       "https://git.example.com:8443/team/x",
		"https://git.example.com/Team/x":            "https://git.example.com/Team/x",
		"embedded:///x":                             "embedded:///x",
	} {
		if got := rules.NormalURL(raw); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestBranchTemplates(t *testing.T) {
	for template, ok := range map[string]bool{
		"main": true, "env/{environment}": true, "{team}/{application}": true, "a.b": true, "{hash}": true,
		"": false, "-x": false, "a..b": false, "a b": false, "/x": false, "x/": false, "a//b": false, ".x": false, "a/.x": false, "x.": false,
		"x.lock": false, "x.lock/y": false, "@": false, "a@{1}": false, "a\\b": false, "a~1": false, "{environment": false, "{nobody}": false, "a\x01b": false,
	} {
		if err := rules.CheckBranchTemplate("repository.branch", template); (err == nil) != ok {
			t.Errorf("%q: error = %v, want ok %v", template, err, ok)
		}
	}
}

func TestSelectorsPickFiles(t *testing.T) {
	deployment := &rendererv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", File: "f", Workload: "api-v2"}
	config := &rendererv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", File: "f"}
	for _, tc := range []struct {
		kinds, workloads []string
		object           *rendererv1.ObjectRef
		want             bool
	}{
		{[]string{"apps/Deployment"}, nil, deployment, true},
		{[]string{"apps/*"}, nil, deployment, true},
		{[]string{"*/Deployment"}, nil, deployment, true},
		{[]string{"/Deployment"}, nil, deployment, false},
		{[]string{"/ConfigMap"}, nil, config, true},
		{[]string{"/*"}, nil, config, true},
		{[]string{"apps/*", "/Secret"}, nil, config, false},
		{nil, []string{"api-v2"}, deployment, true},
		{nil, []string{"api*"}, deployment, true},
		{nil, []string{"*-v2"}, deployment, true},
		{nil, []string{"a*i*2"}, deployment, true},
		{nil, []string{"a*2*2"}, deployment, false},
		{nil, []string{"pi*"}, deployment, false},
		{nil, []string{"*"}, config, false},
		{[]string{"batch/*"}, []string{"web", "api-*"}, deployment, true},
	} {
		p := &catalogv1.Place{Parts: []*catalogv1.PartPlace{{Id: "part", Select: &committerv1.FileSelector{Kinds: tc.kinds, Workloads: tc.workloads}}}}
		part, known := rules.NewSorter(p, []*rendererv1.ObjectRef{tc.object}).Part("f")
		if !known || (part == "part") != tc.want {
			t.Errorf("%v %v of %v: %q", tc.kinds, tc.workloads, tc.object, part)
		}
	}
	if _, known := rules.NewSorter(&catalogv1.Place{Parts: []*catalogv1.PartPlace{{}}}, nil).Part("f"); known {
		t.Error("a file of no object is known")
	}
}

// Overlap finds the same as comparing each with each.
func TestOverlapFindsWhatComparingAllFinds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all []rules.Location
		for i := range rapid.IntRange(0, 8).Draw(rt, "n") {
			segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "A", "a-b", "b", "a.b"}), 1, 3).Draw(rt, fmt.Sprint("path", i))
			all = append(all, rules.Location{
				URL:    rapid.SampledFrom([]string{"https://h/x", "git@h:x.git", "https://h/y"}).Draw(rt, fmt.Sprint("url", i)),
				Branch: rapid.SampledFrom([]string{"main", "dev"}).Draw(rt, fmt.Sprint("branch", i)), Path: strings.Join(segments, "/"),
			})
		}
		want := false
		for i, a := range all {
			for _, b := range all[i+1:] {
				if rules.NormalURL(a.URL) != rules.NormalURL(b.URL) || a.Branch != b.Branch {
					continue
				}
				x, y := strings.ToLower(a.Path)+"/", strings.ToLower(b.Path)+"/"
				want = want || strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
			}
		}
		if _, _, got := rules.Overlap(all); got != want {
			rt.Fatalf("overlap = %t, want %t: %v", got, want, all)
		}
	})
}

// Whatever ids and owners there are, what a checked layout is filled with stays within its folder.
func TestFilledLayoutsStayWhereTheyMay(t *testing.T) {
	id := rapid.StringMatching(`[a-z][a-z0-9-]{0,10}[a-z0-9]`)
	rapid.Check(t, func(rt *rapid.T) {
		n := rules.Names{Env: rules.Env{App: id.Draw(rt, "app"), ID: id.Draw(rt, "env")}, Type: id.Draw(rt, "type"), Owner: rapid.String().Draw(rt, "owner")}
		p, err := rules.Layout{Main: &catalogv1.Repository{
			Url: "https://h/{team}/{application}", Branch: "env/{team}/{environment}", PathTemplate: "x/{team}/{hash}/{environment_type}",
		}}.Place(n)
		if err != nil {
			if _, ok := rules.Team(n.Owner); ok {
				rt.Fatalf("owner %q: %v", n.Owner, err)
			}
			return
		}
		if err := rules.CheckBranchTemplate("branch", p.GetBranch()); err != nil {
			rt.Fatal(err)
		}
		if err := rules.CheckPathTemplate("path", p.GetPath()); err != nil {
			rt.Fatal(err)
		}
		if strings.Count(p.GetUrl(), "/") != 4 || strings.Count(p.GetPath(), "/") != 3 || strings.Count(p.GetBranch(), "/") != 2 {
			rt.Fatalf("a name made a folder: %v", p)
		}
	})
}
