// Package kustomize builds kustomize bases with kustomize's own library, in memory: no plugins, no programs, no remote bases, no
// charts, no environment. The same base and kustomization give the same objects, always and everywhere.
package kustomize

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

const (
	// root is where the definition's own kustomization is, Base the folder below it with the archive's files.
	root = "/work"
	// Base is what a kustomization calls the uploaded base in its resources.
	Base = "base"
	own  = "kustomization.yaml"
)

// maxProblem is how long the text of an error may be.
const maxProblem = 1000

// Engine implements definition.Engine. It is safe for concurrent use.
type Engine struct{}

var _ definition.Engine = Engine{}

// building keeps builds apart: the library has schemas in global variables.
var building sync.Mutex

// Check looks at every kustomization of the base.
func (Engine) Check(files map[string][]byte) error {
	if len(files) == 0 || !slices.ContainsFunc(slices.Collect(maps.Keys(files)), isKustomization) {
		return errors.New("there is no kustomization.yaml in the archive")
	}
	_, err := load(files, nil)
	return err
}

// Render builds the kustomization in.Values, which is on top of the base unless it names its resources itself.
func (Engine) Render(files map[string][]byte, in definition.EngineInput) (out definition.EngineOutput, err error) {
	given := maps.Clone(in.Values)
	if given == nil {
		given = map[string]any{}
	}
	if given["resources"] == nil && given["bases"] == nil {
		given["resources"] = []any{Base}
	}
	disk, err := load(files, given)
	if err != nil {
		return out, err
	}
	building.Lock()
	defer building.Unlock()
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions, options.PluginConfig = types.LoadRestrictionsRootOnly, types.DisabledPluginConfig()
	made, err := krusty.MakeKustomizer(options).Run(disk, root)
	if err != nil {
		return out, problem(err)
	}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return out, problem(err)
		}
		var o map[string]any
		if err := yaml.Unmarshal(text, &o); err != nil {
			return out, problem(err)
		}
		out.Objects = append(out.Objects, o)
	}
	return out, nil
}

// load puts the files and the kustomization on top of them into memory, and looks at all kustomizations that there are.
func load(files map[string][]byte, given map[string]any) (filesys.FileSystem, error) {
	disk := filesys.MakeFsInMemory()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := disk.WriteFile(path.Join(root, Base, name), files[name]); err != nil {
			return nil, problem(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !isKustomization(name) {
			continue
		}
		var k map[string]any
		if err := yaml.UnmarshalStrict(files[name], &k); err != nil {
			return nil, fmt.Errorf("%s: %w", name, problem(err))
		}
		if err := check(disk, path.Join(root, Base, path.Dir(name)), k); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if given == nil {
		return disk, nil
	}
	text, err := yaml.Marshal(given)
	if err != nil {
		return nil, problem(err)
	}
	if err := check(disk, root, given); err != nil {
		return nil, fmt.Errorf("inputs.kustomization: %w", err)
	}
	return disk, disk.WriteFile(path.Join(root, own), text)
}

func isKustomization(name string) bool {
	switch path.Base(name) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}

// refusedFields are what a kustomization cannot have, and why.
var refusedFields = map[string]string{
	"helmCharts":                  "runs the program helm; use a definition with the driver helm",
	"helmGlobals":                 "runs the program helm; use a definition with the driver helm",
	"helmChartInflationGenerator": "runs the program helm; use a definition with the driver helm",
	"secretGenerator":             "would write secret values to Git; make a Secret without data and with the annotation " + definition.GenerateAnnotation,
	"buildMetadata":               "would write versions of the tools into objects",
}

// check refuses what would read from elsewhere or run programs. The library would refuse most of it, but only after it has tried.
func check(disk filesys.FileSystem, dir string, k map[string]any) error {
	for _, field := range slices.Sorted(maps.Keys(refusedFields)) {
		if filled(k[field]) {
			return fmt.Errorf("%s %s", field, refusedFields[field])
		}
	}
	for _, field := range []string{"resources", "bases", "components", "generators", "transformers", "validators"} {
		for _, entry := range texts(k[field]) {
			if strings.Contains(entry, "\n") {
				continue // written in place
			}
			if remote(entry) {
				return fmt.Errorf("%s: %.200q is elsewhere, and nothing is fetched: put a copy into the archive", field, entry)
			}
			if at := path.Join(dir, entry); !within(at) || !disk.Exists(at) {
				return fmt.Errorf("%s: %.200q is not in the archive", field, entry)
			}
		}
	}
	return far(k, "")
}

// far finds addresses where paths are expected, at any depth.
func far(v any, field string) error {
	switch v := v.(type) {
	case string:
		_, file, _ := strings.Cut(v, "=") // as in files: [name=path]
		if !strings.Contains(v, "\n") && pathField[field] && (remote(v) || remote(file)) {
			return fmt.Errorf("%s: %.200q is elsewhere, and nothing is fetched: put a copy into the archive", field, v)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := far(v[key], key); err != nil {
				return err
			}
		}
	case []any:
		for _, x := range v {
			if err := far(x, field); err != nil {
				return err
			}
		}
	}
	return nil
}

// pathField are the fields that name files.
var pathField = map[string]bool{
	"path": true, "files": true, "env": true, "envs": true, "crds": true, "configurations": true, "patchesStrategicMerge": true,
	"patches": true, "patchesJson6902": true, "replacements": true, "kustomizationFile": true,
}

// remote reports whether the library would fetch what a text names.
func remote(text string) bool {
	lower := strings.ToLower(strings.TrimSpace(text))
	user, _, at := strings.Cut(lower, "@")
	return strings.Contains(lower, "://") || strings.HasPrefix(lower, "git::") || strings.HasPrefix(lower, "github.com") || at && !strings.Contains(user, "/")
}

func within(at string) bool { return at == root || strings.HasPrefix(at, root+"/") }

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func filled(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// problem makes one line of the library's errors, without the place in memory.
func problem(err error) error {
	text := strings.ReplaceAll(strings.Join(strings.Fields(err.Error()), " "), root+"/", "")
	if len(text) > maxProblem {
		text = strings.ToValidUTF8(text[:maxProblem], "") + "…"
	}
	return errors.New(text)
}
