// Package doctable holds tables that tests measure against the ones in docs/drift.md, so that the page never says what is not so. Tests
// alone use it.
package doctable

import (
	"os"
	"strings"
	"testing"
)

// Check compares a measured table with the one of that name in a file, or with UPDATE=1 writes it there; again is the command that does.
func Check(t testing.TB, file, name, table, again string) {
	t.Helper()
	begin, end := "<!-- measured: "+name+" -->\n", "<!-- end -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for %q", file, name)
	}
	if old == table {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Errorf("docs/drift.md says\n%s\nmeasured is\n%s\nrun UPDATE=1 %s", old, table, again)
		return
	}
	if err := os.WriteFile(file, []byte(head+begin+table+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
