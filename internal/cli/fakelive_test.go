package cli_test

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// fakeLive has one cluster's word about one pod.
type fakeLive struct {
	driftv1.UnimplementedLiveServiceServer
}

func (fakeLive) ListObjectEvents(context.Context, *driftv1.ListObjectEventsRequest) (*driftv1.ListObjectEventsResponse, error) {
	pod := &driftv1.ObjectRef{ApiVersion: "v1", Kind: "Pod", Name: "api-1"}
	return &driftv1.ListObjectEventsResponse{Events: []*driftv1.ObjectEvent{
		{Object: pod, Type: "Normal", Reason: "Pulled", Message: "image is there", Count: 1, LastTime: at(2 * time.Second)},
		{Object: pod, Type: "Warning", Reason: "FailedScheduling", Message: "no node has 64 GiB", Count: 3, LastTime: at(12 * time.Second)},
	}}, nil
}

func (f *fake) WatchEnvironments(r *catalogv1.WatchEnvironmentsRequest, s grpc.ServerStreamingServer[catalogv1.WatchEnvironmentsResponse]) error {
	f.mu.Lock()
	f.calls["WatchEnvironments"] = append(f.calls["WatchEnvironments"], proto.Clone(r))
	var send []*catalogv1.WatchEnvironmentsResponse
	if len(f.envWatch) > 0 {
		send, f.envWatch = f.envWatch[0], f.envWatch[1:]
	}
	rest := len(f.envWatch)
	f.mu.Unlock()
	if send == nil {
		return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED, "the log does not reach back")
	}
	for _, m := range send {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	if rest > 0 {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the server stops")
	}
	<-s.Context().Done()
	return s.Context().Err()
}
