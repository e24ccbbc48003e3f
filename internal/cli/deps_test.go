package cli_test

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The CLI is a client of the API alone. What it must never link is in a list; what it links of this repository is golden.
func TestDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./cmd/tow")
	cmd.Dir = repoRoot()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	var ours []string
	for _, d := range deps {
		if strings.HasPrefix(d, "github.com/towpath-dev/towpath/") {
			ours = append(ours, d)
		}
		for _, forbidden := range forbiddenPrefixes(t) {
			if d == strings.TrimSuffix(forbidden, "/") || strings.HasPrefix(d, forbidden) {
				t.Errorf("tow links %s, which %s forbids", d, forbidden)
			}
		}
	}
	if len(ours) < 5 {
		t.Fatalf("go list gives %d packages of ours only", len(ours))
	}
	slices.Sort(ours)
	golden(t, "testdata/dependencies.txt", strings.Join(ours, "\n")+"\n")
}

func forbiddenPrefixes(t *testing.T) []string {
	t.Helper()
	f, err := os.Open("testdata/forbidden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		t.Fatal("nothing is forbidden")
	}
	return out
}
