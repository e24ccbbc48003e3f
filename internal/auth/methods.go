package auth

import (
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// methods says which role each RPC needs. An RPC that is not here is refused to everybody; a test walks all registered
// services, so that one cannot be forgotten.
var methods = map[string]map[string]Role{
	"towpath.catalog.v1.CatalogService": {
		"GetApplication": Viewer, "ListApplications": Viewer,
		"CreateApplication": Developer, "UpdateApplication": Developer, "DeleteApplication": Developer,
		"GetEnvironmentType": Viewer, "ListEnvironmentTypes": Viewer,
		"CreateEnvironmentType": Admin, "UpdateEnvironmentType": Admin, "DeleteEnvironmentType": Admin,
		"GetTarget": Viewer, "ListTargets": Viewer,
		"CreateTarget": Admin, "UpdateTarget": Admin, "DeleteTarget": Admin,
		"GetRepository": Viewer, "ListRepositories": Viewer,
		"CreateRepository": Admin, "UpdateRepository": Admin, "DeleteRepository": Admin,
		"GetEnvironment": Viewer, "ListEnvironments": Viewer,
		"CreateEnvironment": Developer, "UpdateEnvironment": Developer, "DeleteEnvironment": Developer,
		"GetSet": Viewer, "PlanDeployment": Viewer, "GetDeployment": Viewer, "ListDeployments": Viewer, "WatchDeployment": Viewer,
		"CreateDeployment": Developer, "Rollback": Developer, "Promote": Developer, "SetImage": Developer, "ScaleWorkload": Developer,
		"ApproveDeployment": Developer, "RejectDeployment": Developer, "CancelDeployment": Developer, "RetryDeployment": Developer,
		"CommentDeployment": Developer, "LockEnvironment": Developer, "UnlockEnvironment": Developer, "ExtendEnvironment": Developer,
		"GetDeliveryMetrics": Viewer, "WatchApplications": Viewer, "WatchEnvironmentTypes": Viewer, "WatchTargets": Viewer,
		"WatchRepositories": Viewer, "WatchEnvironments": Viewer, "WatchDeployments": Viewer,
	},
	"towpath.catalog.v1.DraftService": {
		"GetDraft": Viewer, "ListDrafts": Viewer, "WatchDrafts": Viewer, "DiffSets": Viewer,
		"CreateDraft": Developer, "UpdateDraft": Developer, "DeleteDraft": Developer, "RebaseDraft": Developer, "DeployDraft": Developer,
	},
	"towpath.catalog.v1.VariableService": {
		"GetVariable": Viewer, "ListVariables": Viewer, "ListVariableVersions": Viewer, "FindVariableUses": Viewer, "WatchVariables": Viewer,
		"SetVariable": Developer, "DeleteVariable": Developer, "RestoreVariable": Developer,
	},
	"towpath.catalog.v1.DefinitionService": {
		"GetResourceDefinition": Viewer, "ListResourceDefinitions": Viewer, "WatchResourceDefinitions": Viewer,
		"GetDefinitionVersion": Viewer, "ListDefinitionVersions": Viewer, "PlanDefinition": Viewer, "ExplainMatch": Viewer,
		"ListResourceOutputs": Viewer, "CreateResourceDefinition": Admin, "UpdateResourceDefinition": Admin,
		"DeleteResourceDefinition": Admin, "CreateDefinitionVersion": Admin, "ActivateDefinition": Admin, "ArchiveDefinition": Admin,
	},
	"towpath.catalog.v1.AccessService": {
		"WhoAmI": Viewer, "CreateToken": Admin, "ListTokens": Admin, "DeleteToken": Admin,
		"CreateRoleBinding": Admin, "GetRoleBinding": Admin, "ListRoleBindings": Admin, "UpdateRoleBinding": Admin, "DeleteRoleBinding": Admin,
		"CreatePolicy": Admin, "GetPolicy": Admin, "ListPolicies": Admin, "UpdatePolicy": Admin, "DeletePolicy": Admin,
		"CheckAccess": Viewer, "ListAuditEvents": Admin, "GetAuditEvent": Admin, "WatchAuditEvents": Admin, "Backup": Admin, "Restore": Admin,
	},
	"towpath.events.v1.EventService":        {"WatchEvents": Viewer},
	"towpath.renderer.v1.RendererService":   {"LoadWorkloads": Viewer, "Render": Viewer, "ExplainMatch": Viewer, "CheckDefinition": Viewer, "CheckGuardrails": Viewer},
	"towpath.committer.v1.CommitterService": {"GetHead": Viewer, "GetTree": Viewer, "ListCommits": Viewer},
	"towpath.drift.v1.DriftService": {
		"GetEnvironmentStatus": Viewer, "ListFindings": Viewer, "GetFinding": Viewer, "WatchFindings": Viewer,
		"RevertFindings": Developer, "SyncEnvironment": Developer,
	},
}

// Public reports whether anybody may call the method without saying who it is: health and reflection, which tell nothing
// that the public API description does not.
func Public(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.v1.") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// MethodRole gives the role that a method needs, as in "/towpath.catalog.v1.CatalogService/GetApplication".
func MethodRole(fullMethod string) (Role, bool) {
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	r, ok := methods[service][method]
	return r, ok
}

// Authorise decides whether the caller may call the method.
func Authorise(c Caller, fullMethod string) error {
	if Public(fullMethod) {
		return nil
	}
	need, ok := MethodRole(fullMethod)
	if !ok {
		return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED, "%s has no access rule", fullMethod).With("action", fullMethod)
	}
	return Require(c, need, fullMethod[strings.LastIndexByte(fullMethod, '/')+1:])
}
