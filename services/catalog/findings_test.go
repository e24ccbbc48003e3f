package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/internal/store/memkv"
)

func (w *world) findings() catalogv1.FindingServiceClient {
	return catalogv1.NewFindingServiceClient(w.conn)
}

// policies follows the policies of environments.
func (w *world) policies() <-chan *eventsv1.EnvironmentPolicy {
	ctx, cancel := context.WithCancel(context.Background())
	out, done := make(chan *eventsv1.EnvironmentPolicy, 100), make(chan struct{})
	go func() {
		defer close(done)
		for d, err := range w.bus.Tail(ctx, events.TailConfig{Stream: events.StreamPolicies, LastPerSubject: true}) {
			if events.IsTarget(d.Subject) {
				continue
			}
			p := &eventsv1.EnvironmentPolicy{}
			if err == nil {
				err = d.Decode(p)
			}
			if err != nil {
				w.t.Errorf("policy: %v", err)
				return
			}
			out <- p
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return out
}

func policyWith(t *testing.T, from <-chan *eventsv1.EnvironmentPolicy, what string, holds func(*eventsv1.EnvironmentPolicy) bool) *eventsv1.EnvironmentPolicy {
	t.Helper()
	var last *eventsv1.EnvironmentPolicy
	deadline := time.After(20 * time.Second)
	for {
		select {
		case p := <-from:
			if p.GetRevision() <= last.GetRevision() {
				t.Fatalf("revision %d came behind %d", p.GetRevision(), last.GetRevision())
			}
			if last = p; holds(p) {
				return p
			}
		case <-deadline:
			t.Fatalf("no policy with %s; the last was %v", what, last)
		}
	}
}

func TestAPolicyIsToldWhenARuleTheTypeOrTheEnvironmentChanges(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	env := w.env("shop", "dev").GetName()
	got := w.policies()
	policyWith(t, got, "its type's defaults", func(p *eventsv1.EnvironmentPolicy) bool { return p.GetEnvironment() == env })

	made, err := w.findings().IgnoreFindings(t.Context(), &catalogv1.IgnoreFindingsRequest{
		Parent: env, Reason: "the scanner sets it", Rule: &driftv1.IgnoreRule{ObjectKind: "Service", Field: "metadata.labels[*]"},
	})
	must(t, err)
	policyWith(t, got, "the rule", func(p *eventsv1.EnvironmentPolicy) bool { return len(p.GetIgnores()) == 1 })

	typ, err := w.api.GetEnvironmentType(t.Context(), &catalogv1.GetEnvironmentTypeRequest{Name: "environmentTypes/development"})
	must(t, err)
	_, err = w.api.UpdateEnvironmentType(t.Context(), &catalogv1.UpdateEnvironmentTypeRequest{
		EnvironmentType: &catalogv1.EnvironmentType{Name: typ.GetName(), SelfHeal: !typ.GetSelfHeal()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"self_heal"}},
	})
	must(t, err)
	policyWith(t, got, "another self_heal", func(p *eventsv1.EnvironmentPolicy) bool { return p.GetSelfHeal() != typ.GetSelfHeal() })

	_, err = w.findings().DeleteIgnoreRule(t.Context(), &catalogv1.DeleteIgnoreRuleRequest{Name: made.GetRules()[0].GetName()})
	must(t, err)
	policyWith(t, got, "no rule", func(p *eventsv1.EnvironmentPolicy) bool { return len(p.GetIgnores()) == 0 })

	_, err = w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: env})
	must(t, err)
	policyWith(t, got, "its end", func(p *eventsv1.EnvironmentPolicy) bool { return p.GetRemoved() })
}

func TestALostStreamOfPoliciesIsRefilledAtTheStart(t *testing.T) {
	w := newWorld(t)
	w.app("shop")
	env := w.env("shop", "dev").GetName()
	policyWith(t, w.policies(), "its type's", func(p *eventsv1.EnvironmentPolicy) bool { return p.GetEnvironment() == env })
	w.stop()
	subject, err := events.PolicySubject("shop", "dev")
	must(t, err)
	must(t, w.bus.DropPolicy(t.Context(), subject, 1<<40))
	got := w.policies()
	w.start()
	policyWith(t, got, "its type's again", func(p *eventsv1.EnvironmentPolicy) bool { return p.GetEnvironment() == env })
}

// found makes a finding of the environment that began some seconds after the epoch of the test.
func found(env, id string, onset time.Time) *driftv1.Finding {
	return &driftv1.Finding{
		Name: env + "/findings/" + id, Kind: driftv1.Finding_KIND_EXTRA, ApiVersion: "v1", ObjectKind: "Service", ObjectName: "web",
		Field: "spec.ports[port=80]", Manager: "kubectl-patch", DetectTime: timestamppb.New(onset),
	}
}

func over(f *driftv1.Finding, at time.Time, how, by string) *driftv1.Finding {
	f = proto.CloneOf(f)
	f.ResolveTime, f.Resolution, f.DecideActor, f.DecideTime = timestamppb.New(at), how, by, timestamppb.New(at)
	return f
}

func TestRecordsAreTheSameInWhateverOrderAndHoweverOftenEventsCome(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	const env = "applications/shop/environments/dev"
	type event struct {
		kind string
		at   time.Time
		body proto.Message
	}
	detected := func(s int, f *driftv1.Finding) event {
		return event{"drift.detected", at(s), &eventsv1.DriftDetected{Environment: env, Finding: f, Open: 1}}
	}
	resolved := func(s int, f *driftv1.Finding) event {
		return event{"drift.resolved", at(s), &eventsv1.DriftResolved{Environment: env, Finding: f}}
	}
	first, again, other := found(env, "a", at(1)), found(env, "a", at(5)), found(env, "b", at(2))
	all := []event{
		detected(1, first), resolved(3, over(first, at(3), "reverted", "users/ada")), detected(5, again),
		detected(2, other), resolved(7, over(other, at(7), "healed", "towpath")),
	}
	for seed := range uint64(12) {
		kv := memkv.New()
		w, b := lightWorld(t, kv)
		w.app("shop")
		w.env("shop", "dev")
		handle := <-b.handler
		r := rand.New(rand.NewPCG(seed, 1))
		order := append(r.Perm(len(all)), r.Perm(len(all))...)
		for _, i := range order {
			must(t, handle(t.Context(), delivery(all[i].kind, all[i].at, all[i].body)))
		}
		l, err := w.findings().ListFindingRecords(t.Context(), &catalogv1.ListFindingRecordsRequest{Parent: env})
		must(t, err)
		var got []string
		for _, rec := range l.GetFindingRecords() {
			got = append(got, fmt.Sprint(rec.GetFinding().GetName()[len(env)+10:], rec.GetOnsetTime().AsTime().Sub(start), " ", rec.GetEndTime() != nil, " ", rec.GetDecision(), " ", rec.GetDecideActor()))
		}
		want := "a5s false DECISION_UNSPECIFIED |b2s true DECISION_HEALED towpath|a1s true DECISION_REVERTED users/ada"
		// Where the end of an earlier one comes behind the beginning of a later one, the earlier has ended by then.
		alt := strings.Replace(want, "DECISION_REVERTED users/ada", "DECISION_UNDONE ", 1)
		if s := strings.Join(got, "|"); s != want && s != alt {
			t.Errorf("order %v: %s, want %s", order, s, want)
		}
		open, err := w.findings().ListFindingRecords(t.Context(), &catalogv1.ListFindingRecordsRequest{Parent: "applications/-/environments/-", Filter: "open = true"})
		must(t, err)
		if len(open.GetFindingRecords()) != 1 {
			t.Errorf("order %v: %d are open", order, len(open.GetFindingRecords()))
		}
		w.stop()
	}
}

func TestRecordsAreFilteredPagedAndOutliveTheirEnvironment(t *testing.T) {
	w, b := lightWorld(t, memkv.New())
	w.app("shop")
	env := w.env("shop", "dev").GetName()
	handle := <-b.handler
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 7 {
		f := found(env, fmt.Sprint("f", i), start.Add(time.Duration(i)*time.Minute))
		must(t, handle(t.Context(), delivery("drift.detected", f.GetDetectTime().AsTime(), &eventsv1.DriftDetected{Environment: env, Finding: f, Open: 1})))
	}
	count := func(parent, filter string) int {
		t.Helper()
		n, token := 0, ""
		for {
			l, err := w.findings().ListFindingRecords(t.Context(), &catalogv1.ListFindingRecordsRequest{Parent: parent, Filter: filter, PageSize: 2, PageToken: token})
			must(t, err)
			n += len(l.GetFindingRecords())
			if token = l.GetNextPageToken(); token == "" {
				return n
			}
		}
	}
	since := fmt.Sprintf("onset_time > %q", start.Add(2*time.Minute).UTC().Format(time.RFC3339))
	for _, c := range []struct {
		parent, filter string
		want           int
	}{
		{env, "", 7}, {env, "open = true", 7}, {env, "open = false", 0}, {"applications/-/environments/-", "", 7}, {"applications/shop/environments/-", "open = true", 7},
		{env, since, 4}, {"applications/-/environments/-", since, 4}, {env, `kind = "Service" AND manager = "kubectl-patch"`, 7}, {env, "where = GIT", 0}, {env, "decision = REVERTED", 0},
	} {
		if n := count(c.parent, c.filter); n != c.want {
			t.Errorf("%s %q: %d records, want %d", c.parent, c.filter, n, c.want)
		}
	}
	_, err := w.findings().ListFindingRecords(t.Context(), &catalogv1.ListFindingRecordsRequest{Parent: env, Filter: "colour = red"})
	wantError(t, err, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD)
	_, err = w.api.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: env})
	must(t, err)
	if n := count(env, "decision = DEPLOYED"); n != 7 {
		t.Errorf("%d records ended with their environment, want 7", n)
	}
	for e, err := range store.All(t.Context(), w.kv, "openFindings/") {
		must(t, err)
		t.Errorf("%s is left", e.Key)
	}
}

func TestWhatCannotBeIgnoredIsRefused(t *testing.T) {
	w, _ := lightWorld(t, memkv.New())
	w.app("shop")
	env := w.env("shop", "dev").GetName()
	for name, c := range map[string]struct {
		req    *catalogv1.IgnoreFindingsRequest
		code   codes.Code
		reason errorsv1.Reason
	}{
		"neither findings nor a rule":      {&catalogv1.IgnoreFindingsRequest{}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a rule for everything":            {&catalogv1.IgnoreFindingsRequest{Rule: &driftv1.IgnoreRule{}}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a rule that is over":              {&catalogv1.IgnoreFindingsRequest{Rule: &driftv1.IgnoreRule{Field: "spec"}, ExpireTime: timestamppb.New(time.Now().Add(-time.Hour))}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a finding of another environment": {&catalogv1.IgnoreFindingsRequest{Names: []string{"applications/shop/environments/x/findings/1"}}, codes.InvalidArgument, errorsv1.Reason_REASON_INVALID_FIELD},
		"a finding that is not there":      {&catalogv1.IgnoreFindingsRequest{Names: []string{env + "/findings/1"}}, codes.FailedPrecondition, errorsv1.Reason_REASON_FINDING_GONE},
	} {
		t.Run(name, func(t *testing.T) {
			c.req.Parent, c.req.Reason = env, "why"
			_, err := w.findings().IgnoreFindings(t.Context(), c.req)
			wantError(t, err, c.code, c.reason)
		})
	}
}
