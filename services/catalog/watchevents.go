package catalog

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// eventBodies are the messages of the event types, for their JSON form.
var eventBodies = map[string]func() proto.Message{
	"deployment.state":          func() proto.Message { return &eventsv1.DeploymentStateChanged{} },
	"deployment.waiting":        func() proto.Message { return &eventsv1.DeploymentWaiting{} },
	"deployment.committed":      func() proto.Message { return &eventsv1.DeploymentCommitted{} },
	"deployment.failed":         func() proto.Message { return &eventsv1.DeploymentFailed{} },
	"environment.synced":        func() proto.Message { return &eventsv1.EnvironmentSynced{} },
	"environment.health":        func() proto.Message { return &eventsv1.EnvironmentHealth{} },
	"environment.removed":       func() proto.Message { return &eventsv1.EnvironmentRemoved{} },
	"drift.detected":            func() proto.Message { return &eventsv1.DriftDetected{} },
	"drift.resolved":            func() proto.Message { return &eventsv1.DriftResolved{} },
	"repository.foreign_commit": func() proto.Message { return &eventsv1.ForeignCommit{} },

	"repository.foreign_resolved": func() proto.Message { return &eventsv1.ForeignResolved{} },
}

// WatchEvents streams events to those who do not subscribe over NATS.
func (e eventServer) WatchEvents(r *eventsv1.WatchEventsRequest, stream grpc.ServerStreamingServer[eventsv1.WatchEventsResponse]) error {
	cfg, err := tailOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	if r.GetStoredOnly() {
		cfg.CaughtUp = cancel
	}
	for d, err := range e.s.cfg.Bus.Tail(ctx, cfg) {
		if err != nil {
			if d.Subject == "" {
				return err
			}
			e.s.log.Warn("an event cannot be read and is left out of a stream", "sequence", d.Sequence, "error", err)
			continue
		}
		kind := strings.TrimPrefix(d.Type, typePrefix)
		if !strings.HasPrefix(kind, r.GetTypePrefix()) || kind == audit.EventType { // the trail is not for everybody
			continue
		}
		if err := stream.Send(e.response(kind, d)); err != nil {
			return err
		}
	}
	return stream.Context().Err()
}

// tailOf turns a request into what to follow.
func tailOf(r *eventsv1.WatchEventsRequest) (events.TailConfig, error) {
	cfg := events.TailConfig{Stream: events.StreamEvents}
	app, env := "*", "*"
	if r.GetApplication() != "" {
		if err := rules.CheckID("application", r.GetApplication(), rules.MaxAppID); err != nil {
			return cfg, err
		}
		app = r.GetApplication()
	}
	if r.GetEnvironment() != "" {
		if r.GetApplication() == "" {
			return cfg, errs.InvalidField("environment", "needs application: environments of different applications share ids")
		}
		if err := rules.CheckID("environment", r.GetEnvironment(), rules.MaxAppID); err != nil {
			return cfg, err
		}
		env = r.GetEnvironment()
	}
	if app != "*" || env != "*" {
		cfg.Filter = []string{"towpath.evt." + app + "." + env + ".>"}
	}
	switch {
	case r.GetAfterSequence() > 0 && r.GetSince() != nil:
		return cfg, errs.InvalidField("since", "is given beside after_sequence; resume by one of them")
	case r.GetAfterSequence() > 0:
		cfg.FromSeq = r.GetAfterSequence() + 1
	case r.GetSince() != nil:
		cfg.FromTime = r.GetSince().AsTime()
	case !r.GetStoredOnly(): // what is stored is asked for by stored_only alone
		cfg.NewOnly = true
	}
	return cfg, nil
}

func (e eventServer) response(kind string, d events.Delivery) *eventsv1.WatchEventsResponse {
	out := &eventsv1.WatchEventsResponse{Sequence: d.Sequence, Id: d.ID, Type: kind, Subject: d.Resource, Time: timestamppb.New(d.Time)}
	body, ok := eventBodies[kind]
	if !ok {
		return out // of a newer version: told without its data
	}
	m := body()
	err := d.Decode(m)
	if err == nil {
		var b []byte
		if b, err = protojson.Marshal(m); err == nil {
			data := &structpb.Struct{}
			if err = protojson.Unmarshal(b, data); err == nil {
				out.Data = data
			}
		}
	}
	if err != nil {
		e.s.log.Warn("an event's data cannot be shown", "type", kind, "sequence", d.Sequence, "error", err)
	}
	return out
}
