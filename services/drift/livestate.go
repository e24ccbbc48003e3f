package drift

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/services/drift/internal/compare"
	"github.com/towpath-dev/towpath/services/drift/internal/manifest"
)

// fromBase64 gives what a base64 text stands for, "" for another text.
func fromBase64(text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(raw)
}

// statusOf is how an object does now. It needs the environment's mutex.
func (sc *scene) statusOf(p spot, t *tracked, live *unstructured.Unstructured) *driftv1.ObjectStatus {
	if t != nil {
		whole, _, _ := sc.e.summary()
		return sc.e.objectStatus(t, whole)
	}
	st := &driftv1.ObjectStatus{ApiVersion: refOf(p.key, p.gvr).GetApiVersion(), Kind: p.key.kind, Name: p.key.name, Namespace: p.key.namespace}
	if live != nil {
		st.Health, st.Message = healthOf(live)
	}
	return st
}

// judged compares what was read just now, which may be newer than the last event, and gives what is delegated as findings. It needs the
// environment's mutex.
func (sc *scene) judged(t *tracked, live *unstructured.Unstructured) (compare.Result, []*driftv1.Finding) {
	if t == nil || live == nil {
		return compare.Result{}, nil
	}
	r := sc.e.compare(t, live)
	out := make([]*driftv1.Finding, 0, len(r.Delegated))
	for _, d := range r.Delegated {
		f := sc.e.finding(t.key, t.declared(), d)
		f.Kind, f.Standing, f.Rule = cmp.Or(f.Kind, driftv1.Finding_KIND_CHANGED), driftv1.Finding_STANDING_DELEGATED, cmp.Or(d.Rule, d.Note)
		out = append(out, f)
	}
	return r, out
}

// everyStanding are the findings that an object is shown with.
var everyStanding = []driftv1.Finding_Standing{
	driftv1.Finding_STANDING_OPEN, driftv1.Finding_STANDING_IGNORED, driftv1.Finding_STANDING_DELEGATED,
}

// findingsOf gives what is told of an object.
func (sc *scene) findingsOf(ctx context.Context, k objectKey) []*driftv1.Finding {
	var out []*driftv1.Finding
	req := &driftv1.ListFindingsRequest{Parent: sc.e.name, PageSize: 1000, Standings: everyStanding}
	for {
		page, err := sc.e.svc.ListFindings(ctx, req)
		if err != nil {
			return out // the request is ours, and only its page token can be wrong
		}
		for _, f := range page.GetFindings() {
			group, _, _ := groupOf(f.GetApiVersion())
			if f.GetObjectKind() == k.kind && f.GetObjectName() == k.name && f.GetNamespace() == k.namespace && group == k.group {
				out = append(out, proto.CloneOf(f))
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			return out
		}
	}
}

// fieldOwners tells who wrote which fields last.
func fieldOwners(live *unstructured.Unstructured) []*driftv1.FieldOwner {
	if live == nil {
		return nil
	}
	var out []*driftv1.FieldOwner
	for _, m := range live.GetManagedFields() {
		o := &driftv1.FieldOwner{Manager: m.Manager, Operation: string(m.Operation)}
		if m.Subresource != "" {
			o.Operation += "/" + m.Subresource
		}
		if m.Time != nil {
			o.Time = timestamppb.New(m.Time.Time)
		}
		var set fieldpath.Set
		if m.FieldsV1 != nil && set.FromJSON(m.FieldsV1.GetRawReader()) == nil {
			o.Fields = int32(set.Leaves().Size())
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b *driftv1.FieldOwner) int {
		return cmp.Or(b.GetTime().AsTime().Compare(a.GetTime().AsTime()), strings.Compare(a.GetManager(), b.GetManager()))
	})
	return out
}

// fileOf finds the file in Git that declares an object, within its place; "" where Git cannot be read now: what the cluster has is
// worth showing all the same.
func (sc *scene) fileOf(ctx context.Context, k objectKey) string {
	sc.e.mu.Lock()
	shown := sc.e.shown()
	sc.e.mu.Unlock()
	for _, p := range placesOf(shown) {
		tree, err := sc.e.svc.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: p.repository, Commit: p.commit, Tree: p.tree})
		if err != nil {
			sc.e.log.Debug("the file of an object cannot be found", "kind", k.kind, "name", k.name, "error", err)
			continue
		}
		for _, f := range tree.GetFiles() {
			us, err := manifest.Parse(f.GetPath(), f.GetContent())
			if err != nil {
				continue
			}
			for _, u := range us {
				if u.GetNamespace() == "" {
					u.SetNamespace(k.namespace)
				}
				if keyOf(u) == k {
					return f.GetPath()
				}
			}
		}
	}
	return ""
}
