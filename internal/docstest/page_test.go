package docstest

import (
	"slices"
	"strings"
	"testing"
)

const page = "# A page\n\n```sh\nmake run\n```\n\n1. In a list:\n\n   ```console retry\n   $ tow status \\\n       -e shop/dev\n   all is well\n   ...\n\n   $ echo $?\n   0\n   ```\n\n" +
	"```yaml file=a/b.yaml\nx: 1\n```\n\n```sh no-test=\"needs the internet\"\ncurl example.com\n```\n\n<!-- instead\ntrue\n-->\n\n" +
	"<!-- typed, but not: tow logs (no logs)\ntow a\n-->\n| to | say |\n| --- | --- |\n| see | `tow get x` · `tow logs` \\| `kubectl get` |\n\nAnd `tow b`.\n\n    tow hidden\n"

func TestAPageIsReadIntoBlocks(t *testing.T) {
	blocks, err := Blocks("p.md", page)
	if err != nil {
		t.Fatal(err)
	}
	var langs []string
	for _, b := range blocks {
		langs = append(langs, b.Lang)
	}
	if want := []string{"sh", "console", "yaml", "sh", "sh"}; !slices.Equal(langs, want) {
		t.Fatalf("the blocks are of %v, want %v", langs, want)
	}
	if !blocks[1].Has("retry") || blocks[2].Attrs["file"] != "a/b.yaml" || blocks[3].Attrs["no-test"] != "needs the internet" || blocks[4].Text() != "true\n" {
		t.Errorf("the attributes are %v %v %v", blocks[1].Attrs, blocks[2].Attrs, blocks[3].Attrs)
	}
	steps, err := blocks[1].Steps()
	if err != nil || len(steps) != 2 {
		t.Fatalf("the steps are %v, %v", steps, err)
	}
	if steps[0].Command != "tow status \\\n    -e shop/dev" || !slices.Equal(steps[0].Shown, []string{"all is well", "..."}) {
		t.Errorf("the first step is %+v", steps[0])
	}
	if lines := strings.Split(page, "\n"); strings.TrimSpace(lines[steps[1].Line-1]) != "$ echo $?" {
		t.Errorf("the second step is said to stand in line %d, %q", steps[1].Line, lines[steps[1].Line-1])
	}
	if _, err := Blocks("p.md", "```sh\nx\n"); err == nil || !strings.Contains(err.Error(), "p.md:1") {
		t.Errorf("an open block is %v", err)
	}
}

func TestCommandsInTablesAndTextAreFound(t *testing.T) {
	tables := Tables(page, "tow")
	if len(tables) != 1 || tables[0].First != "tow a\n" || tables[0].Why != "no logs" || len(tables[0].Spans) != 1 || tables[0].Spans[0].Command != "tow get x" {
		t.Errorf("the tables are %+v", tables)
	}
	if lines := strings.Split(page, "\n"); !strings.Contains(lines[tables[0].Spans[0].Line-1], "tow get x") {
		t.Errorf("the command is said to stand in line %d", tables[0].Spans[0].Line)
	}
	if spans := Spans(page, "tow"); len(spans) != 3 || spans[2].Command != "tow b" {
		t.Errorf("the commands are %+v", spans)
	}
	if lines := Indented(page, "tow"); len(lines) != 1 {
		t.Errorf("indented commands stand in %v", lines)
	}
}

func TestAnAnswerMayDifferInWhatVaries(t *testing.T) {
	for name, c := range map[string]struct {
		shown, real string
		same        bool
	}{
		"the same":                          {"a b", "a b", true},
		"another word":                      {"a b", "a c", false},
		"a line more":                       {"a", "a\nb", false},
		"a line less":                       {"a\nb", "a", false},
		"widths of columns":                 {"NAME   AGE\nx      1s", "NAME AGE\nx 12s", true},
		"durations":                         {"HEALTHY after 226ms, 3d ago, in 2d", "HEALTHY after 1.2s, 5m10s ago, in 23h", true},
		"just now":                          {"synced 0s ago", "synced just now", true},
		"a duration that is none any more":  {"took 3s", "took long", false},
		"times":                             {"at 2026-01-31T08:00:00Z", "at 2027-02-01T09:30:11.5Z", true},
		"digests":                           {"commit 926c2b41c1d2", "commit 888f23a5fa5f", true},
		"a number is no digest":             {"port 7080", "port 7081", false},
		"a word that looks like a digest":   {"defaced", "deadbee", false},
		"tokens":                            {"tow_ABCDEFGHIJKLMNOPQ", "tow_QRSTUVWXYZABCDEFG", true},
		"names of pods":                     {"Pod/hello-7bc6c88d59-7hj6x", "Pod/hello-7bc6c88d59-bq2zl", true},
		"a pod of another workload":         {"Pod/hello-7bc6c88d59-7hj6x", "Pod/other-7bc6c88d59-7hj6x", false},
		"lines left out":                    {"a\n...\nd", "a\nb\nc\nd", true},
		"no line where some are left out":   {"a\n...\nb", "a\nb", true},
		"lines left out, but the end wrong": {"a\n...\nd", "a\nb\nc", false},
		"text left out":                     {"by ... at once", "by somebody else at once", true},
		"phases that were too quick to see": {"PENDING 3ms\nRENDERING 1ms\nstate HEALTHY", "PENDING 3ms\nSYNCING waits: for it\nstate HEALTHY", true},
		"nothing":                           {"", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := Compare(split(c.shown), split(c.real), Same{})
			if (err == nil) != c.same {
				t.Errorf("%q against %q: %v", c.shown, c.real, err)
			}
		})
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func TestADigestThatIsShownTwiceMustBeTheSameTwice(t *testing.T) {
	same := Same{}
	if err := Compare([]string{"tree b8d05f0e00f0f496"}, []string{"tree 1111111a1111111a"}, same); err != nil {
		t.Fatal(err)
	}
	if err := Compare([]string{"back at b8d05f0e00"}, []string{"back at 1111111a11"}, same); err != nil {
		t.Errorf("the same tree, cut as tables do: %v", err)
	}
	if err := Compare([]string{"back at b8d05f0e00"}, []string{"back at 2222222b22"}, same); err == nil {
		t.Error("another tree passes for the first one")
	}
}

func TestADifferenceShowsBothSides(t *testing.T) {
	err := Compare([]string{"a", "b", "took 3s"}, []string{"a", "c", "took 5s"}, Same{})
	if err == nil || !strings.Contains(err.Error(), "  a\n- b\n+ c\n  took 5s\n") || !strings.Contains(err.Error(), `did not come is "b"`) {
		t.Errorf("the difference is: %v", err)
	}
}
