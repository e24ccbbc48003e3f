package document

import (
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/towpath-dev/towpath/internal/errs"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Defaults reads what an environment type adds to every workload. An empty file adds nothing.
func Defaults(text []byte) (*rendererv1.EnvironmentDefaults, error) {
	d := &rendererv1.EnvironmentDefaults{}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, notYAML(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(asJSON, &fields); err != nil {
		return nil, errs.InvalidField("file", "is not a map of defaults such as replicas and requests, as docs/workloads.md tells")
	}
	if err := fill(d, fields, ""); err != nil {
		return nil, err
	}
	return d, nil
}

// DefaultsText writes defaults as Defaults reads them, nothing for none.
func DefaultsText(d *rendererv1.EnvironmentDefaults) (string, error) {
	asJSON, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(d)
	if err != nil {
		return "", err
	}
	text, err := yaml.JSONToYAML(asJSON)
	if err != nil || strings.TrimSpace(string(text)) == "{}" {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}
