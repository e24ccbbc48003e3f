package drift

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/secrets"
)

// coreEvents hold also what was written through events.k8s.io: the API server gives both in either form.
var coreEvents = schema.GroupVersionResource{Version: "v1", Resource: "events"}

const (
	eventPage = 500
	// maxEventsRead bounds what is read of a namespace: events are kept for an hour, and a crash loop writes many.
	maxEventsRead = 5000
)

// ListObjectEvents lists what the cluster told about an object and what it owns, or about all of the environment.
func (l liveServer) ListObjectEvents(ctx context.Context, req *driftv1.ListObjectEventsRequest) (*driftv1.ListObjectEventsResponse, error) {
	sc, err := l.s.scene(req.GetParent())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := sc.grow(ctx)
	if err != nil {
		return nil, err
	}
	about := aboutAll(sc, t)
	if req.GetObject() != nil {
		if about, err = sc.aboutOne(ctx, t, req.GetObject()); err != nil {
			return nil, err
		}
	}
	all, err := sc.events(ctx, about)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	return &driftv1.ListObjectEventsResponse{Events: all[:min(size, len(all))]}, nil
}

// subjects are the objects whose events are wanted: by uid, and by name those that are gone.
type subjects struct {
	uids map[types.UID]bool
	gone map[objectKey]bool
}

func aboutAll(sc *scene, t *tree) subjects {
	s := subjects{uids: map[types.UID]bool{}, gone: map[objectKey]bool{}}
	for uid := range t.objects {
		s.uids[uid] = true
	}
	for k := range sc.keys() {
		s.gone[k] = true
	}
	return s
}

// aboutOne is an object with all below it. What is not in the tree has to prove that it belongs here.
func (sc *scene) aboutOne(ctx context.Context, t *tree, ref *driftv1.ObjectRef) (subjects, error) {
	s := subjects{uids: map[types.UID]bool{}, gone: map[objectKey]bool{}}
	p, declared, err := sc.locate(ref)
	if err != nil {
		return s, err
	}
	_, orphan := sc.orphans[p.key]
	live, err := sc.read(ctx, p, declared != nil || orphan)
	if err != nil {
		return s, err
	}
	switch {
	case live != nil:
		s.uids[live.GetUID()] = true
	case declared != nil:
		s.gone[p.key] = true
	default:
		return s, sc.notOfIt(ref)
	}
	for _, n := range t.nodes { // owners stand before what they own
		if s.uids[types.UID(n.GetOwnerUid())] {
			s.uids[types.UID(n.GetUid())] = true
		}
	}
	return s, nil
}

func (s subjects) has(o corev1.ObjectReference) bool {
	group, _, _ := groupOf(o.APIVersion)
	return s.uids[o.UID] || s.gone[objectKey{group: group, kind: o.Kind, namespace: o.Namespace, name: o.Name}]
}

// events reads the namespaces' events page by page and keeps those that are wanted, the newest first.
func (sc *scene) events(ctx context.Context, about subjects) ([]*driftv1.ObjectEvent, error) {
	namespaces := map[string]bool{sc.namespace: true}
	for k := range sc.declared {
		namespaces[cmp.Or(k.namespace, sc.namespace)] = true
	}
	var out []*driftv1.ObjectEvent
	for ns := range namespaces {
		options := metav1.ListOptions{Limit: eventPage}
		for read := 0; read < maxEventsRead; {
			list, err := sc.c.dyn.Resource(coreEvents).Namespace(ns).List(ctx, options)
			if err != nil {
				return nil, clusterError(err, "list the events of namespace "+ns)
			}
			for i := range list.Items {
				var e corev1.Event
				if runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &e) == nil && about.has(e.InvolvedObject) {
					out = append(out, eventOf(&e))
				}
			}
			read += len(list.Items)
			if options.Continue = list.GetContinue(); options.Continue == "" {
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b *driftv1.ObjectEvent) int {
		return cmp.Or(b.GetLastTime().AsTime().Compare(a.GetLastTime().AsTime()), strings.Compare(a.GetObject().GetName(), b.GetObject().GetName()),
			strings.Compare(a.GetReason(), b.GetReason()), strings.Compare(a.GetMessage(), b.GetMessage()))
	})
	return out, nil
}

// eventOf reads an event in either of its forms: with counts and two times, or with one time and a series.
func eventOf(e *corev1.Event) *driftv1.ObjectEvent {
	first, last, count := e.FirstTimestamp.Time, e.LastTimestamp.Time, e.Count
	if e.Series != nil {
		last, count = latest(last, e.Series.LastObservedTime.Time), max(count, e.Series.Count)
	}
	if first.IsZero() {
		first = e.EventTime.Time
	}
	if first.IsZero() {
		first = e.CreationTimestamp.Time
	}
	message := e.Message
	if what := secrets.LooksText(message); what != "" {
		message = "(not shown: it holds " + what + ")"
	}
	o := e.InvolvedObject
	return &driftv1.ObjectEvent{
		Object: &driftv1.ObjectRef{ApiVersion: o.APIVersion, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name},
		Type:   e.Type, Reason: e.Reason, Message: message, Count: max(count, 1),
		FirstTime: timestamppb.New(first), LastTime: timestamppb.New(latest(first, last)), Source: cmp.Or(e.ReportingController, e.Source.Component),
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
