package document_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/document"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func TestDefinitionFiles(t *testing.T) {
	d, err := document.Definition([]byte("type: postgres\nclass: large\ndriver: template\ncriteria: [{env_type: production, app: shop}]\ninputs: {outputs: 'host: x'}"))
	if err != nil {
		t.Fatal(err)
	}
	if d.GetDriver() != rendererv1.ResourceDefinition_DRIVER_TEMPLATE || d.GetClass() != "large" || d.GetCriteria()[0].GetEnvType() != "production" ||
		d.GetInputs().GetFields()["outputs"].GetStringValue() != "host: x" {
		t.Error(prototext.Format(d))
	}
	if d, err := document.Definition([]byte("type: aa\ndriver: DRIVER_STATIC")); err != nil || d.GetDriver() != rendererv1.ResourceDefinition_DRIVER_STATIC {
		t.Errorf("%v %v", d, err)
	}
	for text, want := range map[string]string{
		"":                              "file: is not a map",
		"- a":                           "file: is not a map",
		"a: {":                          "file: is not YAML",
		"type: a\ntype: b":              "file: is not YAML",
		"name: x":                       "name: is not part of the file",
		"typ: postgres":                 "typ: is not known; there are type, class, driver, inputs, criteria",
		"type: 1":                       "type: is not what belongs here",
		"driver: terraform":             "driver: is not one of template, static, claim",
		"driver: [x]":                   "driver: is not one of",
		"inputs: x":                     "inputs: is not what belongs here",
		"criteria: [{envtype: x}]":      "criteria: is not what belongs here",
		"type: aa\ncriteria: {app: xx}": "criteria: is not what belongs here",
	} {
		_, err := document.Definition([]byte(text))
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want …%s…, got %v", text, want, err)
		}
	}
}

func TestGuardrailFiles(t *testing.T) {
	got, err := document.Guardrails([]byte("- {name: tag, expression: 'true', message: m, enforcement: warn, kinds: [Deployment]}\n- {name: other, expression: 'true', enforcement: ENFORCEMENT_DENY}\n"))
	if err != nil || len(got) != 2 || got[0].GetEnforcement() != rendererv1.Guardrail_ENFORCEMENT_WARN || got[0].GetKinds()[0] != "Deployment" ||
		got[1].GetEnforcement() != rendererv1.Guardrail_ENFORCEMENT_DENY {
		t.Errorf("%v %v", got, err)
	}
	if got, err := document.Guardrails([]byte(" \n")); err != nil || got != nil {
		t.Errorf("an empty file: %v %v", got, err)
	}
	for text, want := range map[string]string{
		"a: b":                         "guardrails: is not a list",
		"- {name: a, enforcement: no}": "guardrails[0].enforcement: is not one of deny, warn",
		"- {nam: a}":                   "guardrails[0].nam: is not known; there are expression, message, enforcement, kinds, message_expression, conditions, variables",
	} {
		if _, err := document.Guardrails([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want …%s…, got %v", text, want, err)
		}
	}
}

func FuzzDefinition(f *testing.F) {
	f.Add([]byte("type: a\ndriver: template\ninputs: {x: [1, {y: null}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := document.Definition(text); err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%v", err)
		}
		if _, err := document.Guardrails(text); err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%v", err)
		}
	})
}
