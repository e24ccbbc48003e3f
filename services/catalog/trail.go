package catalog

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// auditFields are what the trail can be filtered by.
var auditFields = []rules.FilterField{
	{Name: "actor"}, {Name: "method"}, {Name: "action"}, {Name: "resource", Kind: rules.NameField}, {Name: "code"},
	{Name: "reason"}, {Name: "peer"}, {Name: "request_id"}, {Name: "time", Kind: rules.TimeField},
}

func auditField(e *catalogv1.AuditEvent) func(string) rules.FilterValue {
	return func(field string) rules.FilterValue {
		switch field {
		case "actor":
			return rules.FilterText(e.GetActor())
		case "method":
			return rules.FilterText(e.GetMethod())
		case "action":
			return rules.FilterText(e.GetAction())
		case "resource":
			return rules.FilterText(e.GetResource())
		case "code":
			return rules.FilterText(e.GetCode())
		case "reason":
			return rules.FilterText(e.GetReason())
		case "peer":
			return rules.FilterText(e.GetPeer())
		case "request_id":
			return rules.FilterText(e.GetRequestId())
		default:
			return rules.FilterTime(e.GetTime().AsTime())
		}
	}
}

const (
	defaultAuditPage = 100
	// maxAuditRead bounds the work of one call whose filter keeps almost nothing; the page then has a token and fewer events.
	maxAuditRead = 10_000
	auditChunk   = 256
)

// ListAuditEvents gives the audit trail, newest first.
func (a accessServer) ListAuditEvents(ctx context.Context, r *catalogv1.ListAuditEventsRequest) (*catalogv1.ListAuditEventsResponse, error) {
	filter, err := rules.ParseFilter(r.GetFilter(), auditFields)
	if err != nil {
		return nil, err
	}
	identity := []string{auditCollection, filter.String()}
	after, err := store.ParsePageToken(r.GetPageToken(), identity...)
	if err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = defaultAuditPage
	}
	events, next, err := a.s.auditPage(ctx, filter, after, size)
	if err != nil {
		return nil, err
	}
	out := &catalogv1.ListAuditEventsResponse{AuditEvents: events}
	if next != "" {
		out.NextPageToken = store.PageToken(next, identity...)
	}
	return out, nil
}

// auditPage reads events older than the one with the id after, and gives the id to go on behind, "" at the end.
func (s *Service) auditPage(ctx context.Context, filter rules.Filter, after string, size int) (events []*catalogv1.AuditEvent, next string, err error) {
	from, to := filter.Between("time")
	if !to.IsZero() {
		if bound := audit.FirstID(to.Add(time.Microsecond)); after == "" || bound < after {
			after = bound
		}
	}
	oldest := ""
	if !from.IsZero() {
		oldest = audit.FirstID(from)
	}
	r := store.ScanRange{Prefix: auditCollection, Reverse: true, Limit: auditChunk}
	if filter.Empty() {
		r.Limit = min(size+1, auditChunk)
	}
	if after != "" {
		r.After = auditEvents.Key(after)
	}
	for read := 0; ; {
		chunk, err := s.cfg.KV.Scan(ctx, r)
		if err != nil {
			return nil, "", err
		}
		for _, e := range chunk {
			row, err := auditEvents.Decode(e)
			if err != nil {
				return nil, "", err
			}
			if row.ID < oldest {
				return events, "", nil
			}
			if !filter.Match(auditField(row.Msg)) {
				after = row.ID
				continue
			}
			if len(events) == size {
				return events, after, nil
			}
			showEvent(row.Msg)
			events, after = append(events, row.Msg), row.ID
		}
		if len(chunk) < r.Limit {
			return events, "", nil
		}
		if read += len(chunk); read >= maxAuditRead {
			return events, after, nil
		}
		r.After = chunk[len(chunk)-1].Key
	}
}

// GetAuditEvent gives one event of the audit trail.
func (a accessServer) GetAuditEvent(ctx context.Context, r *catalogv1.GetAuditEventRequest) (*catalogv1.AuditEvent, error) {
	id, ok := strings.CutPrefix(r.GetName(), auditCollection)
	if !ok || id == "" || strings.Contains(id, "/") {
		return nil, errs.InvalidField("name", "%.80q is not a name of the form auditEvents/{audit_event}", r.GetName())
	}
	row, err := auditEvents.Get(ctx, a.s.cfg.KV, id)
	if err != nil {
		return nil, orNotFound(err, r.GetName(), "see `tow audit list`")
	}
	showEvent(row.Msg)
	return row.Msg, nil
}

// WatchAuditEvents streams the trail: the newest events there are, oldest of them first, then each new one.
func (a accessServer) WatchAuditEvents(r *catalogv1.WatchAuditEventsRequest, stream grpc.ServerStreamingServer[catalogv1.WatchAuditEventsResponse]) error {
	ctx := stream.Context()
	rev, err := parseResumeToken(r.GetResumeToken())
	if err != nil {
		return err
	}
	if r.GetResumeToken() == "" {
		if rev, err = a.s.sendNewest(ctx, stream); err != nil {
			return err
		}
	}
	for change, err := range a.s.cfg.KV.Watch(ctx, auditCollection, rev) {
		if errors.Is(err, store.ErrCompacted) {
			return errs.New(errs.OutOfRange, errorsv1.Reason_REASON_COMPACTED,
				"the log no longer reaches back to that resume token; watch without one, and read what is older with `tow audit list`")
		}
		if err != nil {
			return err
		}
		if change.Deleted {
			continue // it moved to the archive; nobody can remove an event
		}
		row, err := auditEvents.DecodeChange(change)
		if err != nil {
			return err
		}
		showEvent(row.Msg)
		if err := stream.Send(&catalogv1.WatchAuditEventsResponse{AuditEvent: row.Msg, ResumeToken: resumeToken(change.Rev)}); err != nil {
			return err
		}
	}
	return nil
}

// watchedAtFirst is how many events a watch begins with. The whole trail has no end that is worth waiting for.
const watchedAtFirst = 1000

func (s *Service) sendNewest(ctx context.Context, stream grpc.ServerStreamingServer[catalogv1.WatchAuditEventsResponse]) (int64, error) {
	rev, err := store.Revision(ctx, s.cfg.KV)
	if err != nil {
		return 0, err
	}
	events, _, err := s.auditPage(ctx, rules.Filter{}, "", watchedAtFirst)
	if err != nil {
		return 0, err
	}
	for _, e := range slices.Backward(events) {
		// Resuming from here begins with changes of before, which tells some events twice, never one not at all.
		if err := stream.Send(&catalogv1.WatchAuditEventsResponse{AuditEvent: e, ResumeToken: resumeToken(rev)}); err != nil {
			return 0, err
		}
	}
	return rev, stream.Send(&catalogv1.WatchAuditEventsResponse{CaughtUp: true, ResumeToken: resumeToken(rev)})
}

func resumeToken(rev int64) string { return "r" + strconv.FormatInt(rev, 36) }

func parseResumeToken(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(token, "r")
	rev, err := strconv.ParseInt(digits, 36, 64)
	if !ok || err != nil || rev < 0 || resumeToken(rev) != token {
		return 0, errs.InvalidField("resume_token", "%.40q is no token of this watch; leave it out to begin anew", token)
	}
	return rev, nil
}
