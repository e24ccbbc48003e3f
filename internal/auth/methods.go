package auth

import (
	"strings"
)

// Action is what an RPC does, as Cedar policies name it.
type Action string

// The actions. builtin.cedar of package policy says which role includes which; docs/access.md has them as a table.
const (
	// Read applications, environments and what belongs to them.
	Read Action = "read"
	// ReadShared reads what all applications share: environment types, targets, repositories, definitions, sets by their digest.
	ReadShared Action = "readShared"
	// ReadGit reads commits and trees of deployment repositories, whose paths are of all applications.
	ReadGit Action = "readGit"
	// PushGit pushes to a repository that towpathd keeps.
	PushGit Action = "pushGit"
	// RenderInput uses the renderer, which keeps nothing and reads nothing.
	RenderInput Action = "render"
	// Plan computes what a change would do.
	Plan Action = "plan"
	// WhoAmI asks about oneself.
	WhoAmI Action = "whoAmI"

	Deploy   Action = "deploy"
	Rollback Action = "rollback"
	Promote  Action = "promote"
	Approve  Action = "approve"
	Cancel   Action = "cancel"
	Comment  Action = "comment"
	Lock     Action = "lock"
	Unlock   Action = "unlock"
	Sync     Action = "sync"
	Revert   Action = "revert"
	// ReadLogs reads what containers write, which may be anything.
	ReadLogs Action = "readLogs"
	// Adopt takes over what runs in a cluster, which makes applications and environments and reads a whole namespace.
	Adopt             Action = "adopt"
	CreateEnvironment Action = "createEnvironment"
	UpdateEnvironment Action = "updateEnvironment"
	ExtendEnvironment Action = "extendEnvironment"
	DeleteEnvironment Action = "deleteEnvironment"

	ManageApplications     Action = "manageApplications"
	ManageDrafts           Action = "manageDrafts"
	ManageVariables        Action = "manageVariables"
	ManageEnvironmentTypes Action = "manageEnvironmentTypes"
	ManageTargets          Action = "manageTargets"
	ManageRepositories     Action = "manageRepositories"
	ManageDefinitions      Action = "manageDefinitions"
	// ManageAccess keeps and reads tokens, role bindings and policies.
	ManageAccess Action = "manageAccess"
	ReadAudit    Action = "readAudit"
	Backup       Action = "backup"
	Restore      Action = "restore"
)

// Rule says what an RPC does to what.
type Rule struct {
	// Action is what it does.
	Action Action
	// On tells where the resource is named in the request.
	On Place
	// Also are further things that the same call does, when the request asks for them.
	Also []Check
	// Rows is the response's field of rows of several applications: those that the caller may not read are left out, and the
	// call itself needs no more than some role somewhere.
	Rows string
}

// Check is one more thing that must be allowed.
type Check struct {
	Action Action
	On     Place
}

func on(a Action, p Place) Rule           { return Rule{Action: a, On: p} }
func (r Rule) and(a Action, p Place) Rule { r.Also = append(r.Also, Check{a, p}); return r }
func (r Rule) rows(field string) Rule     { r.Rows = field; return r }

// readsGit is for what reads an environment's folders, or all of a repository.
var readsGit = on(Read, named("parent")).and(ReadGit, allOf("repositories", "parent"))

// methods says what each RPC does. An RPC that is not here is refused to everybody; a test walks all registered services, so that
// one cannot be forgotten.
var methods = map[string]map[string]Rule{
	"towpath.catalog.v1.CatalogService": {
		"GetApplication":     on(Read, named("name")),
		"ListApplications":   on(Read, everything).rows("applications"),
		"WatchApplications":  on(Read, everything).rows("application"),
		"CreateApplication":  on(ManageApplications, child("applications/", "application_id")),
		"UpdateApplication":  on(ManageApplications, named("application.name")),
		"DeleteApplication":  on(ManageApplications, named("name")),
		"GetEnvironmentType": on(ReadShared, named("name")), "ListEnvironmentTypes": on(ReadShared, everything),
		"WatchEnvironmentTypes": on(ReadShared, everything),
		"CreateEnvironmentType": on(ManageEnvironmentTypes, child("environmentTypes/", "environment_type_id")),
		"UpdateEnvironmentType": on(ManageEnvironmentTypes, named("environment_type.name")),
		"DeleteEnvironmentType": on(ManageEnvironmentTypes, named("name")),
		"GetTarget":             on(ReadShared, named("name")), "ListTargets": on(ReadShared, everything), "WatchTargets": on(ReadShared, everything),
		"CreateTarget":  on(ManageTargets, child("targets/", "target_id")),
		"UpdateTarget":  on(ManageTargets, named("target.name")),
		"DeleteTarget":  on(ManageTargets, named("name")),
		"GetRepository": on(ReadShared, named("name")), "ListRepositories": on(ReadShared, everything), "WatchRepositories": on(ReadShared, everything),
		"CreateRepository": on(ManageRepositories, child("repositories/", "repository_id")),
		"UpdateRepository": on(ManageRepositories, named("repository.name")),
		"DeleteRepository": on(ManageRepositories, named("name")),

		"GetEnvironment":    on(Read, named("name")),
		"ListEnvironments":  on(Read, named("parent")).rows("environments"),
		"WatchEnvironments": on(Read, named("parent")).rows("environment"),
		"CreateEnvironment": on(CreateEnvironment, newEnvironment).and(Read, source("from")),
		"UpdateEnvironment": on(UpdateEnvironment, named("environment.name")).and(UpdateEnvironment, retyped),
		"DeleteEnvironment": on(DeleteEnvironment, named("name")),
		"LockEnvironment":   on(Lock, named("name")),
		"UnlockEnvironment": on(Unlock, named("name")),
		"ExtendEnvironment": on(ExtendEnvironment, named("name")),
		// A role on a type reads an application, but not the sum of its environments. Plan is what any role there has.
		"GetDeliveryMetrics": on(Read, named("parent")).and(Plan, wildcard("parent")),

		"GetSet":           on(ReadShared, named("name")),
		"PlanDeployment":   on(Plan, plannedEnvironment).and(Read, source("promotion.from")).and(Read, source("creation.from")),
		"GetDeployment":    on(Read, named("name")),
		"ListDeployments":  on(Read, named("parent")).rows("deployments"),
		"WatchDeployments": on(Read, named("parent")).rows("deployment"),
		"WatchDeployment":  on(Read, named("name")),
		"CreateDeployment": on(Deploy, named("parent")),
		"SetImage":         on(Deploy, named("name")), "ScaleWorkload": on(Deploy, named("name")), "RetryDeployment": on(Deploy, named("name")),
		"Rollback":          on(Rollback, named("name")),
		"Promote":           on(Promote, named("name")).and(Read, source("promotion.from")),
		"ApproveDeployment": on(Approve, named("name")), "RejectDeployment": on(Approve, named("name")),
		"CancelDeployment":  on(Cancel, named("name")),
		"CommentDeployment": on(Comment, named("name")),
	},
	"towpath.catalog.v1.ManifestService": {
		"ExplainEnvironment": on(Read, named("name")), "GetResourceGraph": on(Read, named("name")),
		"DiffManifests": on(Read, named("from")).and(Read, source("to")),
	},
	"towpath.catalog.v1.GitService": {
		"ListCommits": readsGit, "GetCommit": readsGit, "GetTree": readsGit, "GetFile": readsGit, "CompareCommits": readsGit,
		"GetRepositoryHealth":  on(ReadShared, named("name")),
		"DiagnoseRepository":   on(ManageRepositories, named("name")).and(Read, source("environment")),
		"MoveEnvironment":      on(Deploy, named("name")),
		"GetForeignChange":     on(Read, named("name")),
		"ResolveForeignChange": on(Deploy, named("name")).and(ManageDrafts, adopting),
	},
	"towpath.catalog.v1.FindingService": {
		"ListFindingRecords": on(Read, named("parent")).rows("finding_records"), "GetFindingRecord": on(Read, named("name")),
		"ListIgnoreRules": on(Read, named("parent")),
		"AcceptFindings":  on(ManageDrafts, named("parent")),
		"IgnoreFindings":  on(Revert, named("parent")), "DeleteIgnoreRule": on(Revert, named("name")),
	},
	"towpath.catalog.v1.AdoptionService": {
		"PlanAdoption": on(Adopt, named("environment")), "Adopt": on(Adopt, named("environment")),
		"ConfirmAdoption": on(Adopt, named("environment")),
	},
	"towpath.catalog.v1.DraftService": {
		"GetDraft": on(Read, named("name")), "ListDrafts": on(Read, named("parent")).rows("drafts"),
		"WatchDrafts": on(Read, named("parent")).rows("draft"), "DiffSets": on(ReadShared, everything),
		"CreateDraft": on(ManageDrafts, named("parent")).and(Read, source("draft.environment")),
		"UpdateDraft": on(ManageDrafts, named("draft.name")), "DeleteDraft": on(ManageDrafts, named("name")),
		"RebaseDraft": on(ManageDrafts, named("name")),
		"DeployDraft": on(Deploy, named("environment")).and(Read, named("name")).and(ManageDrafts, flagged("delete", "name")),
	},
	"towpath.catalog.v1.VariableService": {
		"GetVariable": on(Read, named("name")), "ListVariables": on(Read, named("parent")), "ListVariableVersions": on(Read, named("parent")),
		"FindVariableUses": on(Read, named("name")), "WatchVariables": on(Read, named("parent")),
		"SetVariable":     on(ManageVariables, named("variable.name")).and(Deploy, rolledOut("variable.name")),
		"DeleteVariable":  on(ManageVariables, named("name")).and(Deploy, rolledOut("name")),
		"RestoreVariable": on(ManageVariables, named("name")).and(Deploy, rolledOut("name")),
	},
	"towpath.catalog.v1.DefinitionService": {
		"GetResourceDefinition": on(ReadShared, named("name")), "ListResourceDefinitions": on(ReadShared, everything),
		"WatchResourceDefinitions": on(ReadShared, everything), "GetDefinitionVersion": on(ReadShared, named("name")),
		"ListDefinitionVersions": on(ReadShared, named("parent")), "PlanDefinition": on(Plan, everything),
		"ExplainMatch": on(Read, named("environment")), "ListResourceOutputs": on(Read, named("parent")),
		"CreateResourceDefinition": on(ManageDefinitions, child("resourceDefinitions/", "resource_definition_id")),
		"UpdateResourceDefinition": on(ManageDefinitions, named("resource_definition.name")),
		"DeleteResourceDefinition": on(ManageDefinitions, named("name")), "CreateDefinitionVersion": on(ManageDefinitions, named("parent")),
		"ActivateDefinition": on(ManageDefinitions, named("name")), "ArchiveDefinition": on(ManageDefinitions, named("name")),
	},
	"towpath.catalog.v1.AccessService": {
		// CheckAccess about somebody else is ManageAccess as well; its handler demands that.
		"WhoAmI": on(WhoAmI, everything), "CheckAccess": on(WhoAmI, everything), "ListAllowedActions": on(WhoAmI, everything),
		"CreateToken": on(ManageAccess, child("tokens/", "token_id")), "ListTokens": on(ManageAccess, everything), "DeleteToken": on(ManageAccess, named("name")),
		"CreateRoleBinding": on(ManageAccess, child("roleBindings/", "role_binding_id")), "GetRoleBinding": on(ManageAccess, named("name")),
		"ListRoleBindings": on(ManageAccess, everything), "UpdateRoleBinding": on(ManageAccess, named("role_binding.name")),
		"DeleteRoleBinding": on(ManageAccess, named("name")),
		"CreatePolicy":      on(ManageAccess, child("policies/", "policy_id")), "GetPolicy": on(ManageAccess, named("name")),
		"ListPolicies": on(ManageAccess, everything), "UpdatePolicy": on(ManageAccess, named("policy.name")), "DeletePolicy": on(ManageAccess, named("name")),
		"ListAuditEvents": on(ReadAudit, everything), "GetAuditEvent": on(ReadAudit, named("name")), "WatchAuditEvents": on(ReadAudit, everything),
		"Backup": on(Backup, everything), "Restore": on(Restore, everything),
	},
	"towpath.events.v1.EventService": {"WatchEvents": on(Read, eventsOf).rows("subject")},
	"towpath.renderer.v1.RendererService": {
		"LoadWorkloads": on(RenderInput, everything), "Render": on(RenderInput, everything), "ExplainMatch": on(RenderInput, everything),
		"CheckDefinition": on(RenderInput, everything), "CheckGuardrails": on(RenderInput, everything),
		"LoadGuardrails": on(RenderInput, everything), "ListStarterGuardrails": on(RenderInput, everything),
		"LoadProvisioners": on(RenderInput, everything), "Explain": on(RenderInput, everything), "Graph": on(RenderInput, everything),
		"DiffBundles": on(RenderInput, everything),
	},
	"towpath.committer.v1.CommitterService": {
		"GetHead": on(ReadGit, everything), "GetTree": on(ReadGit, everything), "ListCommits": on(ReadGit, everything),
		"GetCommit": on(ReadGit, everything), "GetFile": on(ReadGit, everything), "CompareCommits": on(ReadGit, everything),
		"GetRepositoryHealth": on(ReadGit, everything), "DiagnoseRepository": on(ManageRepositories, everything),
	},
	"towpath.drift.v1.DriftService": {
		"GetEnvironmentStatus": on(Read, named("name")), "ListFindings": on(Read, named("parent")), "GetFinding": on(Read, named("name")),
		"WatchFindings": on(Read, named("parent")), "RevertFindings": on(Revert, named("parent")), "SyncEnvironment": on(Sync, named("name")),
		"GetTargetStatus": on(ReadShared, named("name")),
	},
	"towpath.drift.v1.LiveService": {
		"GetLiveObject": on(Read, named("parent")), "GetObjectTree": on(Read, named("parent")), "ListObjectEvents": on(Read, named("parent")),
		"StreamLogs": on(ReadLogs, named("parent")),
	},
	"towpath.drift.v1.InspectService": {"InspectObjects": on(ManageTargets, everything)},
}

// Public reports whether anybody may call the method without saying who it is: health and reflection, which tell nothing
// that the public API description does not.
func Public(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.v1.") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// MethodRule gives the rule of a method, as in "/towpath.catalog.v1.CatalogService/GetApplication".
func MethodRule(fullMethod string) (Rule, bool) {
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	r, ok := methods[service][method]
	return r, ok
}

// Reads reports whether an RPC of the action changes nothing; rate limits count it as such.
func (a Action) Reads() bool {
	switch a {
	case Read, ReadShared, ReadGit, ReadLogs, RenderInput, Plan, WhoAmI, ReadAudit, Backup:
		return true
	}
	return false
}

// Actions are all actions, in the order of the documentation.
var Actions = []Action{
	WhoAmI, Read, ReadShared, RenderInput, Plan, ReadGit, Deploy, Rollback, Promote, Cancel, Comment, Sync, Revert, ReadLogs,
	CreateEnvironment, UpdateEnvironment, ExtendEnvironment, DeleteEnvironment, Lock, ManageApplications, ManageDrafts, ManageVariables, PushGit,
	Approve, Unlock, Adopt, ManageEnvironmentTypes, ManageTargets, ManageRepositories, ManageDefinitions, ManageAccess, ReadAudit, Backup, Restore,
}
