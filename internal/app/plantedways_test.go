package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
)

// mistakes are the ways in which people write secrets down.
func (p *planting) mistakes() []mistake {
	const url = "/workloads/api/containers/main/variables/"
	return []mistake{
		{"a variable of the environment", true, func(ctx context.Context, v string) error { return p.set(ctx, p.env+"/variables/DB_PASSWORD", v) }},
		{"a variable of the application", false, func(ctx context.Context, v string) error {
			return p.set(ctx, "applications/planted/variables/CONFIG", v)
		}},
		{"a change's variable", true, func(ctx context.Context, v string) error {
			return p.change(ctx, &catalogv1.Change{Variables: map[string]string{"API_TOKEN": v}})
		}},
		{"a Score file's variable", true, func(ctx context.Context, v string) error {
			return p.change(ctx, apptest.Scores(apptest.Score("web", map[string]string{"SECRET_KEY": v})))
		}},
		{"a Score file's argument", false, func(ctx context.Context, v string) error {
			return p.score(ctx, fmt.Sprintf("    args: [--token, %q]", v))
		}},
		{"a Score file's file", false, func(ctx context.Context, v string) error {
			return p.score(ctx, fmt.Sprintf("    files: {/etc/key: {content: %q}}", v))
		}},
		{"a Score file's annotation", false, func(ctx context.Context, v string) error {
			return p.change(ctx, apptest.Scores(fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: web, annotations: {example.com/note: %q}}\ncontainers: {main: {image: 'x:1'}}", v)))
		}},
		{"a resource's parameter", true, func(ctx context.Context, v string) error {
			return p.change(ctx, apptest.Scores(fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: web}\ncontainers: {main: {image: 'x:1'}}\nresources: {db: {type: postgres, params: {password: %q}}}", v)))
		}},
		{"a property of a Score file", false, func(ctx context.Context, v string) error {
			c := apptest.Scores(apptest.Score("web", nil))
			c.Scores[0].Properties = []string{"containers.main.variables.CONFIG=" + fmt.Sprintf("%q", v)}
			return p.change(ctx, c)
		}},
		{"an override of a Score file", false, func(ctx context.Context, v string) error {
			c := apptest.Scores(apptest.Score("web", nil))
			c.Scores[0].Overrides = fmt.Appendf(nil, "containers: {main: {variables: {CONFIG: %q}}}", v)
			return p.change(ctx, c)
		}},
		{"a Score file that cannot be read", false, func(ctx context.Context, v string) error {
			return p.change(ctx, apptest.Scores(fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: web}\ncontainers: {main: {image: 'x:1', variables: {PASSWORD: [%q]}, nope: 1", v)))
		}},
		{"a Score file with a secret of the wrong type", true, func(ctx context.Context, v string) error {
			return p.change(ctx, apptest.Scores(fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: web}\ncontainers: {main: {image: 'x:1', variables: {PASSWORD: [%q]}}}", v)))
		}},
		{"an operation on the set", true, func(ctx context.Context, v string) error {
			return p.change(ctx, &catalogv1.Change{SetOperations: set(url+"DB_PASSWORD", v)})
		}},
		{"an operation on the overlay", false, func(ctx context.Context, v string) error {
			return p.change(ctx, &catalogv1.Change{OverlayOperations: set(url+"CONFIG", v)})
		}},
		{"a draft", false, func(ctx context.Context, v string) error {
			_, err := p.drafts.CreateDraft(ctx, &catalogv1.CreateDraftRequest{Parent: "applications/planted", DraftId: "d-" + strings.ToLower(p.random(8, uppers)),
				Draft: &catalogv1.Draft{Operations: set(url+"CONFIG", v)}})
			return err
		}},
		{"a plan", true, func(ctx context.Context, v string) error {
			_, err := p.Catalog.PlanDeployment(ctx, &catalogv1.PlanDeploymentRequest{Parent: p.env, Change: &catalogv1.Change{Variables: map[string]string{"DB_PASSWORD": v}}})
			return err
		}},
		{"a value as ciphertext", true, func(ctx context.Context, v string) error {
			return p.reference(ctx, &rendererv1.SecretReference{Name: "payments", Key: "key", Sealed: v})
		}},
		{"a value as place in a store", false, func(ctx context.Context, v string) error {
			return p.reference(ctx, &rendererv1.SecretReference{Name: "payments", Key: "key", Remote: &rendererv1.RemoteKey{Key: v}})
		}},
		{"a Secret of a definition", true, func(ctx context.Context, v string) error {
			return p.definition(ctx, rendererv1.ResourceDefinition_DRIVER_TEMPLATE, map[string]any{
				"manifests": "- apiVersion: v1\n  kind: Secret\n  metadata: {name: leak}\n  stringData:\n    password: '" + strings.ReplaceAll(v, "'", "''") + "'\n",
			})
		}},
		{"a ConfigMap of a definition", false, func(ctx context.Context, v string) error {
			return p.definition(ctx, rendererv1.ResourceDefinition_DRIVER_TEMPLATE, map[string]any{
				"manifests": "- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: leak}\n  data: {config: " + fmt.Sprintf("%q", v) + "}\n",
			})
		}},
		{"an output of a definition", true, func(ctx context.Context, v string) error {
			return p.definition(ctx, rendererv1.ResourceDefinition_DRIVER_STATIC, map[string]any{"outputs": map[string]any{"host": "db", "password": v}})
		}},
		{"the address of a repository", true, func(ctx context.Context, v string) error {
			_, err := p.Catalog.CreateRepository(ctx, &catalogv1.CreateRepositoryRequest{RepositoryId: "r" + strings.ToLower(p.random(8, uppers)),
				Repository: &catalogv1.Repository{Url: "https://ci:" + strings.Map(inAddress, v) + "@git.example.com/x.git"}})
			return err
		}},
		{"a token that is none", false, func(_ context.Context, v string) error { return p.unauthenticated(v) }},
	}
}

// inAddress leaves out what an address cannot hold; what is searched for is then the whole, so that the mistake is milder than it is.
func inAddress(r rune) rune {
	if strings.ContainsRune(letters, r) {
		return r
	}
	return '-'
}

func set(path, v string) []*rendererv1.Operation {
	return []*rendererv1.Operation{{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: text(v)}}
}

func (p *planting) set(ctx context.Context, name, v string) error {
	_, err := p.vars.SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: name, Value: v}})
	return err
}

func (p *planting) reference(ctx context.Context, ref *rendererv1.SecretReference) error {
	_, err := p.vars.SetVariable(ctx, &catalogv1.SetVariableRequest{Variable: &catalogv1.Variable{Name: "applications/planted/variables/REF", Secret: ref}})
	return err
}

func (p *planting) change(ctx context.Context, c *catalogv1.Change) error {
	_, err := p.Catalog.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: p.env, Change: c})
	return err
}

func (p *planting) score(ctx context.Context, container string) error {
	return p.change(ctx, apptest.Scores("apiVersion: score.dev/v1b1\nmetadata: {name: web}\ncontainers:\n  main:\n    image: x:1\n"+container+"\n"))
}

func (p *planting) definition(ctx context.Context, driver rendererv1.ResourceDefinition_Driver, inputs map[string]any) error {
	id := "leak-" + strings.ToLower(p.random(8, uppers))
	if _, err := p.defs.CreateResourceDefinition(ctx, &catalogv1.CreateResourceDefinitionRequest{ResourceDefinitionId: id, ResourceDefinition: &catalogv1.ResourceDefinition{}}); err != nil {
		p.t.Fatal(err)
	}
	in, err := structpb.NewStruct(inputs)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = p.defs.CreateDefinitionVersion(ctx, &catalogv1.CreateDefinitionVersionRequest{Parent: "resourceDefinitions/" + id,
		DefinitionVersion: &catalogv1.DefinitionVersion{Content: &rendererv1.ResourceDefinition{Type: "leak", Driver: driver, Inputs: in}}})
	return err
}

// unauthenticated asks with a wrong token, over REST and over gRPC, and gives the error.
func (p *planting) unauthenticated(v string) error {
	token := strings.Map(inAddress, v)
	p.search.plant("a token that is none", token)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.HTTP+"/v1/applications", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
	conn, err := apptest.DialAs(p.GRPC, token)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = catalogv1.NewCatalogServiceClient(conn).ListApplications(p.t.Context(), &catalogv1.ListApplicationsRequest{})
	if resp.StatusCode != http.StatusUnauthorized || status.Code(err) != codes.Unauthenticated {
		return nil
	}
	return err
}
