package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/towpath-dev/towpath/internal/auth/policy"
)

// internalServices are those that tow does not call, and why.
var internalServices = map[protoreflect.FullName]string{
	"towpath.renderer.v1.RendererService":   "tow renders without a server, with the renderer's own packages: tow render, explain, graph, guardrail, init",
	"towpath.committer.v1.CommitterService": "the catalog's GitService is its public face: tow git, repo doctor, repo health",
	"towpath.drift.v1.InspectService":       "the catalog asks it while it plans an adoption: tow adopt --plan",
}

// capabilities has for each method of the API a command line that uses it. FILE stands for a Score file, DEFINITION, GUARDRAIL
// and CEDAR for files of their kinds, OUT for a file that is not there yet, BACKUP for a backup.
var capabilities = map[string]string{
	"CatalogService.CreateApplication": "app create shop", "CatalogService.GetApplication": "app get shop", "CatalogService.ListApplications": "app list",
	"CatalogService.UpdateApplication": "app update shop --owner x", "CatalogService.DeleteApplication": "app delete shop --yes",
	"CatalogService.WatchApplications":     "app list --watch",
	"CatalogService.CreateEnvironmentType": "type create development", "CatalogService.GetEnvironmentType": "type get development",
	"CatalogService.ListEnvironmentTypes": "type list", "CatalogService.UpdateEnvironmentType": "type update development --display-name x",
	"CatalogService.DeleteEnvironmentType": "type delete development --yes", "CatalogService.WatchEnvironmentTypes": "type list --watch",
	"CatalogService.CreateTarget": "target create eu", "CatalogService.GetTarget": "target get eu", "CatalogService.ListTargets": "target list",
	"CatalogService.UpdateTarget": "target update eu --display-name x", "CatalogService.DeleteTarget": "target delete eu --yes",
	"CatalogService.WatchTargets":     "target list --watch",
	"CatalogService.CreateRepository": "repo create main --url https://git.test/a.git", "CatalogService.GetRepository": "repo get main",
	"CatalogService.ListRepositories": "repo list", "CatalogService.UpdateRepository": "repo update main --display-name x",
	"CatalogService.DeleteRepository": "repo delete main --yes", "CatalogService.WatchRepositories": "repo list --watch",
	"CatalogService.CreateEnvironment": "env create shop/dev --type development", "CatalogService.GetEnvironment": "env get shop/dev",
	"CatalogService.ListEnvironments": "env list shop", "CatalogService.UpdateEnvironment": "env update shop/dev --display-name x",
	"CatalogService.DeleteEnvironment": "env delete shop/dev --yes", "CatalogService.WatchEnvironments": "env list --watch",
	"CatalogService.GetSet": "diff shop/dev shop/prod --full", "CatalogService.CreateDeployment": "deploy -f FILE -e shop/dev",
	"CatalogService.PlanDeployment": "plan -f FILE -e shop/dev", "CatalogService.Rollback": "rollback -e shop/dev --to 2 --yes",
	"CatalogService.Promote": "promote shop/dev shop/prod", "CatalogService.SetImage": "set-image api nginx:1 -e shop/dev",
	"CatalogService.ScaleWorkload": "scale api 2 -e shop/dev", "CatalogService.ApproveDeployment": "approve -e shop/dev 4 --plan-hash plan_hash --yes",
	"CatalogService.RejectDeployment": "reject -e shop/dev 4 -m no", "CatalogService.CancelDeployment": "cancel -e shop/dev 4",
	"CatalogService.RetryDeployment": "retry -e shop/dev 4", "CatalogService.CommentDeployment": "comment -e shop/dev 4 well",
	"CatalogService.LockEnvironment": "lock -e shop/dev -m x", "CatalogService.UnlockEnvironment": "unlock -e shop/dev",
	"CatalogService.ExtendEnvironment": "env extend shop/dev --ttl 4h", "CatalogService.GetDeliveryMetrics": "metrics -e shop/dev",
	"CatalogService.GetDeployment": "history -e shop/dev 4", "CatalogService.ListDeployments": "history -e shop/dev",
	"CatalogService.WatchDeployment": "wait -e shop/dev 4", "CatalogService.WatchDeployments": "history -e shop/dev --watch",

	"DraftService.CreateDraft": "draft create shop/next", "DraftService.GetDraft": "draft get shop/next", "DraftService.ListDrafts": "draft list shop",
	"DraftService.UpdateDraft": "draft edit shop/next --display-name x", "DraftService.DeleteDraft": "draft delete shop/next --yes",
	"DraftService.WatchDrafts": "draft list --watch", "DraftService.RebaseDraft": "draft rebase shop/next", "DraftService.DeployDraft": "draft deploy shop/next",
	"DraftService.DiffSets": "draft get shop/next",

	"ManifestService.ExplainEnvironment": "explain -e shop/dev Deployment/api", "ManifestService.GetResourceGraph": "graph -e shop/dev",
	"ManifestService.DiffManifests": "diff -e shop/dev --manifests 1 2",

	"GitService.ListCommits": "git log shop/dev", "GitService.GetCommit": "git show shop/dev 0123456789abcdef0123456789abcdef01234567", "GitService.GetTree": "git ls shop/dev",
	"GitService.GetFile": "git cat shop/dev a.yaml", "GitService.CompareCommits": "git diff shop/dev 0123456789abcdef0123456789abcdef01234567",
	"GitService.GetRepositoryHealth": "repo health main", "GitService.DiagnoseRepository": "repo doctor main",
	"GitService.MoveEnvironment": "env move shop/dev --yes", "GitService.GetForeignChange": "foreign show shop/dev",
	"GitService.ResolveForeignChange": "foreign restore shop/dev",

	"VariableService.GetVariable": "var get LOG_LEVEL -e shop/dev", "VariableService.ListVariables": "var list -e shop/dev",
	"VariableService.SetVariable": "var set LOG_LEVEL=debug -a shop", "VariableService.DeleteVariable": "var delete LOG_LEVEL -a shop --yes",
	"VariableService.RestoreVariable": "var restore LOG_LEVEL --version 1 -a shop", "VariableService.ListVariableVersions": "var versions LOG_LEVEL -a shop",
	"VariableService.FindVariableUses": "var uses LOG_LEVEL -a shop", "VariableService.WatchVariables": "var list -e shop/dev --watch",

	"FindingService.ListFindingRecords": "drift history -e shop/dev", "FindingService.GetFindingRecord": "drift show 0123456789abcdef-1 -e shop/dev",
	"FindingService.AcceptFindings": "drift accept abc -e shop/dev", "FindingService.IgnoreFindings": "drift ignore abc -e shop/dev -m x",
	"FindingService.ListIgnoreRules": "drift rules -e shop/dev", "FindingService.DeleteIgnoreRule": "drift rules -e shop/dev --delete 1",

	"AdoptionService.PlanAdoption":    "adopt -e shop/dev --type development --from-namespace shop --plan",
	"AdoptionService.Adopt":           "adopt -e shop/dev --type development --from-namespace shop --yes",
	"AdoptionService.ConfirmAdoption": "adopt -e shop/dev --confirm --yes",

	"DefinitionService.CreateResourceDefinition": "definition create pg", "DefinitionService.GetResourceDefinition": "definition get pg",
	"DefinitionService.ListResourceDefinitions": "definition list", "DefinitionService.UpdateResourceDefinition": "definition update pg --description x",
	"DefinitionService.DeleteResourceDefinition": "definition delete pg --yes", "DefinitionService.WatchResourceDefinitions": "definition list --watch",
	"DefinitionService.CreateDefinitionVersion": "definition propose pg -f DEFINITION", "DefinitionService.GetDefinitionVersion": "definition versions pg 1",
	"DefinitionService.ListDefinitionVersions": "definition versions pg", "DefinitionService.PlanDefinition": "definition plan pg 1",
	"DefinitionService.ActivateDefinition": "definition activate pg 1", "DefinitionService.ArchiveDefinition": "definition archive pg 1",
	"DefinitionService.ExplainMatch": "definition explain -e shop/dev postgres", "DefinitionService.ListResourceOutputs": "outputs -e shop/dev",

	"AccessService.WhoAmI": "whoami", "AccessService.CreateToken": "token create ci --role viewer", "AccessService.ListTokens": "token list",
	"AccessService.DeleteToken": "token delete ci --yes", "AccessService.CreateRoleBinding": "role-binding create x --role viewer --member users/a",
	"AccessService.GetRoleBinding": "role-binding get x", "AccessService.ListRoleBindings": "role-binding list",
	"AccessService.UpdateRoleBinding": "role-binding update x --description y", "AccessService.DeleteRoleBinding": "role-binding delete x --yes",
	"AccessService.CreatePolicy": "policy create x --file CEDAR", "AccessService.GetPolicy": "policy get x", "AccessService.ListPolicies": "policy list",
	"AccessService.UpdatePolicy": "policy update x --description y", "AccessService.DeletePolicy": "policy delete x --yes",
	"AccessService.CheckAccess": "auth can-i deploy shop/dev", "AccessService.ListAllowedActions": "auth can-i --list shop/dev",
	"AccessService.ListAuditEvents": "audit list --limit 1", "AccessService.GetAuditEvent": "audit show 1", "AccessService.WatchAuditEvents": "audit watch",
	"AccessService.Backup": "backup -o OUT", "AccessService.Restore": "restore -i BACKUP --yes",

	"EventService.WatchEvents": "events --follow",

	"DriftService.GetEnvironmentStatus": "status -e shop/dev", "DriftService.ListFindings": "drift list -e shop/dev",
	"DriftService.GetFinding": "drift show abc -e shop/dev", "DriftService.WatchFindings": "drift watch -e shop/dev",
	"DriftService.RevertFindings": "drift revert -e shop/dev --yes", "DriftService.SyncEnvironment": "sync -e shop/dev", "DriftService.GetTargetStatus": "target status eu",

	"LiveService.GetLiveObject": "get -e shop/dev deployment/api", "LiveService.GetObjectTree": "get -e shop/dev",
	"LiveService.ListObjectEvents": "get -e shop/dev deployment/api --events", "LiveService.StreamLogs": "logs -e shop/dev -w api",
}

// apiMethods are all methods of the public services, as Service.Method by full name.
func apiMethods(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, service := range policy.Services {
		if internalServices[service] != "" {
			continue
		}
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			full := string(methods.Get(i).FullName())
			out[full] = string(service.Name()) + "." + string(methods.Get(i).Name())
		}
	}
	return out
}

// Whatever the API can do, tow can do: each method is called by a command, which is run here. A method that is added to the API
// needs a command, and a line in capabilities.
func TestEveryMethodHasACommand(t *testing.T) {
	a := startAnything(t)
	words := sampleFiles(t)
	methods := apiMethods(t)
	if len(methods) < 100 {
		t.Fatalf("the API has %d methods only", len(methods))
	}
	for full, short := range methods {
		t.Run(short, func(t *testing.T) {
			line := capabilities[short]
			if line == "" {
				t.Fatalf("no command uses %s: give it one, and a line in capabilities", full)
			}
			a.reset()
			r := runAnything(t, a, fillWords(line, words))
			if !slices.Contains(a.called(), full) {
				t.Errorf("`tow %s` calls %v and not %s; it ends with %d and says:\n%s", line, a.called(), full, r.code, r.stderr)
			}
		})
	}
	for short := range capabilities {
		if !slices.Contains(mapValues(methods), short) {
			t.Errorf("capabilities names %s, which the API does not have", short)
		}
	}
	for service, why := range internalServices {
		if !slices.Contains(policy.Services, service) || why == "" {
			t.Errorf("%s is no service, or nothing says why tow does not call it", service)
		}
	}
}

func mapValues(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// runAnything runs a command against the server that has everything.
func runAnything(t *testing.T, a *anything, args []string, opts ...option) result {
	t.Helper()
	return run(t, nil, args, append([]option{setenv("TOW_SERVER", a.addr), setenv("TOW_RETRY", "0s")}, opts...)...)
}

// sampleFiles writes the files that command lines of tests name.
func sampleFiles(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	words := map[string]string{"OUT": filepath.Join(dir, "out"), "DIR": dir}
	for word, text := range map[string]string{
		"FILE":       "apiVersion: score.dev/v1b1\nmetadata:\n  name: api\ncontainers:\n  main:\n    image: nginx:1\n",
		"DEFINITION": "type: postgres\ndriver: static\ninputs:\n  outputs:\n    host: a\n",
		"CEDAR":      "forbid (principal, action, resource);",
		"BACKUP":     "backup",
	} {
		words[word] = filepath.Join(dir, strings.ToLower(word)+".yaml")
		if err := os.WriteFile(words[word], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return words
}

// fillWords splits a command line and puts files in.
func fillWords(line string, words map[string]string) []string {
	args := strings.Fields(line)
	for i, a := range args {
		if file := words[a]; file != "" {
			args[i] = file
		}
	}
	return args
}
