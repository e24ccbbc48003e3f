package catalog_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

func TestEventsAreStreamedFilteredAndResumed(t *testing.T) {
	w := newWorld(t)
	api := eventsv1.NewEventServiceClient(w.conn)
	other := "applications/blog/environments/dev"
	w.emit(devEnv, "drift.detected", "e1", time.Now(), &eventsv1.DriftDetected{Environment: devEnv, Open: 1})
	w.emit(other, "drift.detected", "e2", time.Now(), &eventsv1.DriftDetected{Environment: other, Open: 2})
	w.emit(devEnv, "environment.removed", "e3", time.Now(), &eventsv1.EnvironmentRemoved{Environment: devEnv})
	w.emit("applications/shop/environments/test", "drift.resolved", "e4", time.Now(), &eventsv1.DriftResolved{Environment: "x", Open: 0})

	read := func(r *eventsv1.WatchEventsRequest) (ids []string, last *eventsv1.WatchEventsResponse) {
		t.Helper()
		stream, err := api.WatchEvents(t.Context(), r)
		must(t, err)
		for {
			e, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return ids, last
			}
			must(t, err)
			ids, last = append(ids, e.GetId()), e
		}
	}
	for name, tc := range map[string]struct {
		request *eventsv1.WatchEventsRequest
		want    []string
	}{
		"all that is stored":    {&eventsv1.WatchEventsRequest{StoredOnly: true}, []string{"e1", "e2", "e3", "e4"}},
		"of an application":     {&eventsv1.WatchEventsRequest{StoredOnly: true, Application: "shop"}, []string{"e1", "e3", "e4"}},
		"of an environment":     {&eventsv1.WatchEventsRequest{StoredOnly: true, Application: "shop", Environment: "dev"}, []string{"e1", "e3"}},
		"of a kind":             {&eventsv1.WatchEventsRequest{StoredOnly: true, TypePrefix: "drift."}, []string{"e1", "e2", "e4"}},
		"after a sequence":      {&eventsv1.WatchEventsRequest{StoredOnly: true, AfterSequence: 2}, []string{"e3", "e4"}},
		"after the last":        {&eventsv1.WatchEventsRequest{StoredOnly: true, AfterSequence: 4}, nil},
		"since before":          {&eventsv1.WatchEventsRequest{StoredOnly: true, Since: timestamppb.New(time.Now().Add(-time.Hour))}, []string{"e1", "e2", "e3", "e4"}},
		"of an app without any": {&eventsv1.WatchEventsRequest{StoredOnly: true, Application: "nope"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ids, _ := read(tc.request)
			if diff := cmp.Diff(tc.want, ids); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
	_, e := read(&eventsv1.WatchEventsRequest{StoredOnly: true, TypePrefix: "drift.detected", Application: "blog"})
	if e.GetType() != "drift.detected" || e.GetSubject() != other || e.GetData().GetFields()["open"].GetNumberValue() != 2 || e.GetTime() == nil {
		t.Errorf("event = %v", e)
	}

	stream, err := api.WatchEvents(t.Context(), &eventsv1.WatchEventsRequest{AfterSequence: 3})
	must(t, err)
	for _, want := range []string{"e4", "live"} {
		if want == "live" {
			w.emit(devEnv, "environment.removed", "live", time.Now(), &eventsv1.EnvironmentRemoved{Environment: devEnv})
		}
		e, err := stream.Recv()
		must(t, err)
		if e.GetId() != want {
			t.Errorf("event %s, want %s", e.GetId(), want)
		}
	}

	for name, r := range map[string]*eventsv1.WatchEventsRequest{
		"an environment of no application": {Environment: "dev"},
		"a wildcard":                       {Application: "*"},
		"two places to start":              {AfterSequence: 1, Since: timestamppb.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := api.WatchEvents(t.Context(), r)
			must(t, err)
			_, err = stream.Recv()
			wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
		})
	}
}
