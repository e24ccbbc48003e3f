// Package helm renders Helm charts with Helm's own engine, without Helm's surroundings: no cluster, no repositories, no files, no
// network, no environment, and nothing random. The same chart and values give the same objects, always and everywhere.
//
// What charts cannot have here, because the result is a folder in Git that a sync engine applies: hooks (but those for tests, which
// are left out), custom resource definitions, and values made up while rendering. Each is an error that says what to do instead.
package helm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	loaded "helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// maxOutput is how much all templates of a chart may write together, in bytes.
const maxOutput = 8 << 20

// maxProblem is how long the text of an error may be: Helm repeats much of a chart in some.
const maxProblem = 1000

// Engine implements definition.Engine. It is safe for concurrent use.
type Engine struct{}

var _ definition.Engine = Engine{}

// Check loads the chart and parses its templates.
func (Engine) Check(files map[string][]byte) error {
	c, err := load(files)
	if err != nil {
		return err
	}
	return parse(c)
}

// Render makes the objects of a release of the chart.
func (Engine) Render(files map[string][]byte, in definition.EngineInput) (out definition.EngineOutput, err error) {
	c, err := load(files)
	if err != nil {
		return out, err
	}
	values, err := valuesOf(c, in)
	if err != nil {
		return out, err
	}
	e := engine.Engine{CustomTemplateFuncs: overridden()}
	texts, err := e.RenderWithContext(context.Background(), c, values)
	if err != nil {
		return out, problem("", err)
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if size += len(texts[name]); size > maxOutput {
			return out, fmt.Errorf("the templates write more than %d bytes", maxOutput)
		}
		if err := take(&out, name, texts[name]); err != nil {
			return out, err
		}
	}
	return out, nil
}

// load reads the chart, and refuses what it cannot have.
func load(files map[string][]byte) (*chart.Chart, error) {
	var list []*loaded.BufferedFile
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, &loaded.BufferedFile{Name: name, Data: bytes.TrimPrefix(files[name], []byte("\xef\xbb\xbf"))})
	}
	c, err := loader.LoadFiles(list)
	if err != nil {
		return nil, problem("it cannot be loaded as a chart: ", err)
	}
	settle(c)
	if c.Metadata.Type == "library" {
		return nil, fmt.Errorf("the chart %s is a library, which makes nothing by itself; upload a chart that uses it", c.Name())
	}
	if crds := c.CRDObjects(); len(crds) > 0 {
		return nil, fmt.Errorf("the chart has custom resource definitions (%s), which belong to the cluster and not to an environment: "+
			"install them once for the cluster, and remove the folder crds from the chart", crds[0].Filename)
	}
	there := map[string]bool{}
	for _, d := range c.Dependencies() {
		there[d.Name()] = true
	}
	for _, d := range c.Metadata.Dependencies {
		if d != nil && !there[d.Name] {
			return nil, fmt.Errorf("the subchart %s is not in the archive, and nothing is fetched from repositories: run `helm dependency build` before packing", d.Name)
		}
	}
	if v := c.Metadata.KubeVersion; v != "" && !chartutil.IsCompatibleRange(v, kubeVersion) {
		return nil, fmt.Errorf("the chart wants Kubernetes %s, and is rendered for %s; change kubeVersion in Chart.yaml", v, kubeVersion)
	}
	return c, nil
}

// settle puts subcharts in the order of their names, which the loader takes from a map, and leaves out the notes, which are text for
// a terminal.
func settle(c *chart.Chart) {
	c.Templates = slices.DeleteFunc(c.Templates, func(f *common.File) bool { return path.Base(f.Name) == "NOTES.txt" })
	subcharts := slices.Clone(c.Dependencies())
	slices.SortStableFunc(subcharts, func(a, b *chart.Chart) int { return strings.Compare(a.Name(), b.Name()) })
	for _, s := range subcharts {
		settle(s)
	}
	c.SetDependencies(subcharts...)
}

// valuesOf gives what templates see.
func valuesOf(c *chart.Chart, in definition.EngineInput) (common.Values, error) {
	given, _ := numbers(in.Values).(map[string]any)
	if err := chartutil.ProcessDependencies(c, given); err != nil {
		return nil, problem("its subcharts: ", err)
	}
	options := common.ReleaseOptions{Name: in.Name, Namespace: in.Namespace, Revision: 1, IsInstall: true}
	values, err := util.ToRenderValuesWithSchemaValidation(c, given, options, capabilities().Capabilities, true)
	if err != nil {
		return nil, problem("its values: ", err)
	}
	values["Capabilities"] = capabilities()
	plain, _ := values["Values"].(common.Values)
	if plain == nil {
		m, _ := values["Values"].(map[string]any)
		plain = m
	}
	return values, checkSchemas(c, plain)
}

// take reads the objects that a template wrote.
func take(out *definition.EngineOutput, name, text string) error {
	docs := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return problem(name+" writes something that is not YAML: ", err)
		}
		var o map[string]any
		if err := yaml.UnmarshalStrict(doc, &o); err != nil {
			return problem(name+" writes something that is not the YAML of an object: ", err)
		}
		if len(o) == 0 {
			continue
		}
		left, err := hook(o)
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		if left {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the test hook %s of the chart is left out", name))
			continue
		}
		out.Objects = append(out.Objects, o)
	}
}

const hookAnnotation = "helm.sh/hook"

// hook reports whether an object is a test, which is left out. Other hooks are an error: who applies the folder runs nothing before
// or after it.
func hook(o map[string]any) (left bool, err error) {
	meta, _ := o["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	events, _ := annotations[hookAnnotation].(string)
	if events == "" {
		return false, nil
	}
	for event := range strings.SplitSeq(events, ",") {
		switch strings.TrimSpace(event) {
		case "test", "test-success", "test-failure":
		default:
			return false, fmt.Errorf("makes the %v %v as the hook %s, which nothing runs here: turn it off by the chart's values, or make it a plain object", o["kind"], meta["name"], events)
		}
	}
	return true, nil
}

// problem makes one line of Helm's errors.
func problem(before string, err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxProblem {
		text = strings.ToValidUTF8(text[:maxProblem], "") + "…"
	}
	return errors.New(before + text)
}
