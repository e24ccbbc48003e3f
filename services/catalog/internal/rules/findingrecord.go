package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// RecordID names the record of a finding by its onset, so that the same finding told twice has one record and one that came back has
// another. Ids sort by onset.
func RecordID(finding string, onset time.Time) string {
	return fmt.Sprintf("%014x-%s", max(0, onset.UnixMicro()), finding[strings.LastIndexByte(finding, '/')+1:])
}

// ParseRecord takes applications/{application}/environments/{environment}/findingRecords/{record} apart.
func ParseRecord(field, name string) (Env, string, error) {
	parent, id, ok := strings.Cut(name, "/findingRecords/")
	env, err := ParseEnv(field, parent)
	if err == nil {
		_, err = OnsetOf(id)
	}
	if err != nil || !ok {
		return Env{}, "", errs.InvalidField(field, "%.200q is not a name of the form applications/{application}/environments/{environment}/findingRecords/{record}", name)
	}
	return env, id, nil
}

// OnsetOf gives the time in a record's id.
func OnsetOf(id string) (time.Time, error) {
	stamp, finding, ok := strings.Cut(id, "-")
	micros, err := strconv.ParseInt(stamp, 16, 64)
	if err != nil || !ok || len(stamp) != 14 || finding == "" {
		return time.Time{}, errs.InvalidField("record", "%.100q is no id of a record", id)
	}
	return time.UnixMicro(micros).UTC(), nil
}

// Onset is when a finding was noticed.
func Onset(f *driftv1.Finding) time.Time {
	return f.GetDetectTime().AsTime().Truncate(time.Microsecond)
}

// NewRecord begins the record of a finding.
func NewRecord(env Env, f *driftv1.Finding, deployment string) *catalogv1.FindingRecord {
	return &catalogv1.FindingRecord{
		Name: env.Name() + "/findingRecords/" + RecordID(f.GetName(), Onset(f)), Finding: proto.CloneOf(f),
		OnsetTime: timestamppb.New(Onset(f)), Deployment: deployment,
	}
}

// decisions are what the ends of findings mean, as drift and Git tell them.
var decisions = map[string]catalogv1.FindingRecord_Decision{
	"reverted": catalogv1.FindingRecord_DECISION_REVERTED, "healed": catalogv1.FindingRecord_DECISION_HEALED,
	"undone": catalogv1.FindingRecord_DECISION_UNDONE, "deployed": catalogv1.FindingRecord_DECISION_DEPLOYED,
	"accepted": catalogv1.FindingRecord_DECISION_ACCEPTED, "ignored": catalogv1.FindingRecord_DECISION_IGNORED,
}

// EndRecord ends a record as the finding says; one that has ended stays as it is. byDraft tells that the draft which accepts it was
// deployed.
func EndRecord(rec *catalogv1.FindingRecord, f *driftv1.Finding, byDraft bool) {
	if rec.GetEndTime() != nil {
		return
	}
	rec.Finding, rec.EndTime = proto.CloneOf(f), f.GetResolveTime()
	rec.Finding.Standing = driftv1.Finding_STANDING_RESOLVED
	rec.Decision = decisions[f.GetResolution()]
	if rec.Decision == catalogv1.FindingRecord_DECISION_DEPLOYED && byDraft {
		rec.Decision = catalogv1.FindingRecord_DECISION_ACCEPTED
		rec.Finding.Resolution = "accepted"
		return // who decided did so when they accepted it
	}
	rec.IgnoreRule = f.GetIgnoreRule()
	if f.GetDecideActor() != "" {
		rec.DecideActor, rec.DecideTime = f.GetDecideActor(), f.GetDecideTime()
	}
}

// fileKind is the kind under which a file or folder of Git is the object of a finding; it has no apiVersion.
const fileKind = "File"

// InGit tells a finding in Git from one in the cluster.
func InGit(f *driftv1.Finding) bool { return f.GetApiVersion() == "" && f.GetObjectKind() == fileKind }

// GitFinding gives the finding that a foreign change is: the folder is its object, the author its manager.
func GitFinding(env Env, e *eventsv1.ForeignCommit, at time.Time) *driftv1.Finding {
	f := &driftv1.Finding{
		Name: GitFindingName(env, e.GetRepository(), e.GetBranch(), e.GetPath()), Kind: driftv1.Finding_KIND_CHANGED, ObjectKind: fileKind,
		ObjectName: e.GetPath(), Desired: treeValue(e.GetExpectedTree()), Live: treeValue(e.GetFoundTree()), Manager: orUnknown(e.GetAuthor()),
		Operation: "Commit", EditTime: e.GetTime(), DetectTime: timestamppb.New(at), Standing: driftv1.Finding_STANDING_OPEN, Actor: e.GetAuthor(),
	}
	switch {
	case e.GetFoundTree() == "":
		f.Kind = driftv1.Finding_KIND_MISSING
	case e.GetExpectedTree() == "":
		f.Kind = driftv1.Finding_KIND_EXTRA
	}
	f.Attribution = "Git: " + e.GetRepository() + " branch " + e.GetBranch()
	if c := e.GetForeignCommit(); c != "" {
		f.Attribution += ", commit " + c[:min(12, len(c))]
	}
	if e.GetSubject() != "" {
		f.Attribution += " (" + e.GetSubject() + ")"
	}
	return f
}

// GitFindingName names the finding of a folder: the same for the same place.
func GitFindingName(env Env, repository, branch, path string) string {
	id := sha256.Sum256(fmt.Appendf(nil, "%q", []string{"git", env.Name(), repository, branch, path}))
	return env.Name() + "/findings/" + hex.EncodeToString(id[:8])
}

func treeValue(tree string) *structpb.Value {
	if tree == "" {
		return nil
	}
	return structpb.NewStringValue("tree " + tree)
}

func orUnknown(author string) string {
	if author == "" {
		return "unknown"
	}
	return author
}

// GitEnd is how a finding in Git ends by what the committer says; "" while it stands.
func GitEnd(how string) string {
	switch {
	case strings.HasPrefix(how, foreignNotDone):
		return ""
	case how == foreignAllowed:
		return "ignored"
	case how == "restored":
		return "reverted"
	case how == "overwritten", how == "adopted": // by a deployment, with another content or with the same
		return "deployed"
	default:
		return "undone"
	}
}
