package compare

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// Kind says how a place differs.
type Kind string

const (
	// Changed is a declared leaf with another value in the cluster.
	Changed Kind = "changed"
	// Removed is a declared leaf or item that the cluster does not have.
	Removed Kind = "removed"
	// Extra is something that nobody declared and that is neither a default nor delegated. Before is set where the
	// baseline knows another value (a default that somebody overrode).
	Extra Kind = "extra"
	// Missing is a declared object that the cluster does not have.
	Missing Kind = "missing"
	// Orphaned is an object of ours that is no longer declared.
	Orphaned Kind = "orphaned"
	// Unmanaged is an object in a namespace of ours that nobody declared, owns or tracks. It is judged only on request.
	Unmanaged Kind = "unmanaged"
	// Residue is a field only we own and no longer declare: the next apply takes it away.
	Residue Kind = "residue"
	// Unverified is a field that nobody foreign owns and that no baseline or table explains: the object is Unknown.
	Unverified Kind = "unverified"
	// Terminating is a declared object that is being deleted. It stands alone: what is going to be gone is compared no more.
	Terminating Kind = "terminating"
)

// UnknownManager is the Manager of a finding whose author ownership cannot tell: removals leave no owner.
const UnknownManager = "unknown"

// Finding is one place where the cluster is not what was declared.
type Finding struct {
	Kind Kind `json:"kind"`
	// Path is stable and readable; the package comment has its grammar. Empty for whole objects.
	Path string `json:"path"`
	// Pointer is the RFC 6901 JSON Pointer into the live object that was compared. Empty when the live object does not
	// have the place (removed, missing). Its list positions hold for that resourceVersion only.
	Pointer string `json:"pointer,omitempty"`
	// Before is the declared (or baseline) value, After the live one, as JSON values; nil when there is none.
	// Values of a Secret's data are masked.
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
	// Manager is the field manager that owns the place: the latest foreign one, else ours; UnknownManager for removals.
	Manager string `json:"manager"`
	// Operation is "Apply" or "Update", with "/subresource" behind it where one was used; empty when unknown.
	Operation string `json:"operation,omitempty"`
	// Time is when that manager last wrote; zero when unknown. The API server keeps seconds.
	Time time.Time `json:"time,omitzero"`
	// Note says how the attribution is known, and for delegated findings which rule and evidence allow them.
	Note string `json:"note,omitempty"`
	// Rule names the allow rule of a delegated finding; empty for all others.
	Rule string `json:"rule,omitempty"`
	// Since is a time before which the change cannot have happened, where Time does not tell: when we last wrote what was removed.
	Since time.Time `json:"since,omitzero"`
	// Doubtful says that nobody is known to have written an extra: the server may have made it after the baseline was taken (a webhook
	// that changed, a default of a newer version), which another baseline tells. See Result.Weigh.
	Doubtful bool `json:"doubtful,omitempty"`
}

// Result is all that one comparison found. The lists are sorted by path and nil when empty.
type Result struct {
	// Findings are drift: changed, removed, extra, missing, orphaned.
	Findings []Finding
	// Delegated are differences that an allow rule with evidence explains. They are listed and are not drift.
	Delegated []Finding
	// Residue are fields that only we own and no longer declare.
	Residue []Finding
	// Unverified are paths that nothing explains and nobody foreign owns. When it is not empty and Findings is, the
	// object is Unknown, never in sync. "apiVersion" stands there when both sides are of different kinds or versions.
	Unverified []string
	// Terminating says that the live object has a deletionTimestamp.
	Terminating bool
}

// Clean says that the object is in sync: nothing found and nothing left unverified. Delegated and residue do not count.
func (r Result) Clean() bool { return len(r.Findings) == 0 && len(r.Unverified) == 0 }

// Autoscaler is one object that is entitled to set the replicas of its target within a range.
type Autoscaler struct {
	// Name is for people: "HorizontalPodAutoscaler/web".
	Name string
	// TargetKind and TargetName are its scaleTargetRef; the namespace is the object's own.
	TargetKind, TargetName string
	// Min and Max are the inclusive range of replicas. Min is 1 when the autoscaler leaves it out.
	Min, Max int64
}

// VerticalAutoscaler is one entry of an object that is entitled to size the containers of its target.
type VerticalAutoscaler struct {
	// Name is for people: "VerticalPodAutoscaler/web".
	Name string
	// TargetKind and TargetName are its targetRef; the namespace is the object's own.
	TargetKind, TargetName string
	// Container that the entry is about, "*" for all without an entry of their own.
	Container string
	// Off says that this container is left alone.
	Off bool
	// The inclusive range of what it may ask for, as quantities; empty for no bound.
	MinCPU, MaxCPU, MinMemory, MaxMemory string
}

// Evidence is what entitles other controllers to fields of this object. The zero value entitles nobody.
type Evidence struct {
	// Autoscalers of the object's namespace; those with another target are ignored.
	Autoscalers []Autoscaler
	// Verticals of the object's namespace; those with another target are ignored.
	Verticals []VerticalAutoscaler
}

// Input is one comparison. Neither object is modified, and the result shares no memory with them.
type Input struct {
	// Prepared is the declared side from Comparer.Prepare. When it is nil, Desired and Baseline are prepared on the spot.
	Prepared *Prepared
	// Desired is the declared object; nil (with a nil Prepared) asks whether Live is an orphan.
	Desired *unstructured.Unstructured
	// Live is the object in the cluster; nil means that there is none.
	Live *unstructured.Unstructured
	// Baseline is what the server made of Desired. The zero value means that none is known.
	Baseline Baseline
	// Self is our field manager ("towpath"), or that of the engine which syncs the object ("argocd-controller").
	Self string
	// OurManagers are further names that count as us: earlier names of ours.
	OurManagers []string
	// Evidence is what entitles other controllers.
	Evidence Evidence
}

// TypeSource gives the schema of a kind that is not built in, from a cluster's OpenAPI; false for one that it does not know.
type TypeSource func(schema.GroupVersionKind) (typed.ParseableType, bool)

// Options make a Comparer.
type Options struct {
	// MaskKey keys the HMACs that stand for Secret values. It must be secret and stable: baselines hold digests made with
	// it. At least 16 bytes.
	MaskKey []byte
	// TypeFor gives the schema of a kind that is not built in. Optional. A kind it does not know is compared with a deduced
	// schema: maps by field, lists as one value.
	TypeFor TypeSource
}
