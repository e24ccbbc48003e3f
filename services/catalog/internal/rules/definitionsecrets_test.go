package rules_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestDefinitionsHoldNoSecrets(t *testing.T) {
	const (
		template = rendererv1.ResourceDefinition_DRIVER_TEMPLATE
		static   = rendererv1.ResourceDefinition_DRIVER_STATIC
		claim    = rendererv1.ResourceDefinition_DRIVER_CLAIM
	)
	for name, tc := range map[string]struct {
		driver rendererv1.ResourceDefinition_Driver
		inputs map[string]any
		field  string
	}{
		"a Secret with a value":           {template, map[string]any{"manifests": "- kind: Secret\n  stringData:\n    password: planted\n"}, "f.inputs.manifests"},
		"a generated Secret":              {template, map[string]any{"manifests": "- kind: Secret\n  metadata:\n    annotations:\n      towpath.dev/generate: password:32\n", "outputs": "password: {{ encodeSecretRef .Name \"password\" }}"}, ""},
		"an output that is a password":    {static, map[string]any{"outputs": map[string]any{"password": "planted"}}, "f.inputs.outputs"},
		"a reference to a Secret":         {static, map[string]any{"secrets": map[string]any{"password": map[string]any{"name": "pg", "key": "password"}}}, ""},
		"a claim that names keys":         {claim, map[string]any{"manifest": "kind: Database\n", "outputs": map[string]any{"password": map[string]any{"secret_key": "password"}}}, ""},
		"a claim with a token":            {claim, map[string]any{"manifest": "spec:\n  token: planted\n"}, "f.inputs.manifest"},
		"values with a password":          {template, map[string]any{"values": map[string]any{"auth": map[string]any{"password": "planted"}}}, "f.inputs.values"},
		"values with a template's action": {template, map[string]any{"values": map[string]any{"auth": map[string]any{"password": "{{ .Params.x }}"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inputs, err := structpb.NewStruct(tc.inputs)
			if err != nil {
				t.Fatal(err)
			}
			err = rules.CheckDefinitionSecrets("f", &rendererv1.ResourceDefinition{Driver: tc.driver, Inputs: inputs})
			if tc.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if errs.ReasonOf(err) != errorsv1.Reason_REASON_PLAINTEXT_SECRET || !strings.Contains(errs.Message(err), tc.field) || strings.Contains(errs.Message(err), "planted") {
				t.Errorf("error = %v, want one at %s", err, tc.field)
			}
		})
	}
}
