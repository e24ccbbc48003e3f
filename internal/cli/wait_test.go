package cli_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

var wait = strings.Fields("deploy -e shop/dev --remove api --wait")

// step is deployment 4 in a state, after phases of the given lengths.
func step(state catalogv1.Deployment_State, took ...time.Duration) *catalogv1.Deployment {
	d := &catalogv1.Deployment{
		Name: dev + "/deployments/4", Generation: 4, State: state, CreateTime: at(0), Phases: phases(0, state, took...),
		Commit: strings.Repeat("4", 40), Tree: strings.Repeat("d", 40),
	}
	total := time.Duration(0)
	for _, t := range took {
		total += t
	}
	switch state {
	case catalogv1.Deployment_STATE_HEALTHY, catalogv1.Deployment_STATE_DEGRADED, catalogv1.Deployment_STATE_FAILED, catalogv1.Deployment_STATE_SUPERSEDED:
		d.EndTime = at(-total)
	}
	return d
}

const ms = time.Millisecond

func waiting(why string) *catalogv1.Deployment {
	d := step(catalogv1.Deployment_STATE_COMMITTING, 3*ms, 12*ms)
	d.WaitingReason = why
	return d
}

func ended(state catalogv1.Deployment_State, stage, message string) *catalogv1.Deployment {
	d := step(state, 3*ms, 12*ms)
	if message != "" {
		d.Error = &catalogv1.Failure{Stage: stage, Message: message}
	}
	return d
}

var well = step(catalogv1.Deployment_STATE_HEALTHY, 3*ms, 12*ms, 45*ms, 2300*ms)

func TestWaitShowsPhases(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{
		step(catalogv1.Deployment_STATE_PENDING), waiting("the Git host does not answer; tried 3 times"), waiting("the Git host does not answer; tried 3 times"),
		step(catalogv1.Deployment_STATE_SYNCING, 3*ms, 12*ms, 45*ms), well,
	}}
	want := `applications/shop/environments/dev/deployments/4
PENDING 3ms
RENDERING 12ms
COMMITTING waits: the Git host does not answer; tried 3 times
COMMITTING 45ms
SYNCING 2.30s
state    HEALTHY after 2.36s
commit   4444444444444444444444444444444444444444
tree     dddddddddddddddddddddddddddddddddddddddd
`
	if diff := cmp.Diff(want, run(t, f, wait).want(t, 0).stdout); diff != "" {
		t.Error(diff)
	}
}

func TestWaitExitCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		end  *catalogv1.Deployment
		code int
		says string
	}{
		"healthy is good": {well, 0, ""},
		"degraded is 3": {ended(catalogv1.Deployment_STATE_DEGRADED, "sync", "Deployment/api: 0/1 ready"), 3, "deployment/api DEGRADED 0/1 ready\n" +
			"  Pod/api-1 FailedScheduling (3 times, last 12s ago): no node has 64 GiB\n" +
			"error: shop/dev #4 ended DEGRADED at sync: Deployment/api: 0/1 ready\n" +
			"hint: tow get -e shop/dev deployment/api --events shows all that the cluster says; tow rollback -e shop/dev goes back to what ran before\n"},
		"failed is 3":     {ended(catalogv1.Deployment_STATE_FAILED, "commit", "the branch is protected"), 3, "error: shop/dev #4 ended FAILED at commit: the branch is protected\nhint: tow history -e shop/dev 4 shows all of it\n"},
		"superseded is 3": {ended(catalogv1.Deployment_STATE_SUPERSEDED, "", ""), 3, "error: shop/dev #4 ended SUPERSEDED: a later deployment took its place\nhint: tow wait -e shop/dev follows the one that took its place\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			f.watch = [][]*catalogv1.Deployment{{tc.end}}
			if r := run(t, f, wait).want(t, tc.code); r.stderr != tc.says {
				t.Errorf("it says %q", r.stderr)
			}
		})
	}
}

func TestWaitTimesOut(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{step(catalogv1.Deployment_STATE_SYNCING, 3*ms, 12*ms, 45*ms)}}
	r := run(t, f, append(wait, "--timeout", "150ms")).want(t, 4)
	if !strings.Contains(r.stderr, "shop/dev #4 is still SYNCING after 150ms") || !strings.Contains(r.stderr, "hint: tow wait -e shop/dev 4") {
		t.Errorf("it says %q", r.stderr)
	}
}

// With -o json the output is one object and the phases go beside it.
func TestWaitKeepsJSONClean(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{well}}
	r := run(t, f, append(wait, "-o", "json")).want(t, 0)
	if !strings.HasPrefix(r.stdout, "{\n") || !strings.Contains(r.stdout, `"state": "STATE_HEALTHY"`) || !strings.Contains(r.stderr, "SYNCING 2.30s\n") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
}

// At a terminal the present phase runs on one line; what stays is what a script sees.
func TestWaitAtATerminal(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{waiting(strings.Repeat("long ", 40)), well}}
	r := run(t, f, wait, terminal(""), setenv("NO_COLOR", "1")).want(t, 0)
	var stays strings.Builder
	for line := range strings.Lines(r.stdout) {
		stays.WriteString(line[strings.LastIndex(line, "\x1b[K")+1:])
		for shown := range strings.SplitSeq(line, "\r\x1b[K") {
			if len([]rune(shown)) > 80 {
				t.Errorf("wider than the terminal: %q", shown)
			}
		}
	}
	if !strings.Contains(stays.String(), "COMMITTING 45ms\n") || strings.Contains(stays.String(), "waits") {
		t.Errorf("what stays is %q", stays.String())
	}
}

// Whoever waits for a review gets its address once, to click on, and is told what it waits for.
func TestWaitShowsThePullRequest(t *testing.T) {
	review := func(why string) *catalogv1.Deployment {
		d := step(catalogv1.Deployment_STATE_PULL_REQUEST_OPEN, 3*ms, 12*ms, 45*ms)
		d.PullRequest = &catalogv1.PullRequest{Url: "https://git.test/pulls/7", Number: 7, State: catalogv1.PullRequest_STATE_OPEN}
		d.WaitingReason = "the pull request https://git.test/pulls/7 waits for " + why
		return d
	}
	closed := ended(catalogv1.Deployment_STATE_REJECTED, "review", "the pull request https://git.test/pulls/7 was closed without a merge by grace")
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{review("1 approval"), review("checks"), closed}}
	r := run(t, f, wait).want(t, 3)
	if strings.Count(r.stdout, "pull request https://git.test/pulls/7\n") != 1 || !strings.Contains(r.stdout, "waits for 1 approval\n") ||
		!strings.Contains(r.stdout, "waits for checks\n") || !strings.Contains(r.stderr, "closed without a merge by grace") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
}

// A server that restarts while somebody waits is not noticed.
func TestWaitGoesOnAfterARestart(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{step(catalogv1.Deployment_STATE_SYNCING, 3*ms, 12*ms, 45*ms)}, {}, {well}}
	r := run(t, f, wait).want(t, 0)
	if strings.Count(r.stdout, "SYNCING") != 1 || r.stderr != "" {
		t.Errorf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
}

// A server that stays away is given up in the end; where the deployment is found is told.
func TestWaitGivesUp(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{waiting("x")}, {}}
	f.fail("WatchDeployment", append([]error{nil}, slicesRepeat(unavailable(), 100)...)...)
	r := run(t, f, wait, setenv("TOW_RETRY", "20ms")).want(t, 8)
	if !strings.Contains(r.stderr, "error: the store does not answer\nhint: the deployment goes on without us; tow wait -e shop/dev 4 follows it again") {
		t.Errorf("it says %q", r.stderr)
	}
}

func TestWaitLeavesNothingBehind(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{well}}
	run(t, f, wait).want(t, 0) // the first run starts what stays for the process
	before := goleak.IgnoreCurrent()
	f.watch = [][]*catalogv1.Deployment{{waiting("x"), well}}
	run(t, f, wait).want(t, 0)
	goleak.VerifyNone(t, before)
}

func unavailable() error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "the store does not answer")
}

func TestRetriesCarryTheSameRequestID(t *testing.T) {
	for _, tc := range []struct{ line, method string }{
		{"set A=1 -e shop/dev", "CreateDeployment"}, {"rollback -e shop/dev --yes", "Rollback"}, {"app create new", "CreateApplication"},
		{"env delete shop/dev --yes", "DeleteEnvironment"},
	} {
		f := startFake(t)
		f.fail(tc.method, unavailable(), unavailable())
		run(t, f, strings.Fields(tc.line)).want(t, 0)
		ids := map[string]bool{}
		for _, m := range f.called(tc.method) {
			ids[m.(interface{ GetRequestId() string }).GetRequestId()] = true
		}
		if len(f.called(tc.method)) != 3 || len(ids) != 1 || ids[""] {
			t.Errorf("%s: %d calls with the ids %v", tc.line, len(f.called(tc.method)), ids)
		}
	}
}

// What would happen twice is not tried twice.
func TestNoRetryWithoutRequestID(t *testing.T) {
	f := startFake(t)
	f.fail("CreateToken", unavailable())
	f.fail("UpdateApplication", unavailable())
	run(t, f, strings.Fields("token create ci --role viewer")).want(t, 8)
	run(t, f, strings.Fields("app update shop --owner x")).want(t, 8)
	if len(f.called("CreateToken")) != 1 || len(f.called("UpdateApplication")) != 1 {
		t.Error("it was tried again")
	}
}

func TestRetryEnds(t *testing.T) {
	f := startFake(t)
	f.fail("ListTokens", slicesRepeat(unavailable(), 100)...)
	r := run(t, f, strings.Fields("token list"), setenv("TOW_RETRY", "300ms")).want(t, 8)
	if r.stderr != "error: the store does not answer\n" || len(f.called("ListTokens")) < 2 {
		t.Errorf("after %d calls it says %q", len(f.called("ListTokens")), r.stderr)
	}
}

func slicesRepeat(err error, n int) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}

// A server that is just starting is waited for, whatever the call.
func TestWaitsForAServerThatStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: l.Addr().String(), faults: map[string][]error{}, calls: map[string][]proto.Message{}}
	l.Close()
	done := make(chan result)
	go func() { done <- run(t, f, strings.Fields("token create ci --role viewer"), setenv("TOW_RETRY", "20s")) }()
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %+v", r)
	case <-time.After(300 * ms):
	}
	later := &fake{faults: map[string][]error{}, calls: map[string][]proto.Message{}}
	later.serve(t, f.addr)
	(<-done).want(t, 0)
}

func TestEventsFollowGoesOnWhereItWas(t *testing.T) {
	f := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result)
	var out output
	go func() {
		done <- runContext(ctx, t, f, strings.Fields("events --follow --since 2h -o json"), stdoutTo(&out))
	}()
	await(t, "the events are shown", func() bool { return strings.Count(out.String(), "\n") == 4 })
	f.grpc.Stop() // in the middle of the stream
	f.serve(t, f.addr)
	await(t, "they are watched again", func() bool { return len(f.called("WatchEvents")) == 2 })
	cancel()
	(<-done).want(t, 130)
	again := f.called("WatchEvents")[1].(*eventsv1.WatchEventsRequest)
	if lines := strings.Count(out.String(), "\n"); lines != 4 || again.GetAfterSequence() != 4 || again.GetSince() != nil {
		t.Errorf("%d lines, then %v:\n%s", lines, again, out.String())
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * ms) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestDriftWatchShowsNews(t *testing.T) {
	f := startFake(t)
	r := run(t, f, strings.Fields("drift watch -e shop/dev")).want(t, 1)
	want := `2026-03-14T14:58:31Z  5f1c2a9be07d4413  EXTRA  shop/dev Service/api spec.ports[port=80]  - -> {"name":"extra","port":80,"pr…  by kubectl-patch
2026-03-14T14:50:00Z  a1b2c3d4e5f60718  MISSING  shop/dev ConfigMap/api-main-files   - -> -  by unknown
2026-03-14T15:00:00Z  5f1c2a9be07d4413  GONE (reverted)  shop/dev Service/api spec.ports[port=80]  - -> {"name":"extra","port":80,"pr…  by kubectl-patch
`
	if diff := cmp.Diff(want, r.stdout); diff != "" {
		t.Error(diff)
	}
}

// What drift cannot tell now is never shown as well.
func TestStatusWithoutDriftIsUnknown(t *testing.T) {
	f := startFake(t)
	f.fail("GetEnvironmentStatus", slicesRepeat(errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "the drift service cannot be reached"), 100)...)
	r := run(t, f, strings.Fields("status -e shop/dev"), setenv("TOW_RETRY", "0s")).want(t, 0)
	for _, line := range []string{"Sync          UNKNOWN cannot be told now: the drift service cannot be reached", "Health        UNKNOWN", "Drift         UNKNOWN"} {
		if !strings.Contains(r.stdout, line+"\n") {
			t.Errorf("there is no %q in\n%s", line, r.stdout)
		}
	}
}

func TestErrorsShowFieldsAndHints(t *testing.T) {
	f := startFake(t)
	for want, err := range map[string]error{
		"error: the request is not valid\n  change.variables[\"A\"]: looks like a secret\n  b: is too long\n": errs.InvalidFields(
			errs.Field{Path: `change.variables["A"]`, Problem: "looks like a secret"}, errs.Field{Path: "b", Problem: "is too long"}),
		"error: it moved\nhint: what moved: base_tree; make a new plan with --plan\n": errs.New(
			errs.Precondition, errorsv1.Reason_REASON_PLAN_MOVED, "it moved").With("moved", "base_tree"),
		"error: an internal error; the log has it under the request id\nhint: the server's log has the cause under request id req-1\n": errs.New(
			errs.Internal, errorsv1.Reason_REASON_INTERNAL, "secret details"),
	} {
		f.fail("CreateDeployment", err)
		if r := run(t, f, strings.Fields("set A=1 -e shop/dev")); r.stderr != want || r.code == 0 {
			t.Errorf("exit code %d and\n%s\nwant\n%s", r.code, r.stderr, want)
		}
	}
}
