package devclustertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// errMissing is the one sentence that a person needs who has not built the binary.
var errMissing = errors.New("bin/devcluster is missing: run make bin/devcluster")

// binary finds the program: where DEVCLUSTER says, else in bin/ of the repository around the working directory.
func binary() (string, error) {
	if path := os.Getenv("DEVCLUSTER"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("DEVCLUSTER names a program that is not there: %w; correct it, or unset it and run make bin/devcluster", err)
		}
		return filepath.Abs(path)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errMissing
		}
		dir = parent
	}
	path := filepath.Join(dir, "bin", "devcluster")
	if _, err := os.Stat(path); err != nil {
		return "", errMissing
	}
	return path, nil
}
