package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/kube"
)

func (t *tow) printBundle(out *rendered) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(out.files)) {
		fmt.Fprintf(&b, "---\n# %s\n%s", name, out.files[name])
	}
	t.printf("%s", b.String())
	t.notef("tree %s", out.tree)
}

// writeFolder writes the files, all or none, and says what is in the folder beside them: whoever applies the whole folder would
// apply that too.
func (t *tow) writeFolder(f *renderFlags, out *rendered) error {
	stale, foreign, err := others(f.out, out)
	if err != nil {
		return err
	}
	if err := replaceFiles(f.out, out.files); err != nil {
		return err
	}
	for _, name := range stale {
		name = filepath.Join(f.out, name)
		if !f.prune {
			t.notef("warning: %s is of an earlier rendering and not part of this one; --prune removes it", name)
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("prune: %w", err)
		}
		t.notef("removed %s", name)
	}
	for _, name := range foreign {
		t.notef("warning: %s is not part of this rendering; remove it unless it is yours", filepath.Join(f.out, name))
	}
	t.notef("wrote %s to %s, tree %s", plural(len(out.files), "file"), f.out, out.tree)
	return nil
}

// replaceFiles brings the folder's files to what they should be. Everything is written under other names first, so that a full disk
// leaves the folder as it was; what is the same already is not touched. A name that is a folder is found before anything changes.
func replaceFiles(dir string, files map[string][]byte) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	written := map[string]string{}
	defer func() {
		for _, temporary := range written {
			_ = os.Remove(temporary) // those that were renamed are not there any more
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if isFolder(target) {
			return fmt.Errorf("write: %s is a folder", target)
		}
		if have, err := os.ReadFile(target); err == nil && bytes.Equal(have, files[name]) {
			continue
		}
		if written[target], err = writeTemporary(dir, files[name]); err != nil {
			return err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(written)) {
		if err := os.Rename(written[target], target); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// writeTemporary writes a file whose name nobody takes for a manifest.
func writeTemporary(dir string, content []byte) (string, error) {
	file, err := os.CreateTemp(dir, ".tow-render-*")
	if err != nil {
		return "", fmt.Errorf("write: %w", err)
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err != nil {
		_ = os.Remove(file.Name())
		return "", fmt.Errorf("write: %w", err)
	}
	return file.Name(), nil
}

// others gives the YAML files of a folder that are not in the bundle: stale ones, which a rendering of the same environment wrote,
// and those of somebody else.
func others(dir string, out *rendered) (stale, foreign []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the folder: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if _, ours := out.files[name]; ours || e.IsDir() || filepath.Ext(name) != ".yaml" {
			continue
		}
		content, err := readLimited(filepath.Join(dir, name))
		if err == nil && out.wrote(name, content) {
			stale = append(stale, name)
		} else {
			foreign = append(foreign, name) // what cannot be read is not ours to remove
		}
	}
	return stale, foreign, nil
}

// wrote reports whether a file is one that a rendering of the same environment writes: its name is made of the object's kind and
// name, and the object has the environment's labels.
func (r *rendered) wrote(name string, content []byte) bool {
	var o struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name   string            `json:"name"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	if yaml.Unmarshal(content, &o) != nil {
		return false
	}
	labels := o.Metadata.Labels
	return name == strings.ToLower(o.Kind)+"-"+o.Metadata.Name+".yaml" && labels[kube.LabelManagedBy] == kube.ManagedBy &&
		labels[kube.LabelApplication] == r.application && labels[kube.LabelEnvironment] == r.environment
}

// checkFolder compares the folder with what would be written, and is an error with exit code 1 when they differ. Files of somebody
// else are no difference.
func (t *tow) checkFolder(dir string, out *rendered) error {
	p, err := t.printer("table")
	if err != nil {
		return err
	}
	stale, _, err := others(dir, out)
	if err != nil {
		return err
	}
	differ := 0
	for _, name := range slices.Sorted(maps.Keys(out.files)) {
		have, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read: %w", err)
		}
		if err == nil && bytes.Equal(have, out.files[name]) {
			continue
		}
		from := filepath.Join(dir, name)
		if err != nil {
			from = "/dev/null"
		}
		differ++
		t.printf("%s", p.diff(udiff.Unified(from, "rendered/"+name, string(have), string(out.files[name]))))
	}
	for _, name := range stale {
		have, err := readLimited(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		differ++
		t.printf("%s", p.diff(udiff.Unified(filepath.Join(dir, name), "/dev/null", string(have), "")))
	}
	if differ == 0 {
		t.notef("%s is what would be written: %s, tree %s", dir, plural(len(out.files), "file"), out.tree)
		return nil
	}
	return &exitCodeError{exitError, fmt.Errorf("%s differs from what would be written in %s; write it with -o %s --prune", dir, plural(differ, "file"), dir)}
}
