package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// All keys of the catalog. They are in every data folder and never change their meaning; schemaVersion tells which meaning a
// store was written with. Rows are the API's own messages, with these differences from what the API shows:
//
//   - etag is empty, the row's revision is it; deployments use the field as told at markChanged.
//   - Environment.live and .active_deployment are in liveEnvironments, because reports of a cluster come all the time and
//     must not move the etag that a person holds.
//   - Environment.layout_place is where the newest move goes or went that is not in Git; see settleMove.
const (
	keySchema    = "meta/schema"
	keyBootstrap = "meta/bootstrapped"
	// keyActiveDefinitions holds the active version of each resource definition, see activeDefinitions. Whatever makes two
	// definitions active together demands that it has not been written since they were compared.
	keyActiveDefinitions = "definitions/active"
	// keyPosition holds the revision up to which the outbox has published.
	keyPosition = "outbox/position"
	// keyTimes is there when all deployments are in deploymentTimes.
	keyTimes = "meta/byTime"
	// keyPlaces is there when all environments have their place in their row, see pinPlaces.
	keyPlaces = "meta/places"

	// keyMigration is there while a migration is under way, see progress.
	keyMigration = "meta/migration"
	// keyRestoring is there while a backup is being restored: what else is there is half of it.
	keyRestoring = "meta/restoring"
	// keyBackupMark is there for a moment while a backup is made of an engine that knows no snapshots.
	keyBackupMark = "meta/backup-mark"

	schemaVersion = "4"
)

var (
	applications     = store.NewTable[*catalogv1.Application]("applications/")
	environmentTypes = store.NewTable[*catalogv1.EnvironmentType]("environmentTypes/")
	targets          = store.NewTable[*catalogv1.Target]("targets/")
	repositories     = store.NewTable[*catalogv1.Repository]("repositories/")
	// environments has the id {application}/{environment}.
	environments = store.NewTable[*catalogv1.Environment]("environments/")
	// liveEnvironments has what is reported of an environment: live, active_deployment, and in update_time the time of the
	// report that live.findings is from. Id as environments.
	liveEnvironments = store.NewTable[*catalogv1.Environment]("live/")
	// newest has what lists show of each environment's newest deployment: a row of its own, because deploying must not wait for
	// what a cluster reports. Id as environments.
	newest = store.NewTable[*catalogv1.Latest]("newest/")
	sets   = store.NewTable[*catalogv1.Set]("sets/")
	// deployments has the id {application}/{environment}/{generation, 20 digits}: history in order, read from its end. Rows
	// stay when their environment goes, and a new environment of that name goes on with the next generation.
	deployments = store.NewTable[*catalogv1.Deployment]("deployments/")
	// drafts has the id {application}/{draft}.
	drafts = store.NewTable[*catalogv1.Draft]("drafts/")
	// variables has the id {application}/{environment, "-" for the application's own}/{key}: each variable as it is, also one that
	// was taken away (deleted), because its versions go on from there.
	variables = store.NewTable[*catalogv1.Variable]("variables/")
	// variableVersions has the id of the variable + /{version, 20 digits}. Rows are never changed or removed.
	variableVersions    = store.NewTable[*catalogv1.Variable]("variableVersions/")
	resourceDefinitions = store.NewTable[*catalogv1.ResourceDefinition]("resourceDefinitions/")
	// definitionVersions has the id {definition}/{number, 20 digits}. Rows stay when their definition goes, because deployments
	// are pinned to them, and a new definition of that name goes on with the next number.
	definitionVersions = store.NewTable[*catalogv1.DefinitionVersion]("definitionVersions/")
	// resourceOutputs has the id {application}/{environment}/{resource}: what the cluster said of a claim last. It goes with the
	// environment.
	resourceOutputs = store.NewTable[*rendererv1.ResourceOutputs]("resourceOutputs/")
	// outputVersions has the id of the outputs + /{version, 20 digits}. Rows are never changed or removed.
	outputVersions = store.NewTable[*rendererv1.ResourceOutputs]("resourceOutputVersions/")
	// deploymentTimes finds deployments by time, whatever environment they are of: the id is {application, - for all}/{time of
	// acceptance in microseconds, 20 digits}/{id in deployments}. The rows are empty.
	deploymentTimes = store.NewTable[*emptypb.Empty]("byTime/")
	// ignoreRules has the id {application}/{environment}/{rule}. They go with the environment.
	ignoreRules = store.NewTable[*driftv1.IgnoreRule]("ignoreRules/")
	// findingRecords has the id {application}/{environment}/{onset in microseconds, 14 hexadecimal digits}-{finding}: findings in the
	// order of their onset. Rows stay when their environment goes.
	findingRecords = store.NewTable[*catalogv1.FindingRecord]("findingRecords/")
	// recordTimes finds records by their onset, whatever environment they are of, see recordTimeID. The rows are empty.
	recordTimes = store.NewTable[*emptypb.Empty]("recordTimes/")
	// tokens has the secret's SHA-256 in the field secret.
	tokens = store.NewTable[*catalogv1.Token]("tokens/")
	// auditEvents has the id of audit.NewID, in the order of time, and the payloads of auditrow.go.
	auditEvents = store.NewTable[*catalogv1.AuditEvent](auditCollection)
	// roleBindings and policies are under one prefix, because everybody who decides follows both.
	roleBindings = store.NewTable[*catalogv1.RoleBinding](accessPrefix + "roleBindings/")
	policies     = store.NewTable[*catalogv1.Policy](accessPrefix + "policies/")
)

// Rows that are no resources.
const (
	// openPrefix + a deployment's id: it has not ended. What the outbox has to look after, whatever the length of history. The
	// value is the trace of its request, as W3C's traceparent, or empty. (An engine's leases are under "leases/".)
	openPrefix = "open/"
	// awaitingPrefix + a deployment's id: it waits for approval; the value is the intent of its environment that it was made on.
	awaitingPrefix = "awaiting/"
	// sentPrefix + an environment's id: which command was published last, see sent.
	sentPrefix = "sent/"
	// findingPrefix + an environment's id: what drift has told of open findings, see findingLines.
	findingPrefix = "findings/"
	// openFindingPrefix + an environment's id + / + a finding: it is open, see openFinding.
	openFindingPrefix = "openFindings/"
	// acceptedPrefix + an environment's id + / + a draft: it accepts findings, see acceptedKey.
	acceptedPrefix = "accepted/"
	// ignoreExpiryPrefix + second of the expiry, 20 digits + / + a rule's id: when the sweeper removes the rule.
	ignoreExpiryPrefix = "ignoreExpiries/"
	// draftSetPrefix + digest of a set + "/" + a draft's id: the draft makes that set, which need not be stored anywhere.
	draftSetPrefix = "draftSets/"
	// tokenHashPrefix + SHA-256 of a secret: the token's id.
	tokenHashPrefix = "tokenHashes/"
	// requestPrefix + scope + SHA-256 of a request id: the answer that was given, see answered.
	requestPrefix = "requests/"
	// ownerPathPrefix + place of a branch + path: the environment that owns the folder.
	ownerPathPrefix = "owners/paths/"
	// ownerNamespacePrefix + target + namespace: the environment that owns the namespace.
	ownerNamespacePrefix = "owners/namespaces/"
	// expiryPrefix + second of the expiry, 20 digits + / + an environment's id: when the sweeper has to look at it. Only for
	// environments that are in use.
	expiryPrefix = "expiries/"
	// decisionPrefix + an environment's id + "/" + a folder's hash: a decision about a foreign change that the committer has not
	// answered, as events.v1.ForeignDecision.
	decisionPrefix = "foreignDecisions/"
	// removalPrefix + an environment's id: it is being removed. What the sweeper looks after, however many environments there are.
	removalPrefix = "removals/"
	// accessPrefix is what decisions about access depend on.
	accessPrefix = "access/"
	// keyPolicyGuard is written with every policy, so that two of them that would only together lock out every admin cannot be
	// written at the same moment.
	keyPolicyGuard = accessPrefix + "guard"
	// guardPrefix + key of a row: written by everybody who begins to refer to that row. Who removes or moves the row looks
	// for users and then demands that the guard has not been written since, so that no user can slip in between.
	guardPrefix = "guards/"
	// archivePrefix + key of the last row in it + a zero byte: a block of old rows that is in a segment, see blockRef.
	archivePrefix = "archive/"
)

func envKey(e rules.Env) string { return e.App + "/" + e.ID }

func depKey(e rules.Env, generation int64) string {
	return fmt.Sprintf("%s/%s/%020d", e.App, e.ID, generation)
}

// envOfDepKey is the reverse of depKey.
func envOfDepKey(id string) (rules.Env, int64, bool) {
	p := strings.Split(id, "/")
	if len(p) != 3 {
		return rules.Env{}, 0, false
	}
	n, err := strconv.ParseInt(p[2], 10, 64)
	return rules.Env{App: p[0], ID: p[1]}, n, err == nil
}

// branchPlace gives the id of a branch of a remote repository. Two repository resources of the same remote and branch have
// the same, so that their environments cannot own the same folder.
func branchPlace(url, branch string) string {
	sum := sha256.Sum256([]byte(rules.NormalURL(url) + "\x00" + branch))
	return hex.EncodeToString(sum[:16])
}

// ownerPathKey is of a folder as any file system sees it.
func ownerPathKey(l rules.Location, path string) string {
	return ownerPathPrefix + branchPlace(l.URL, l.Branch) + "/" + rules.Fold(path)
}

func ownerNamespaceKey(target, namespace string) string {
	return ownerNamespacePrefix + strings.TrimPrefix(target, "targets/") + "/" + namespace
}

func guard(key string) string { return guardPrefix + key }
