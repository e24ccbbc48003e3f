package events_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/events/eventstest"
)

func TestTheRecordOfAPullRequestIsTheLastOneAndGoesAlone(t *testing.T) {
	server := eventstest.Start(t)
	committer, catalog := eventstest.Connect(t, server, events.RoleCommitter), eventstest.Connect(t, server, events.RoleCatalog)
	subject, err := events.PullSubject("shop", "dev")
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := committer.LastPull(t.Context(), subject); err != nil || found {
		t.Fatalf("a record before there is one: %v, %v", found, err)
	}
	put := func(text string) {
		t.Helper()
		err := committer.Publish(t.Context(), events.Message{
			Subject: subject, ID: text, Type: "dev.towpath.pull", Source: "//towpath.dev/committer", Body: wrapperspb.String(text),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	first, found, err := committer.LastPull(t.Context(), subject)
	if err != nil || !found {
		t.Fatalf("no record: %v", err)
	}
	put("second")
	if err := committer.DropPull(t.Context(), subject, first.Sequence); err != nil {
		t.Fatal(err)
	}
	second, found, err := catalog.LastPull(t.Context(), subject)
	if err != nil || !found || second.ID != "second" {
		t.Fatalf("the record that was stored later is %q, %v, %v", second.ID, found, err)
	}
	var body wrapperspb.StringValue
	if err := second.Decode(&body); err != nil || body.GetValue() != "second" {
		t.Fatalf("its body is %q, %v", body.GetValue(), err)
	}
	if err := committer.DropPull(t.Context(), subject, second.Sequence); err != nil {
		t.Fatal(err)
	}
	if _, found, err := catalog.LastPull(t.Context(), subject); err != nil || found {
		t.Fatalf("a record after it was dropped: %v, %v", found, err)
	}
	operator := eventstest.Connect(t, server, events.RoleOperator)
	if _, _, err := operator.LastPull(t.Context(), subject); !errs.Is(err, errs.Denied) {
		t.Fatalf("an operator reads a record: %v", err)
	}
}
