package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"helm.sh/helm/v4/pkg/chart/common"
	loaded "helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// kubeVersion is what charts are told of the cluster, as long as rendering is this version of itself. Helm asks the cluster, or takes
// the version of the client that it was built with; both would give other bytes without anybody having changed anything.
const kubeVersion = "v1.36.0"

// apiVersions are the API versions that charts are told to be there: those that every cluster of kubeVersion serves.
var apiVersions = strings.Fields(`v1 admissionregistration.k8s.io/v1 apiextensions.k8s.io/v1 apiregistration.k8s.io/v1 apps/v1
	authentication.k8s.io/v1 authorization.k8s.io/v1 autoscaling/v1 autoscaling/v2 batch/v1 certificates.k8s.io/v1
	coordination.k8s.io/v1 discovery.k8s.io/v1 events.k8s.io/v1 flowcontrol.apiserver.k8s.io/v1 networking.k8s.io/v1 node.k8s.io/v1
	policy/v1 rbac.authorization.k8s.io/v1 scheduling.k8s.io/v1 storage.k8s.io/v1`)

func init() {
	loaded.MaxDecompressedChartSize = 16 << 20 // of a subchart that is packed itself
}

// capability is .Capabilities. Printed as a whole it gives a text and not the addresses that are in it.
type capability struct{ *common.Capabilities }

// String is what a template gets that prints it.
func (capability) String() string { return "Kubernetes " + kubeVersion }

func capabilities() capability {
	c := common.DefaultCapabilities.Copy()
	if v, err := common.ParseKubeVersion(kubeVersion); err == nil {
		c.KubeVersion = *v
	}
	c.APIVersions = apiVersions
	c.HelmVersion.Version, c.HelmVersion.GoVersion, c.HelmVersion.KubeClientVersion = "v4.3.1", "", ""
	c.HelmVersion.GitCommit, c.HelmVersion.GitTreeState = "", ""
	return capability{c}
}

// overridden are the functions that charts know and that do something else here: most say why they cannot be.
func overridden() template.FuncMap {
	out := template.FuncMap(definition.StableFunctions())
	for name := range sprig.GenericFuncMap() {
		why := definition.WhyRefused(name)
		if why == "" {
			continue
		}
		out[name] = func(...any) (string, error) {
			return "", fmt.Errorf("the function %q %s, and rendering must give the same result always and everywhere: set the chart's values so that it is not called", name, why)
		}
	}
	return out
}

// parse looks at the syntax of the templates without running them.
func parse(c *chart.Chart) error {
	funcs := sprig.TxtFuncMap()
	for _, name := range strings.Fields(`toToml mustToToml fromToml toYaml mustToYaml toYamlPretty fromYaml fromYamlArray toJson mustToJson fromJson
		fromJsonArray mustToDuration durationSeconds durationMilliseconds durationMicroseconds durationNanoseconds durationMinutes
		durationHours durationDays durationWeeks durationRoundTo durationTruncateTo include tpl required lookup`) {
		funcs[name] = func(...any) string { return "" }
	}
	for _, f := range c.Templates {
		if _, err := template.New(f.Name).Funcs(funcs).Parse(string(f.Data)); err != nil {
			return problem("", err)
		}
	}
	for _, sub := range c.Dependencies() {
		if err := parse(sub); err != nil {
			return fmt.Errorf("subchart %s: %w", sub.Name(), err)
		}
	}
	return nil
}

// numbers turns whole numbers into what Helm makes of its flag --set: 1000000 must not become 1e+06 in a template.
func numbers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = numbers(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = numbers(x)
		}
		return out
	}
	return v
}

// offline refuses every schema that is not in the chart's own file: Helm's own check would load it from files and the network.
type offline struct{}

// Load implements jsonschema.URLLoader.
func (offline) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not in values.schema.json, and rendering reads nothing from elsewhere", url)
}

// checkSchemas checks values against the schemas of the chart and of its subcharts.
func checkSchemas(c *chart.Chart, values map[string]any) error {
	if len(c.Schema) > 0 {
		if err := checkSchema(c.Schema, values); err != nil {
			return problem("the values do not fit the chart "+c.Name()+": ", err)
		}
	}
	for _, sub := range c.Dependencies() {
		var under map[string]any
		switch v := values[sub.Name()].(type) {
		case nil:
			continue
		case map[string]any:
			under = v
		case common.Values:
			under = v
		default:
			return fmt.Errorf("the values of the subchart %s are no map", sub.Name())
		}
		if err := checkSchemas(sub, under); err != nil {
			return err
		}
	}
	return nil
}

func checkSchema(text []byte, values map[string]any) error {
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("values.schema.json is no JSON: %w", err)
	}
	const name = "towpath:///values.schema.json"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(offline{})
	if err := compiler.AddResource(name, schema); err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	// The validator knows the types that JSON is read into, and nothing else.
	plain, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("the values have no JSON form: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		return fmt.Errorf("the values have no JSON form: %w", err)
	}
	err = compiled.Validate(value)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		return errors.New(strings.TrimPrefix(strings.ReplaceAll(invalid.Error(), name, "values.schema.json"), "jsonschema validation failed with "))
	}
	return err
}
