package portal_test

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// watchAll sends the environments, then each that is another one.
func (s *stub) watchAll(r *catalogv1.WatchEnvironmentsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchEnvironmentsResponse]) error {
	sent := map[string]*catalogv1.Environment{}
	for round := 0; ; round++ {
		list, err := s.ListEnvironments(stream.Context(), &catalogv1.ListEnvironmentsRequest{Parent: r.GetParent()})
		if err != nil {
			return err
		}
		gone := map[string]bool{}
		for name := range sent {
			gone[name] = true
		}
		for _, e := range list.GetEnvironments() {
			delete(gone, e.GetName())
			if proto.Equal(sent[e.GetName()], e) {
				continue
			}
			sent[e.GetName()] = e
			if err := stream.Send(&catalogv1.WatchEnvironmentsResponse{Environment: e, ResumeToken: fmt.Sprint(round)}); err != nil {
				return err
			}
		}
		for name := range gone {
			delete(sent, name)
			if err := stream.Send(&catalogv1.WatchEnvironmentsResponse{Environment: &catalogv1.Environment{Name: name}, Removed: true}); err != nil {
				return err
			}
		}
		if round == 0 {
			if err := stream.Send(&catalogv1.WatchEnvironmentsResponse{CaughtUp: true, ResumeToken: "0"}); err != nil {
				return err
			}
		}
		if !pause(stream.Context()) {
			return stream.Context().Err()
		}
	}
}
