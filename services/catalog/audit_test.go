package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
)

// trail lists audit events, newest first.
func (w *world) trail(filter string) []*catalogv1.AuditEvent {
	w.t.Helper()
	l, err := w.access.ListAuditEvents(w.t.Context(), &catalogv1.ListAuditEventsRequest{Filter: filter, PageSize: 1000})
	must(w.t, err)
	return l.GetAuditEvents()
}

// one gives the only event of a filter.
func (w *world) oneEvent(filter string) *catalogv1.AuditEvent {
	w.t.Helper()
	all := w.trail(filter)
	if len(all) != 1 {
		w.t.Fatalf("%d events match %s, want 1: %v", len(all), filter, all)
	}
	return all[0]
}

func as(ctx context.Context, requestID string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpc.RequestIDHeader, requestID)
}

func TestAuditTellsWhatAChangeDid(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.app("shop")
	created := w.oneEvent(`method = "CatalogService/CreateApplication"`)
	if created.GetResource() != "applications/shop" || created.GetActor() != "tokens/bootstrap-admin" || created.GetCode() != "OK" ||
		created.GetMethod() != "CatalogService/CreateApplication" || created.GetBefore() != nil || created.GetPeer() == "" || created.GetUserAgent() == "" {
		t.Errorf("event of a creation = %v", created)
	}
	if got := created.GetAfter().GetFields()["name"].GetStringValue(); got != "applications/shop" {
		t.Errorf("after has name %q", got)
	}
	_, err := w.api.UpdateApplication(as(ctx, "change-owner"), &catalogv1.UpdateApplicationRequest{
		Application: &catalogv1.Application{Name: "applications/shop", Owner: "team-a"},
	})
	must(t, err)
	updated := w.oneEvent(`request_id = change-owner`)
	owner := func(s *structpb.Struct) string { return s.GetFields()["owner"].GetStringValue() }
	if owner(updated.GetBefore()) != "" || owner(updated.GetAfter()) != "team-a" {
		t.Errorf("owner before and after = %q and %q", owner(updated.GetBefore()), owner(updated.GetAfter()))
	}
	if got := updated.GetRequest().GetFields()["application"].GetStructValue().GetFields()["owner"].GetStringValue(); got != "team-a" {
		t.Errorf("request has owner %q", got)
	}
	w.env("shop", "dev")
	d := w.deploy("applications/shop/environments/dev", &catalogv1.Change{Variables: map[string]string{"LOG_LEVEL": "debug"}})
	if e := w.oneEvent(`action = deploy`); e.GetResource() != d.GetName() || e.GetAfter().GetFields()["kind"].GetStringValue() != "KIND_CHANGE" {
		t.Errorf("event of a deployment = %v", e)
	}
	if n := len(w.trail(`resource = applications/shop/environments/dev`)); n != 2 {
		t.Errorf("%d events are about the environment and what is below it, want 2", n)
	}
	_, err = w.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}})
	must(t, err)
	_, err = w.access.DeleteToken(ctx, &catalogv1.DeleteTokenRequest{Name: "tokens/ci"})
	must(t, err)
	gone := w.oneEvent(`method = "AccessService/DeleteToken"`)
	if gone.GetBefore().GetFields()["name"].GetStringValue() != "tokens/ci" || gone.GetAfter() != nil {
		t.Errorf("event of a removal = %v", gone)
	}
	got, err := w.access.GetAuditEvent(ctx, &catalogv1.GetAuditEventRequest{Name: gone.GetName()})
	must(t, err)
	if !proto.Equal(got, gone) {
		t.Errorf("GetAuditEvent gives another event than the list: %v", got)
	}
	_, err = w.access.GetAuditEvent(ctx, &catalogv1.GetAuditEventRequest{Name: "auditEvents/none"})
	wantError(t, err, codes.NotFound, errorsv1.Reason_REASON_NOT_FOUND)
}

func TestAuditHasWhatWasRefused(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	tok, err := w.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "reader", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}})
	must(t, err)
	reader, nobody := catalogv1.NewCatalogServiceClient(w.dial(tok.GetSecret())), catalogv1.NewCatalogServiceClient(w.dial("tow_wrong"))
	for id, call := range map[string]func(ctx context.Context) error{
		"denied": func(ctx context.Context) error {
			_, err := reader.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: "shop"})
			return err
		},
		"nobody": func(ctx context.Context) error {
			_, err := nobody.DeleteApplication(ctx, &catalogv1.DeleteApplicationRequest{Name: "applications/shop"})
			return err
		},
		"invalid": func(ctx context.Context) error {
			_, err := w.api.CreateApplication(ctx, &catalogv1.CreateApplicationRequest{ApplicationId: "No Such Id"})
			return err
		},
		"missing": func(ctx context.Context) error {
			_, err := w.api.Rollback(ctx, &catalogv1.RollbackRequest{Name: "applications/shop/environments/dev"})
			return err
		},
	} {
		if err := call(as(ctx, id)); err == nil {
			t.Errorf("%s: the call worked", id)
		}
	}
	for id, want := range map[string]string{
		"denied":  "tokens/reader PERMISSION_DENIED PERMISSION_DENIED manageApplications applications/shop",
		"nobody":  "unknown UNAUTHENTICATED UNAUTHENTICATED manageApplications applications/shop",
		"invalid": "tokens/bootstrap-admin INVALID_ARGUMENT INVALID_FIELD manageApplications applications/No Such Id",
		"missing": "tokens/bootstrap-admin NOT_FOUND NOT_FOUND rollback applications/shop/environments/dev",
	} {
		e := w.oneEvent("request_id = " + id)
		got := strings.Join([]string{e.GetActor(), e.GetCode(), e.GetReason(), e.GetAction(), e.GetResource()}, " ")
		if got != want || e.GetMessage() == "" || e.GetAfter() != nil {
			t.Errorf("%s: %s, message %q, want %s", id, got, e.GetMessage(), want)
		}
	}
}

func TestAuditOfCallersThatNobodyKnowsIsBounded(t *testing.T) {
	w := newWorld(t)
	const calls = 400
	nobody := catalogv1.NewCatalogServiceClient(w.dial("wrong"))
	for range calls {
		_, err := nobody.DeleteApplication(t.Context(), &catalogv1.DeleteApplicationRequest{Name: "applications/shop"})
		wantError(t, err, codes.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED)
	}
	if n := len(w.trail(`code = UNAUTHENTICATED`)); n < 100 || n > calls/2 {
		t.Errorf("%d of %d refused calls are in the trail, want between 100 and %d", n, calls, calls/2)
	}
	eventually(t, func() error { // the next that is recorded tells how many were not
		_, _ = nobody.DeleteApplication(t.Context(), &catalogv1.DeleteApplicationRequest{Name: "applications/shop"})
		for _, e := range w.trail(`code = UNAUTHENTICATED`) {
			if strings.Contains(e.GetMessage(), "are not in the trail") {
				return nil
			}
		}
		return fmt.Errorf("no event tells how many were left out")
	})
}

// Each write of a resource on behalf of a call has its event in the same transaction.
func TestNoChangeIsCommittedWithoutItsAuditEvent(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	begin, err := store.Revision(ctx, w.kv)
	must(t, err)
	w.app("shop")
	w.env("shop", "dev")
	for i := range 3 {
		w.deploy("applications/shop/environments/dev", &catalogv1.Change{Variables: map[string]string{"N": fmt.Sprint(i)}})
	}
	_, err = w.api.UpdateEnvironment(ctx, &catalogv1.UpdateEnvironmentRequest{Environment: &catalogv1.Environment{
		Name: "applications/shop/environments/dev", DisplayName: "Dev",
	}})
	must(t, err)
	w.app("other")
	_, err = w.api.DeleteApplication(ctx, &catalogv1.DeleteApplicationRequest{Name: "applications/other"})
	must(t, err)
	end, err := store.Revision(ctx, w.kv)
	must(t, err)
	w.app("last") // what is behind the end, for the log to be read over it
	recorded, changed := map[int64]bool{}, map[int64]string{}
	for c, err := range w.kv.Watch(ctx, "", begin) {
		must(t, err)
		if c.Rev > end {
			break
		}
		switch {
		case strings.HasPrefix(c.Key, "auditEvents/"):
			recorded[c.Rev] = true
		case strings.HasPrefix(c.Key, "applications/"), strings.HasPrefix(c.Key, "environments/"):
			changed[c.Rev] = c.Key
		}
	}
	if len(changed) != 8 {
		t.Errorf("%d transactions changed resources, want 8", len(changed))
	}
	for rev, key := range changed {
		if !recorded[rev] {
			t.Errorf("revision %d writes %s and no audit event", rev, key)
		}
	}
}

// planted is a secret that stands in every place of a request where one can.
const planted = "PLANTED0AbCdEfGhIjKlMnOpQrStUvWxYz"

// plant fills all fields of a message. What must be left out has the planted secret in it.
func plant(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	if m.Descriptor().FullName() == "google.protobuf.Struct" {
		s, _ := structpb.NewStruct(map[string]any{"variables": map[string]any{"DB_PASSWORD": planted, "list": []any{"tow_" + planted}}})
		b, _ := proto.Marshal(s)
		_ = proto.Unmarshal(b, m.Interface())
		return
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case depth > 5 && fd.Message() != nil:
		case fd.IsMap() && fd.MapKey().Kind() == protoreflect.StringKind && fd.MapValue().Kind() == protoreflect.StringKind:
			m.Mutable(fd).Map().Set(protoreflect.ValueOfString("API_TOKEN").MapKey(), protoreflect.ValueOfString(planted))
		case fd.IsMap():
		case fd.IsList() && fd.Message() != nil:
			plant(m.Mutable(fd).List().AppendMutable().Message(), depth+1)
		case fd.IsList() && fd.Kind() == protoreflect.StringKind:
			m.Mutable(fd).List().Append(protoreflect.ValueOfString("containers.main.variables.PASSWORD=" + planted))
		case fd.IsList():
		case fd.Message() != nil && fd.Message().FullName() != "google.protobuf.Value":
			plant(m.Mutable(fd).Message(), depth+1)
		case fd.Kind() == protoreflect.BytesKind:
			m.Set(fd, protoreflect.ValueOfBytes([]byte(planted)))
		case fd.Kind() == protoreflect.StringKind && (fd.Name() == "secret" || fd.Name() == "token" || fd.Name() == "password"):
			m.Set(fd, protoreflect.ValueOfString(planted))
		case fd.Kind() == protoreflect.StringKind && fd.Name() == "key":
			m.Set(fd, protoreflect.ValueOfString("DB_PASSWORD"))
		case fd.Kind() == protoreflect.StringKind:
			m.Set(fd, protoreflect.ValueOfString("https://ada:"+planted+"@example.com tow_"+planted))
		}
	}
}

// eachMutating calls f for each unary method of the catalog's services that is recorded.
func eachMutating(f func(full string, d protoreflect.MethodDescriptor)) {
	protoregistry.GlobalFiles.RangeFilesByPackage("towpath.catalog.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				d := methods.Get(j)
				full := "/" + string(d.Parent().FullName()) + "/" + string(d.Name())
				if audit.Mutates(full) && !d.IsStreamingClient() && !d.IsStreamingServer() {
					f(full, d)
				}
			}
		}
		return true
	})
}

func TestNoSecretReachesTheAuditTrailByAnyMethod(t *testing.T) {
	w := newWorld(t)
	n := 0
	eachMutating(func(full string, d protoreflect.MethodDescriptor) {
		n++
		req := dynamicpb.NewMessage(d.Input())
		plant(req, 0)
		id := fmt.Sprintf("planted-%d", n)
		err := w.conn.Invoke(as(t.Context(), id), full, req, dynamicpb.NewMessage(d.Output()))
		if err == nil {
			t.Errorf("%s: a request full of nonsense was accepted", full)
		}
		e := w.oneEvent("request_id = " + id)
		if e.GetMethod() != audit.ShortMethod(full) || e.GetCode() == "OK" || e.GetRequest() == nil {
			t.Errorf("%s: event = %v", full, e)
		}
		if status.Code(err) == codes.Unavailable {
			t.Errorf("%s: %v", full, err)
		}
	})
	if n < 40 {
		t.Errorf("only %d methods were tried", n)
	}
	noneHas(t, w.kv, planted)
}

func TestNoSecretReachesTheAuditTrailByWorkingCalls(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.app("shop")
	w.env("shop", "dev")
	tok, err := w.access.CreateToken(ctx, &catalogv1.CreateTokenRequest{TokenId: "ci", Token: &catalogv1.Token{Role: catalogv1.Token_ROLE_VIEWER}})
	must(t, err)
	_, err = w.api.CreateDeployment(ctx, &catalogv1.CreateDeploymentRequest{Parent: "applications/shop/environments/dev", Change: &catalogv1.Change{
		Scores:    []*rendererv1.ScoreFile{{Filename: "score.yaml", Content: []byte("api"), Overrides: []byte(planted), Image: "nginx"}},
		Variables: map[string]string{"LOG_LEVEL": "info"},
	}})
	must(t, err)
	if got := w.oneEvent("action = deploy").GetRequest().GetFields()["change"].GetStructValue().GetFields()["variables"].GetStructValue().GetFields()["LOG_LEVEL"].GetStringValue(); got != "info" {
		t.Errorf("the request's harmless variable is %q in the trail", got)
	}
	noneHas(t, w.kv, planted)
	noneHas(t, w.kv, tok.GetSecret())
	row, err := w.kv.Get(ctx, "tokens/ci")
	must(t, err)
	stored := &catalogv1.Token{}
	must(t, proto.Unmarshal(row.Value, stored))
	if stored.GetSecret() == "" {
		t.Fatal("the token's row has no hash")
	}
	noneHas(t, w.kv, stored.GetSecret())
}

// noneHas looks at the rows themselves: what is left out only when it is shown would still be in every backup.
func noneHas(t *testing.T, kv store.KV, secret string) {
	t.Helper()
	n := 0
	for e, err := range store.All(t.Context(), kv, "auditEvents/") {
		must(t, err)
		n++
		if strings.Contains(string(e.Value), secret) {
			t.Errorf("%s has the secret: %q", e.Key, e.Value)
		}
	}
	if n == 0 {
		t.Error("there are no audit events")
	}
}

func TestAuditIsListedInPagesNewestFirst(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for i := range 25 {
		w.app(fmt.Sprintf("app-%02d", i))
	}
	var names []string
	token := ""
	for {
		l, err := w.access.ListAuditEvents(ctx, &catalogv1.ListAuditEventsRequest{PageSize: 10, PageToken: token, Filter: `method = "CatalogService/CreateApplication"`})
		must(t, err)
		for _, e := range l.GetAuditEvents() {
			names = append(names, e.GetResource())
		}
		if token = l.GetNextPageToken(); token == "" {
			break
		}
		_, err = w.access.ListAuditEvents(ctx, &catalogv1.ListAuditEventsRequest{PageToken: token})
		wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_PAGE_TOKEN)
	}
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("applications/app-%02d", 24-i))
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	all := w.trail("")
	at := all[10].GetTime().AsTime()
	bounded := w.trail(fmt.Sprintf("time >= %q AND time <= %q", at.Format(time.RFC3339Nano), all[5].GetTime().AsTime().Format(time.RFC3339Nano)))
	if len(bounded) != 6 || bounded[0].GetName() != all[5].GetName() || bounded[5].GetName() != all[10].GetName() {
		t.Errorf("%d events between two times, want 6", len(bounded))
	}
	_, err := w.access.ListAuditEvents(ctx, &catalogv1.ListAuditEventsRequest{Filter: `colour = red`})
	if e := wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD); e.Fields[0].Path != "filter" {
		t.Errorf("the error names %v, want the filter", e.Fields)
	}
}

func TestWatchOfTheAuditTrailCanBeResumed(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.app("first")
	watch, err := w.access.WatchAuditEvents(ctx, &catalogv1.WatchAuditEventsRequest{})
	must(t, err)
	var seen []string
	next := func(s grpc.ServerStreamingClient[catalogv1.WatchAuditEventsResponse]) *catalogv1.WatchAuditEventsResponse {
		m, err := s.Recv()
		must(t, err)
		if m.GetAuditEvent() != nil {
			seen = append(seen, m.GetAuditEvent().GetResource())
		}
		return m
	}
	next(watch)
	bookmark := next(watch)
	if !bookmark.GetCaughtUp() {
		t.Errorf("after the only event comes %v, want the bookmark", bookmark)
	}
	w.app("second")
	token := next(watch).GetResumeToken()
	w.app("third")
	again, err := w.access.WatchAuditEvents(ctx, &catalogv1.WatchAuditEventsRequest{ResumeToken: token})
	must(t, err)
	next(again)
	if want := []string{"applications/first", "applications/second", "applications/third"}; !slices.Equal(seen, want) {
		t.Errorf("seen = %v, want %v", seen, want)
	}
	for token, want := range map[string]codes.Code{"nonsense": codes.InvalidArgument, "r-1": codes.InvalidArgument, "rzzzzzzz": codes.OutOfRange} {
		s, err := w.access.WatchAuditEvents(ctx, &catalogv1.WatchAuditEventsRequest{ResumeToken: token})
		must(t, err)
		if _, err := s.Recv(); status.Code(err) != want {
			t.Errorf("token %q: %v, want %s", token, err, want)
		}
	}
}

func TestAuditOfOtherServicesIsTakenInOnce(t *testing.T) {
	w := newWorld(t)
	p := audit.NewPublisher(w.outside, "drift", quiet())
	call := &rpc.Call{
		Method: "/towpath.drift.v1.DriftService/SyncEnvironment", Caller: "users/ada", RequestID: "sync-1", Peer: "192.0.2.1",
		Request: &driftv1.SyncEnvironmentRequest{Name: "applications/shop/environments/dev"},
	}
	ctx := p.Begin(t.Context(), call)
	p.End(ctx, call, nil)
	failed := *call
	failed.RequestID = "sync-2"
	p.End(ctx, &failed, rpc.ToStatus(errs.New(errs.Unavailable, errorsv1.Reason_REASON_CLUSTER_UNAVAILABLE, "no cluster"), "").Err())
	eventually(t, func() error {
		if n := len(w.trail("action = sync")); n != 2 {
			return fmt.Errorf("%d events of syncs, want 2", n)
		}
		return nil
	})
	e := w.oneEvent("request_id = sync-1")
	if e.GetActor() != "users/ada" || e.GetResource() != "applications/shop/environments/dev" || e.GetCode() != "OK" || e.GetPeer() != "192.0.2.1" ||
		e.GetRequest().GetFields()["name"].GetStringValue() != "applications/shop/environments/dev" {
		t.Errorf("event = %v", e)
	}
	if e := w.oneEvent("request_id = sync-2"); e.GetCode() != "UNAVAILABLE" || e.GetReason() != "CLUSTER_UNAVAILABLE" {
		t.Errorf("event of a failure = %v", e)
	}
	// A second delivery of the same event, by another message.
	again := proto.CloneOf(e)
	must(t, w.outside.Publish(t.Context(), events.Message{
		Subject: "towpath.evt.shop.dev.audit", ID: "again", Type: "dev.towpath.audit", Source: "//towpath.dev/test", Resource: e.GetName(), Body: again,
	}))
	p.End(ctx, call, nil) // behind it, so that when this one is there the other was
	eventually(t, func() error {
		if n := len(w.trail("action = sync")); n != 3 {
			return fmt.Errorf("%d events of syncs, want 3", n)
		}
		return nil
	})
	// Who may watch events sees none of the trail.
	stream, err := eventsv1.NewEventServiceClient(w.conn).WatchEvents(t.Context(), &eventsv1.WatchEventsRequest{StoredOnly: true})
	must(t, err)
	for {
		m, err := stream.Recv()
		if err != nil {
			break
		}
		if m.GetType() == "audit" {
			t.Errorf("WatchEvents tells of %s", m.GetSubject())
		}
	}
}

func TestAuditEventsGoOutAfterAnOutageOfTheEventServer(t *testing.T) {
	b := &failingBus{left: 3, sent: make(chan events.Message, 1)}
	p := audit.NewPublisher(b, "drift", quiet())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	p.End(ctx, &rpc.Call{Method: "/towpath.drift.v1.DriftService/SyncEnvironment", Caller: "users/ada"}, nil)
	select {
	case m := <-b.sent:
		if m.Subject != "towpath.evt._._.audit" {
			t.Errorf("subject = %s", m.Subject)
		}
	case <-time.After(20 * time.Second):
		t.Error("the event was not sent within 20 s")
	}
	cancel()
	must(t, <-ended)
}

// failingBus refuses the first messages.
type failingBus struct {
	left int
	sent chan events.Message
}

func (b *failingBus) Publish(_ context.Context, m events.Message) error {
	if b.left--; b.left >= 0 {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_EVENTS_UNAVAILABLE, "the event server is away")
	}
	b.sent <- m
	return nil
}
