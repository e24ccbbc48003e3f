package render_test

import (
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

func secretInput(t *testing.T, container string) *rendererv1.RenderInput {
	return &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", Namespace: "shop-dev", Variables: map[string]string{"HOST": "pay.example.com"},
		SecretVariables: map[string]*rendererv1.SecretReference{"API_KEY": {Name: "payments", Key: "api.key"}},
		Workloads: parse(t, `
apiVersion: score.dev/v1b1
metadata: {name: api}
containers:
  main:
    image: nginx:1
`+container+`
resources:
  env: {type: environment}
`),
	}
}

func TestASecretVariableNeverBecomesText(t *testing.T) {
	resp, err := render.Render(secretInput(t, `
    variables:
      KEY: ${resources.env.API_KEY}
      URL: https://x:${resources.env.API_KEY}@${resources.env.HOST}/$(HOME)
`))
	if err != nil {
		t.Fatal(err)
	}
	got := string(resp.GetBundle().GetFiles()["deployment-api.yaml"])
	for _, want := range []string{
		"- name: TOWPATH_SECRET_PAYMENTS_API_KEY\n          valueFrom:\n            secretKeyRef:\n              name: payments\n              key: api.key",
		"- name: KEY\n          valueFrom:\n            secretKeyRef:\n              name: payments\n              key: api.key",
		"value: https://x:$(TOWPATH_SECRET_PAYMENTS_API_KEY)@pay.example.com/$$(HOME)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the deployment lacks\n%s\n\n%s", want, got)
		}
	}
	for name, content := range resp.GetBundle().GetFiles() {
		if strings.Contains(string(content), "towpath-secret") {
			t.Errorf("%s holds the mark of a secret:\n%s", name, content)
		}
	}
}

func strategy(in *rendererv1.RenderInput, s rendererv1.SecretRules_Strategy) {
	in.Defaults = &rendererv1.EnvironmentDefaults{Secrets: &rendererv1.SecretRules{Strategy: s}}
}

func TestSecretVariablesThatCannotWorkAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		container string
		change    func(*rendererv1.RenderInput)
		reason    errorsv1.Reason
		says      string
	}{
		"inside of a file's text where Secrets are there already": {
			"    files: {/etc/key: {content: 'key=${resources.env.API_KEY}'}}", func(in *rendererv1.RenderInput) { strategy(in, rendererv1.SecretRules_STRATEGY_EXISTING) },
			errorsv1.Reason_REASON_PLAINTEXT_SECRET, "workloads.api containers.main.files./etc/key.content: has a secret inside of other text",
		},
		"plain and secret at once": {
			"", func(in *rendererv1.RenderInput) { in.Variables["API_KEY"] = "x" },
			errorsv1.Reason_REASON_INVALID_FIELD, `input.secret_variables["API_KEY"]`,
		},
		"a reference that breaks out of its mark": {
			"", func(in *rendererv1.RenderInput) { in.SecretVariables["API_KEY"].Name = "a/b)" },
			errorsv1.Reason_REASON_INVALID_FIELD, `input.secret_variables["API_KEY"]`,
		},
		"a key that nobody has set": {
			"    variables: {A: '${resources.env.API_KEYS}'}", func(*rendererv1.RenderInput) {},
			errorsv1.Reason_REASON_UNRESOLVED_PLACEHOLDER, `did you mean "API_KEY"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := secretInput(t, tc.container)
			tc.change(in)
			_, err := render.Render(in)
			if errs.ReasonOf(err) != tc.reason || !strings.Contains(errs.Message(err), tc.says) {
				t.Errorf("error = %v, want %s about %s", err, tc.reason, tc.says)
			}
		})
	}
}
