package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

func TestSplitsAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]*catalogv1.Split{
		"id=db,repository=infra,kinds=postgresql.cnpg.io/*": {
			Id: "db", Repository: "repositories/infra", Select: &committerv1.FileSelector{Kinds: []string{"postgresql.cnpg.io/*"}},
		},
		"id=db,repository=repositories/infra,kinds=a/B,c/*,workloads=web-*,workloads=api": {
			Id: "db", Repository: "repositories/infra", Select: &committerv1.FileSelector{Kinds: []string{"a/B", "c/*"}, Workloads: []string{"web-*", "api"}},
		},
		"db": nil, "id=db": nil, "repository=infra,kinds=a/B": nil, "id=db,repository=infra,kinds=": nil, "id=db,repository=infra,color=red": nil,
		"id=db,repository=a/b": nil,
	} {
		got, err := splitOf(text)
		if (err == nil) != (want != nil) {
			t.Errorf("%q: error = %v", text, err)
			continue
		}
		if want == nil {
			continue
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
		again, err := splitOf(splitLines(&catalogv1.Repository{Splits: []*catalogv1.Split{got}})[0])
		if diff := cmp.Diff(want, again, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("%q written and read again: %v\n%s", text, err, diff)
		}
	}
}

func TestCrowdedDirectoriesAreToldWithTheWayOut(t *testing.T) {
	standing := func(n int, path string) []environment {
		var out []environment
		for i := range n {
			out = append(out, &catalogv1.Environment{Place: &catalogv1.Place{
				Repository: "repositories/all", Url: "embedded:///all", Branch: "main", Path: strings.ReplaceAll(path, "#", fmt.Sprint(i)),
			}})
		}
		return out
	}
	for name, tc := range map[string]struct {
		envs []environment
		want int
	}{
		"as many as are fast":    {standing(1000, "envs/dev/app-#"), 0},
		"one more":               {standing(1001, "envs/dev/app-#"), 1},
		"each in its own branch": {standing(1001, "envs/#/app"), 1},
		"of another repository":  {nil, 0},
		"below one entry":        {standing(5, "a/b/#/c"), 0},
		"in a layout that is not": {func() []environment {
			e := standing(1001, "x/#")
			e[0].LayoutPlace = standing(1, "y/z")[0].GetPlace()
			return e
		}(), 0},
	} {
		if got := crowds("repositories/all", tc.envs); len(got) != tc.want || tc.want > 0 && !strings.Contains(got[0], "{hash}") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
