package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// scriptTexts gives all scripts, those of this package and those that run against the whole system.
func scriptTexts(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"testdata/script", "e2e/testdata"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
		if err != nil || len(files) < 5 {
			t.Fatalf("%s has %d scripts, %v", dir, len(files), err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
			all.WriteByte('\n')
		}
	}
	return all.String()
}

// callOfTow finds the words behind tow in a line of a script.
var callOfTow = regexp.MustCompile(`(?m)^(?:! )?(?:exec|exits \d+|until (?:'[^']*'|\S+)) tow (.*)$`)

// Every command is run by a script, as a person runs it.
func TestEveryCommandHasAScript(t *testing.T) {
	used := map[string]bool{}
	for _, m := range callOfTow.FindAllStringSubmatch(scriptTexts(t), -1) {
		words := slices.DeleteFunc(strings.Fields(m[1]), func(w string) bool { return strings.HasPrefix(w, "-") })
		for n := 1; n <= min(len(words), 2); n++ {
			used[strings.Join(words[:n], " ")] = true
		}
	}
	leaves(t, func(_ *cobra.Command, words []string) {
		if path := strings.Join(words, " "); !used[path] {
			t.Errorf("no script runs tow %s", path)
		}
	})
}

// Every class of error has a script, which shows its exit code and its words.
func TestErrorClassesHaveScripts(t *testing.T) {
	text := scriptTexts(t)
	for _, class := range []string{
		"unknown command", "wrong flag value", "missing argument", "unknown name", "not permitted", "not logged in", "plan moved", "conflict", "locked",
		"too many calls", "fault of the server", "without a yes", "server gone",
	} {
		_, after, ok := strings.Cut(text, "# class: "+class+"\n")
		if !ok {
			t.Errorf("no script has the class %q", class)
			continue
		}
		block, _, _ := strings.Cut(after, "\n\n")
		if !strings.Contains(block, "exits ") || !strings.Contains(block, "stderr ") {
			t.Errorf("the script of the class %q shows no exit code and no words:\n%s", class, block)
		}
	}
}

// Every documented exit code is produced by a script or a test, and none besides.
func TestExitCodesAreDocumented(t *testing.T) {
	topic := run(t, nil, []string{"help", "exit-codes"}).want(t, 0).stdout
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^  (\d+) +\S`).FindAllStringSubmatch(topic, -1) {
		documented = append(documented, m[1])
	}
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "130"}; !slices.Equal(documented, want) {
		t.Fatalf("documented are %q, want %q", documented, want)
	}
	produced := scriptTexts(t)
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tests {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		produced += string(b)
	}
	for _, code := range documented {
		if !strings.Contains(produced, "exits "+code+" tow ") && !strings.Contains(produced, ".want(t, "+code+")") {
			t.Errorf("nothing produces exit code %s", code)
		}
	}
}
