package cli_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// environmentsInTime is what a watch of environments tells over three connections: the first breaks, the second finds that the
// log no longer reaches back, the third lists anew.
func environmentsInTime() [][]*catalogv1.WatchEnvironmentsResponse {
	envs := fakeEnvironments()
	locked, moved := proto.CloneOf(envs[0]), proto.CloneOf(envs[0])
	locked.DisplayName, moved.DisplayName = "Playground", "Sandbox"
	is := func(e *catalogv1.Environment, token string) *catalogv1.WatchEnvironmentsResponse {
		return &catalogv1.WatchEnvironmentsResponse{Environment: e, ResumeToken: token}
	}
	caughtUp := func(token string) *catalogv1.WatchEnvironmentsResponse {
		return &catalogv1.WatchEnvironmentsResponse{CaughtUp: true, ResumeToken: token}
	}
	return [][]*catalogv1.WatchEnvironmentsResponse{
		{is(envs[0], ""), is(envs[1], ""), caughtUp("1"), is(envs[0], "2"), is(locked, "3")},
		nil,
		{is(moved, ""), caughtUp("9"), {Environment: &catalogv1.Environment{Name: dev}, Removed: true, ResumeToken: "10"}},
	}
}

// A list that is watched tells each change once, also of what happened while the connection was lost.
func TestListWatchTellsEachChangeOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		args string
		tell func(line string) string
	}{
		"as lines": {"env list --watch", func(line string) string { return strings.Join(strings.Fields(line)[:2], " ") }},
		"as JSON": {"env list --watch -o json", func(line string) string {
			var m struct {
				Change string
				Object struct{ Name string }
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				return err.Error()
			}
			p := strings.Split(m.Object.Name, "/")
			return m.Change + " " + p[1] + "/" + p[3]
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			f.envWatch = environmentsInTime()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out output
			done := make(chan result)
			go func() { done <- runContext(ctx, t, f, strings.Fields(tc.args), stdoutTo(&out)) }()
			await(t, "the environment is gone", func() bool { return strings.Count(out.String(), "REMOVED") == 2 })
			cancel()
			(<-done).want(t, 130)
			var got []string
			for line := range strings.Lines(out.String()) {
				if told := tc.tell(line); told != "CHANGE NAME" {
					got = append(got, told)
				}
			}
			want := "PRESENT shop/dev|PRESENT shop/new|CHANGED shop/dev|REMOVED shop/new|CHANGED shop/dev|REMOVED shop/dev"
			if all := strings.Join(got, "|"); all != want {
				t.Errorf("it tells %s\nwant     %s\n%s", all, want, out.String())
			}
			asked := f.called("WatchEnvironments")
			if len(asked) != 3 || asked[1].(*catalogv1.WatchEnvironmentsRequest).GetResumeToken() != "3" || asked[2].(*catalogv1.WatchEnvironmentsRequest).GetResumeToken() != "" {
				t.Errorf("it asked %v", asked)
			}
		})
	}
}

// At a terminal the list is drawn in place: the screen is cleared once, and then only drawn over.
func TestListWatchDrawsInPlace(t *testing.T) {
	f := startFake(t)
	f.envWatch = environmentsInTime()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out output
	done := make(chan result)
	go func() {
		done <- runContext(ctx, t, f, strings.Fields("env list --watch"), terminal(""), stdoutTo(&out))
	}()
	await(t, "the list is empty", func() bool { return strings.Contains(out.String(), "no environments yet") })
	cancel()
	(<-done).want(t, 130)
	if text := out.String(); strings.Count(text, "\x1b[2J") != 1 || strings.Count(text, "\x1b[H") < 5 || strings.Contains(text, "PRESENT") {
		t.Errorf("it writes %q", text)
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(stripped(line))); n > 81 {
			t.Errorf("a line of %d characters does not fit in 80 columns: %q", n, line)
		}
	}
}

func stripped(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if strings.HasPrefix(s, "\x1b[") {
			end := strings.IndexAny(s, "mHJK")
			s = s[end+1:]
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

func (f *fake) becomes(h driftv1.Health) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.health = h
}

// Without a terminal a status that is watched is a line for each change. A server that restarts meanwhile is waited for, and what
// changed while it was away is told.
func TestStatusWatchSurvivesARestart(t *testing.T) {
	f := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result)
	var out output
	go func() { done <- runContext(ctx, t, f, strings.Fields("status -e shop/dev --watch"), stdoutTo(&out)) }()
	await(t, "the status is told", func() bool { return strings.Count(out.String(), "\n") == 1 })
	await(t, "events are watched", func() bool { return len(f.called("WatchEvents")) > 0 })
	f.grpc.Stop()
	f.becomes(driftv1.Health_HEALTH_HEALTHY)
	f.serve(t, f.addr)
	await(t, "the change is told", func() bool { return strings.Count(out.String(), "\n") == 2 })
	cancel()
	(<-done).want(t, 130)
	lines := strings.Split(out.String(), "\n")
	const is = "2026-03-14T15:00:00Z  shop/dev  runs #2 HEALTHY  newest #3 FAILED  SYNCED  "
	if !strings.HasPrefix(lines[0], is+"DEGRADED  drift 2") || !strings.HasPrefix(lines[1], is+"HEALTHY  drift 2") {
		t.Errorf("it tells\n%s", out.String())
	}
}

// At a terminal the status is drawn in place, and a server that is away is told above it.
func TestStatusWatchTellsOfALostServer(t *testing.T) {
	f := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result)
	var out output
	go func() {
		done <- runContext(ctx, t, f, strings.Fields("status --app shop --watch"), terminal(""), stdoutTo(&out), setenv("TOW_RETRY", "2s"))
	}()
	await(t, "the status is shown", func() bool { return strings.Contains(out.String(), "shop/dev") })
	await(t, "events are watched", func() bool { return len(f.called("WatchEvents")) > 0 })
	f.grpc.Stop()
	await(t, "the loss is told", func() bool { return strings.Contains(out.String(), "the server does not answer") })
	f.serve(t, f.addr)
	await(t, "it is shown again", func() bool {
		text := out.String()
		return strings.LastIndex(text, "shop/dev") > 0 && !strings.Contains(text[strings.LastIndex(text, "\x1b[H"):], "does not answer")
	})
	cancel()
	(<-done).want(t, 130)
	if strings.Count(out.String(), "\x1b[2J") != 1 {
		t.Errorf("the screen is cleared more than once: %q", out.String())
	}
}

// Ctrl-C ends the waiting and nothing else, and says how to go on.
func TestInterruptedWaitSaysThatTheDeploymentGoesOn(t *testing.T) {
	f := startFake(t)
	f.watch = [][]*catalogv1.Deployment{{step(catalogv1.Deployment_STATE_SYNCING, 3*ms, 12*ms, 45*ms)}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result)
	var out output
	go func() { done <- runContext(ctx, t, f, wait, stdoutTo(&out)) }()
	await(t, "it is followed", func() bool { return strings.Contains(out.String(), "COMMITTING 45ms") })
	cancel()
	r := (<-done).want(t, 130)
	want := "interrupted: shop/dev #4 is SYNCING and goes on without us\n  tow wait -e shop/dev 4     follows it again\n  tow cancel -e shop/dev 4   withdraws it while it is not in Git\n"
	if r.stderr != want {
		t.Errorf("it says %q", r.stderr)
	}
}

// tow wait follows a deployment that somebody else started.
func TestWaitCommandFollowsADeployment(t *testing.T) {
	f := startFake(t)
	f.history[0] = step(catalogv1.Deployment_STATE_SYNCING, 3*ms, 12*ms, 45*ms)
	f.watch = [][]*catalogv1.Deployment{{well}}
	if r := run(t, f, strings.Fields("wait -e shop/dev")).want(t, 0); !strings.Contains(r.stdout, "state    HEALTHY after 2.36s") {
		t.Error(r.stdout)
	}
	run(t, f, strings.Fields("wait -e shop/dev 99")).want(t, 5)
	run(t, f, strings.Fields("wait -e shop/dev x")).want(t, 2)
	run(t, f, strings.Fields("wait")).want(t, 2)
}

func TestAllowedActionsAreListed(t *testing.T) {
	a := startAnything(t)
	if r := runAnything(t, a, strings.Fields("auth can-i --list shop/dev")).want(t, 0); r.stdout != "actions\n" {
		t.Errorf("%q", r.stdout)
	}
	runAnything(t, a, strings.Fields("auth can-i --list shop/dev --as users/ada")).want(t, 2)
}
