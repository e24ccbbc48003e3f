package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// isScoreFile reports whether a file of a folder is taken for a Score file.
func isScoreFile(name string) bool {
	switch base := strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml"); {
	case base == name || strings.HasPrefix(name, "."):
		return false
	default:
		return base == "score" || strings.HasSuffix(base, ".score")
	}
}

// expandFolders puts the Score files of a folder in its place, in the order of their names.
func expandFolders(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		if name == "-" || !isFolder(name) {
			out = append(out, name)
			continue
		}
		files, err := filesIn(name, isScoreFile)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the folder %s has no Score files: they are called score.yaml or NAME.score.yaml", name)
		}
		out = append(out, files...)
	}
	return out, nil
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// filesIn gives the files of a folder whose names are wanted, sorted by name; folders below it are not looked into.
func filesIn(dir string, wanted func(name string) bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "there is no folder %s", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the folder: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name := filepath.Join(dir, e.Name()); wanted(e.Name()) && !isFolder(name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// overrides are overrides documents: of the one Score file, or by workload.
type overrides struct {
	one    []byte
	byName map[string][]byte
	taken  map[string]bool
	names  []string
}

// readOverrides reads FILE and WORKLOAD=FILE. A file whose name has an equals sign is given as ./NAME.
func readOverrides(flags []string, scores int) (*overrides, error) {
	o := &overrides{byName: map[string][]byte{}, taken: map[string]bool{}}
	for _, flag := range flags {
		workload, name, named := strings.Cut(flag, "=")
		if named && strings.ContainsAny(workload, `./\`) || !named {
			workload, name = "", flag
		}
		switch _, twice := o.byName[workload]; {
		case workload == "" && scores > 1:
			return nil, usagef("--overrides %s is for one Score file, but there are %d; say whose it is: --overrides WORKLOAD=%s", name, scores, name)
		case twice || workload == "" && o.one != nil:
			return nil, usagef("--overrides %s: another file is given for the same workload", flag)
		}
		content, err := readLimited(name)
		if err != nil {
			return nil, err
		}
		if workload == "" {
			o.one = content
		} else {
			o.byName[workload] = content
		}
	}
	return o, nil
}

// give puts the overrides into the file that they are for.
func (o *overrides) give(file *rendererv1.ScoreFile) {
	file.Overrides = o.one
	if len(o.byName) == 0 {
		return
	}
	var doc struct {
		Metadata struct {
			Name string `yaml:"name"`
		} `yaml:"metadata"`
	}
	if yaml.Unmarshal(file.GetContent(), &doc) != nil {
		return // the loader has better words for what is no YAML
	}
	name := doc.Metadata.Name
	o.names = append(o.names, name)
	if content, ok := o.byName[name]; ok {
		file.Overrides, o.taken[name] = content, true
	}
}

// unused is an error about overrides of workloads that no file has.
func (o *overrides) unused() error {
	for _, name := range slices.Sorted(maps.Keys(o.byName)) {
		if !o.taken[name] {
			return usagef("--overrides %s=…: no Score file has a workload %q; there are %s", name, name, strings.Join(o.names, ", "))
		}
	}
	return nil
}
