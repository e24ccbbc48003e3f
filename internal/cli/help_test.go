package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The help is an interface too. The commands are those that have a page in the reference, so none is forgotten.
func TestHelp(t *testing.T) {
	dir := t.TempDir()
	run(t, nil, []string{"docs", dir}).want(t, 0)
	pages, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 50 {
		t.Fatalf("the reference has %d pages only", len(pages))
	}
	for _, page := range pages {
		name := strings.TrimSuffix(page.Name(), ".md")
		t.Run(name, func(t *testing.T) {
			words := strings.Split(name, "_")[1:]
			if name == "tow_exit-codes" || name == "tow_environment" {
				words = append([]string{"help"}, words...)
			} else {
				words = append(words, "--help")
			}
			golden(t, filepath.Join("testdata", "help", name+".txt"), run(t, nil, words).want(t, 0).stdout)
			if words[0] == "help" {
				return
			}
			text, err := os.ReadFile(filepath.Join(dir, page.Name()))
			if err != nil {
				t.Fatal(err)
			}
			_, example, _ := strings.Cut(string(text), "## Examples\n\n```sh\n")
			if !strings.Contains(example, "tow ") {
				t.Error("there is no example")
			}
		})
	}
	known, err := filepath.Glob(filepath.Join("testdata", "help", "*.txt"))
	if err != nil || len(known) != len(pages) {
		t.Errorf("there are %d files of help for %d commands: remove those of commands that are gone", len(known), len(pages))
	}
}
