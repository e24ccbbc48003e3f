// Command peers measures how fast the Go libraries of kustomize and helm produce the manifests that tow has rendered into a folder.
// It is a module of its own: what is measured beside Towpath is not linked into it.
//
// From the folder it makes what people would keep for each tool: for helm a chart whose templates range over the workloads, for
// kustomize a folder for each workload, a generator for its files, and one root that sets namespace, labels and the image's tag. What
// comes out must be the same objects, or the figures would compare different things; that is checked before anything is measured.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// figures are what one tool needs for all workloads together.
type figures struct {
	Seconds float64 `json:"seconds"`
	Bytes   float64 `json:"bytes"`
}

type object = map[string]any

func main() {
	want := flag.String("want", "", "folder with the manifests that must come out")
	rounds := flag.Int("rounds", 5, "how many times each tool renders; the fastest counts")
	flag.Parse()
	if err := run(*want, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(folder string, rounds int) error {
	objects, err := readAll(folder)
	if err != nil {
		return err
	}
	out := map[string]figures{}
	for name, prepare := range map[string]func([]object) (func() (string, error), error){"helm": helm, "kustomize": kustomization} {
		render, err := prepare(objects)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		text, err := render()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := same(objects, text); err != nil {
			return fmt.Errorf("%s makes other objects: %w", name, err)
		}
		if out[name], err = measure(render, rounds); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// measure takes the fastest of several rounds, so that a busy machine does not speak against a tool.
func measure(render func() (string, error), rounds int) (figures, error) {
	best := figures{}
	for range rounds {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		if _, err := render(); err != nil {
			return best, err
		}
		took := time.Since(start).Seconds()
		runtime.ReadMemStats(&after)
		if best.Seconds == 0 || took < best.Seconds {
			best = figures{took, float64(after.TotalAlloc - before.TotalAlloc)}
		}
	}
	return best, nil
}

func readAll(folder string) ([]object, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no manifests in %q: %w", folder, err)
	}
	var out []object
	for _, p := range paths {
		content, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		var o object
		if err := yaml.Unmarshal(content, &o); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// same compares objects by kind and name, with all their fields.
func same(want []object, text string) error {
	got := map[string]object{}
	for _, doc := range strings.Split("\n"+text, "\n---") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return fmt.Errorf("it writes something that is not YAML: %w\n%s", err, doc)
		}
		if len(o) > 0 {
			got[id(o)] = o
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d instead of %d", len(got), len(want))
	}
	for _, o := range want {
		if !reflect.DeepEqual(o, got[id(o)]) {
			a, _ := yaml.Marshal(o)
			b, _ := yaml.Marshal(got[id(o)])
			return fmt.Errorf("%s differs\nwanted:\n%s\ngot:\n%s", id(o), a, b)
		}
	}
	return nil
}

func id(o object) string { return fmt.Sprint(o["kind"], "/", name(o)) }

func name(o object) string { return fmt.Sprint(meta(o)["name"]) }

func meta(o object) object { m, _ := o["metadata"].(object); return m }

func labels(o object) object { l, _ := meta(o)["labels"].(object); return l }

// workloads gives the names of the workloads, sorted.
func workloads(objects []object) []string {
	var out []string
	for _, o := range objects {
		if o["kind"] == "Deployment" {
			out = append(out, name(o))
		}
	}
	slices.Sort(out)
	return out
}

// ofWorkload reports whether an object is one of a workload.
func ofWorkload(o object) (string, bool) {
	w, ok := labels(o)["towpath.dev/workload"].(string)
	return w, ok
}

func text(o object) string {
	b, err := yaml.Marshal(o)
	if err != nil {
		panic(err) // it came from YAML
	}
	return string(b)
}
