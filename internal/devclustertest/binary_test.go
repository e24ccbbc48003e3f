package devclustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheBinaryIsFoundFromAnyFolderOfTheRepository(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "services", "drift")
	program := filepath.Join(root, "bin", "devcluster")
	for _, dir := range []string{deep, filepath.Dir(program)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{program, filepath.Join(root, "go.work")} {
		if err := os.WriteFile(file, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DEVCLUSTER", "")
	t.Chdir(deep)
	got, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if !sameFile(t, got, program) {
		t.Errorf("found %s, want %s", got, program)
	}
}

func TestAMissingBinaryIsOneSentenceThatSaysWhatToRun(t *testing.T) {
	const sentence = "bin/devcluster is missing: run make bin/devcluster"
	root := t.TempDir()
	t.Setenv("DEVCLUSTER", "")
	t.Chdir(root)
	if _, err := binary(); err == nil || err.Error() != sentence {
		t.Errorf("outside a repository: %v, want %q", err, sentence)
	}
	if err := os.WriteFile(filepath.Join(root, "go.work"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := binary(); err == nil || err.Error() != sentence {
		t.Errorf("in a repository where it was not built: %v, want %q", err, sentence)
	}
}

func TestAWrongDEVCLUSTERIsNotReplacedByAnotherBinary(t *testing.T) {
	t.Setenv("DEVCLUSTER", filepath.Join(t.TempDir(), "gone"))
	if _, err := binary(); err == nil || !strings.Contains(err.Error(), "DEVCLUSTER names a program that is not there") {
		t.Errorf("error = %v, want that DEVCLUSTER is wrong", err)
	}
}

func TestNamesOfNamespacesAreValidAndUnique(t *testing.T) {
	long := "TestÜber/" + strings.Repeat("a case with spaces_", 9)
	a, b := namespaceName(long), namespaceName(long)
	if a == b {
		t.Errorf("two namespaces are called %s", a)
	}
	if len(a) > 63 || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("%q is not a name of a namespace", a)
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}
