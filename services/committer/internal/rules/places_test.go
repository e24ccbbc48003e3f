package rules_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

func TestASelectorPicksFilesByTheirObjects(t *testing.T) {
	t.Parallel()
	deployment := rules.Object{Group: "apps", Kind: "Deployment", Workload: "api-v2"}
	configMap := rules.Object{Kind: "ConfigMap", Workload: "api-v2"}
	database := rules.Object{Group: "postgresql.cnpg.io", Kind: "Cluster"}
	for _, c := range []struct {
		name    string
		s       rules.Selector
		objects []rules.Object
		want    bool
	}{
		{"a kind of a group", rules.Selector{Kinds: []string{"apps/Deployment"}}, []rules.Object{deployment}, true},
		{"another kind of the group", rules.Selector{Kinds: []string{"apps/StatefulSet"}}, []rules.Object{deployment}, false},
		{"all of a group", rules.Selector{Kinds: []string{"postgresql.cnpg.io/*"}}, []rules.Object{database}, true},
		{"a kind of any group", rules.Selector{Kinds: []string{"*/Cluster"}}, []rules.Object{database}, true},
		{"anything", rules.Selector{Kinds: []string{"*/*"}}, []rules.Object{configMap}, true},
		{"the core group", rules.Selector{Kinds: []string{"/ConfigMap"}}, []rules.Object{configMap}, true},
		{"the core group is not every group", rules.Selector{Kinds: []string{"/Deployment"}}, []rules.Object{deployment}, false},
		{"a kind without its group picks nothing", rules.Selector{Kinds: []string{"ConfigMap"}}, []rules.Object{configMap}, false},
		{"capitals count", rules.Selector{Kinds: []string{"apps/deployment"}}, []rules.Object{deployment}, false},
		{"a star inside a name is no pattern", rules.Selector{Kinds: []string{"apps/Deploy*"}}, []rules.Object{deployment}, false},
		{"a workload", rules.Selector{Workloads: []string{"api-v2"}}, []rules.Object{configMap}, true},
		{"workloads by pattern", rules.Selector{Workloads: []string{"*pi-*"}}, []rules.Object{deployment}, true},
		{"a pattern that does not fit", rules.Selector{Workloads: []string{"api-*3"}}, []rules.Object{deployment}, false},
		{"what belongs to no workload is in none", rules.Selector{Workloads: []string{"*"}}, []rules.Object{database}, false},
		{"any term", rules.Selector{Kinds: []string{"apps/Deployment"}, Workloads: []string{"web"}}, []rules.Object{deployment}, true},
		{"any object of the file", rules.Selector{Kinds: []string{"apps/Deployment"}}, []rules.Object{database, deployment}, true},
		{"no terms", rules.Selector{}, []rules.Object{deployment}, false},
		{"a file without objects", rules.Selector{Kinds: []string{"*/*"}, Workloads: []string{"*"}}, nil, false},
	} {
		if got := c.s.Picks(c.objects); got != c.want {
			t.Errorf("%s: picked is %t", c.name, got)
		}
	}
}

func TestTheFirstPartThatPicksAFileHasIt(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"a": []byte("1"), "b": []byte("2"), "c": []byte("3")}
	objects := map[string][]rules.Object{"a": {{Kind: "ConfigMap", Workload: "api"}}, "b": {{Kind: "Secret", Workload: "api"}}}
	got := rules.Split(files, objects, []rules.Selector{{Kinds: []string{"/ConfigMap"}}, {Workloads: []string{"api"}}, {Kinds: []string{"*/*"}}})
	want := []map[string][]byte{{"a": []byte("1")}, {"b": []byte("2")}, {}, {"c": []byte("3")}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEveryFileIsInExactlyOneShare(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"", "a", "b", "ab", "ba"})
		term := rapid.SampledFrom([]string{"*", "a", "b", "a*", "*b", "*a*", "a*b*"})
		files, objects := map[string][]byte{}, map[string][]rules.Object{}
		for _, name := range rapid.SliceOfDistinct(rapid.StringMatching("[a-z]{1,4}"), rapid.ID).Draw(t, "files") {
			files[name] = []byte(name)
			for range rapid.IntRange(0, 2).Draw(t, "objects") {
				objects[name] = append(objects[name], rules.Object{
					Group: word.Draw(t, "group"), Kind: word.Draw(t, "kind"), Workload: word.Draw(t, "workload"),
				})
			}
		}
		selectors := make([]rules.Selector, rapid.IntRange(0, 3).Draw(t, "parts"))
		for i := range selectors {
			selectors[i] = rules.Selector{
				Kinds:     rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return term.Draw(t, "g") + "/" + term.Draw(t, "k") }), 0, 2).Draw(t, "kinds"),
				Workloads: rapid.SliceOfN(term, 0, 2).Draw(t, "workloads"),
			}
		}
		shares := rules.Split(files, objects, selectors)
		if len(shares) != len(selectors)+1 {
			t.Fatalf("%d shares for %d parts", len(shares), len(selectors))
		}
		all := map[string][]byte{}
		for i, share := range shares {
			for name, data := range share {
				if _, twice := all[name]; twice {
					t.Fatalf("%s is in two shares", name)
				}
				all[name] = data
				for k, s := range selectors {
					if picks := s.Picks(objects[name]); k < i && picks || k == i && !picks {
						t.Fatalf("%s is in share %d; selector %d picks it: %t", name, i, k, picks)
					}
				}
			}
		}
		if d := cmp.Diff(files, all); d != "" {
			t.Fatal(d)
		}
	})
}

func TestAWorkloadsPatternIsAnyCharactersPerStar(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{1,6}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab]{1,8}`).Draw(t, "name")
		want := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "*", ".*") + "$").MatchString(name)
		if got := (rules.Selector{Workloads: []string{pattern}}).Picks([]rules.Object{{Workload: name}}); got != want {
			t.Fatalf("%s on %s is %t", pattern, name, got)
		}
	})
}

func TestAPartsStateFileStandsBesideTheMainPlaces(t *testing.T) {
	t.Parallel()
	dep, err := rules.ParseDeployment("applications/shop/environments/dev/deployments/3")
	if err != nil {
		t.Fatal(err)
	}
	main, place := dep.StatePath(), dep.PlaceName()
	dep.Part = "config"
	if got := dep.StatePath(); got != main+"@config" {
		t.Errorf("the state file is %s", got)
	}
	if dep.PlaceName() != place+"@config" || rules.EnvironmentOf(dep.PlaceName()) != place || rules.EnvironmentOf(place) != place {
		t.Errorf("the place is %s", dep.PlaceName())
	}
	for _, id := range []string{"", "A", "a/b", "..", "a@b", "-a", "a-", strings.Repeat("a", 64)} {
		if rules.CheckPart("parts[0]", id) == nil {
			t.Errorf("%q may be a part", id)
		}
	}
	if err := rules.CheckPart("parts[0]", "a-1"); err != nil {
		t.Error(err)
	}
}

func TestAPlainStateFileHasNothingOfPlaces(t *testing.T) {
	t.Parallel()
	plain := string(rules.EncodeState(rules.State{Deployment: "d", Path: "p", Tree: "t"}))
	for _, word := range []string{"part", "whole", "moved_to"} {
		if strings.Contains(plain, word) {
			t.Errorf("it has %q:\n%s", word, plain)
		}
	}
	full := rules.State{
		Deployment: "d", Path: "p", Tree: "t", Part: "x", Whole: "w", MovedTo: "m",
		Parts: []rules.PartState{{ID: "y", Repository: "r", URL: "u", Branch: "b", Path: "p", Commit: "c", Tree: "t", FilesChanged: 1}},
	}
	got, err := rules.DecodeState(rules.EncodeState(full))
	full.Version = got.Version
	if d := cmp.Diff(full, got); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestFoldersOverlapWhenOneIsInTheOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{{"a", "a", true}, {"a/b", "a", true}, {"A", "a/b", true}, {"a", "ab", false}, {"a/b", "a/c", false}} {
		if rules.Overlap(c.a, c.b) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}
