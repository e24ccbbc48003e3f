package committer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

func (w *world) health() *committerv1.RepositoryHealth {
	w.t.Helper()
	h, err := w.svc.GetRepositoryHealth(w.t.Context(), &committerv1.GetRepositoryHealthRequest{Repository: w.repo})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// measured gives a metric of the world's repository; false when it is not there.
func measured(t *testing.T, reg *prometheus.Registry, metric string, labels ...string) (float64, bool) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "towpath_committer_repository_"+metric {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetName()+"="+l.GetValue())
			}
			if all := strings.Join(values, ","); strings.Contains(all, "repository=repositories/deploy") && strings.Contains(all, strings.Join(labels, ",")) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

func withMetrics(reg *prometheus.Registry) option { return func(w *world) { w.cfg.Metrics = reg } }

func TestABranchThatNobodyUsedHasNoStateAndNobodyIsAskedForIt(t *testing.T) {
	t.Parallel()
	w, host := remote(t)
	h := w.health()
	if h.GetState() != committerv1.RepositoryHealth_STATE_UNSPECIFIED || h.GetBudgetLeft() != -1 || h.GetQueued() != 0 || h.GetProblem() != "" {
		t.Errorf("its health is %v", h)
	}
	if n := len(host.Requests()); n != 0 {
		t.Errorf("the host was asked %d times", n)
	}
	w.repo.Url = "ftp://git.test/shop"
	if _, err := w.svc.GetRepositoryHealth(t.Context(), &committerv1.GetRepositoryHealthRequest{Repository: w.repo}); err == nil {
		t.Error("a wrong URL has a health")
	}
}

func TestAPushIsToldWithItsTimeTipAndBudget(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.repo.PushBudget = 6
		w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
		w.committed(dep("dev", 1))
		w.poll("nobody to wait", func() bool { return w.health().GetQueued() == 0 })
		h := w.health()
		if h.GetState() != committerv1.RepositoryHealth_STATE_REACHABLE || h.GetTip() != w.bare.Tip("main") || h.GetBudgetLeft() != 5 ||
			h.GetPushTime() == nil || h.GetCheckTime() == nil || h.GetPushDuration().AsDuration() <= 0 || h.GetHolder() == "" || h.GetLag() != nil {
			t.Errorf("its health is %v", h)
		}
	})
}

func TestAHostThatIsAwayIsToldAndWhatWaitsForItIsCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w, host := remote(t, withMetrics(reg))
	host.Fail(gittest.Fault{Kind: gittest.Status, Status: 502, Times: 1 << 20})
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.send(w.change("test", 1, map[string]string{"a.yaml": "a"}))
	w.poll("an unreachable host that two wait for", func() bool {
		h := w.health()
		return h.GetState() == committerv1.RepositoryHealth_STATE_UNREACHABLE && h.GetProblem() != "" && h.GetQueued() == 2 && h.GetLag().AsDuration() > 0
	})
	if up, ok := measured(t, reg, "up"); !ok || up != 0 {
		t.Errorf("up is %v, %t", up, ok)
	}
	if n, _ := measured(t, reg, "queued"); n != 2 {
		t.Errorf("%v are queued", n)
	}
	if lag, _ := measured(t, reg, "lag_seconds"); lag <= 0 {
		t.Errorf("the lag is %v", lag)
	}
	host.Heal()
	w.committed(dep("dev", 1))
	w.committed(dep("test", 1))
	w.poll("a host that is back", func() bool {
		h := w.health()
		return h.GetState() == committerv1.RepositoryHealth_STATE_REACHABLE && h.GetProblem() == "" && h.GetQueued() == 0 && h.GetLag() == nil
	})
	if up, _ := measured(t, reg, "up"); up != 1 {
		t.Errorf("up is %v", up)
	}
	if at, _ := measured(t, reg, "last_push_timestamp_seconds"); time.Since(time.Unix(int64(at), 0)) > time.Hour {
		t.Errorf("the last push was at %v", at)
	}
	if _, ok := measured(t, reg, "budget_left"); ok {
		t.Error("a branch without a budget has one left")
	}
}

func TestWhatTheHostRefusesOfAPushStaysToldAlthoughItCanBeRead(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w, _ := remote(t, withMetrics(reg), func(w *world) { w.cfg.TipInterval = 20 * time.Millisecond })
	script(t, w.bare, "pre-receive", "echo 'frozen until Monday' >&2; exit 1")
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.failed(dep("dev", 1))
	pushed := w.health().GetCheckTime().AsTime()
	w.poll("the next look", func() bool { return w.health().GetCheckTime().AsTime().After(pushed) })
	h := w.health()
	if h.GetState() != committerv1.RepositoryHealth_STATE_REFUSED || !strings.Contains(h.GetProblem(), "frozen until Monday") || h.GetPushTime() != nil || h.GetQueued() != 0 {
		t.Errorf("its health is %v", h)
	}
	if n, _ := measured(t, reg, "refusals_total", "refused=branch"); n != 1 {
		t.Errorf("%v refusals of the branch", n)
	}
	script(t, w.bare, "pre-receive", "exit 0")
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.committed(dep("dev", 2))
	w.poll("a branch that takes pushes", func() bool { return w.health().GetState() == committerv1.RepositoryHealth_STATE_REACHABLE })
}

func TestAHostThatWantsFewerRequestsIsReachableAndHasNoBudgetLeft(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w, host := remote(t, withMetrics(reg))
	host.Fail(gittest.Fault{Kind: gittest.Status, Status: 429, Times: 1 << 20})
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.poll("a host that is left alone", func() bool {
		h := w.health()
		return h.GetState() == committerv1.RepositoryHealth_STATE_REACHABLE && strings.Contains(h.GetProblem(), "fewer requests") && h.GetBudgetLeft() == 0 && h.GetQueued() == 1
	})
	if up, _ := measured(t, reg, "up"); up != 1 {
		t.Errorf("up is %v", up)
	}
}

func TestAHealthShowsNoSecret(t *testing.T) {
	t.Parallel()
	w, host := remote(t, withCredentials(t, "bot:s3cret-token"))
	host.RequireAuth("bot", "right")
	w.repo.Credentials = "host"
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.failed(dep("dev", 1))
	if h := w.health(); h.GetState() != committerv1.RepositoryHealth_STATE_REFUSED || strings.Contains(h.String(), "s3cret") || h.GetProblem() == "" {
		t.Errorf("its health is %v", h)
	}
}

func TestAFolderThatSomebodyElseChangedIsCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w, _ := remote(t, withMetrics(reg))
	w.send(w.change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.committed(dep("dev", 1))
	tip := w.bare.Commit("main", "by hand", map[string][]byte{"environments/dev/shop/a.yaml": []byte("theirs")})
	w.svc.Notice(w.repo.GetUrl(), "main")
	w.poll("the foreign change", func() bool { h := w.health(); return h.GetForeignChanges() == 1 && h.GetTip() == tip })
	if n, _ := measured(t, reg, "foreign_changes"); n != 1 {
		t.Errorf("%v foreign changes", n)
	}
	w.send(w.change("dev", 2, map[string]string{"a.yaml": "b"}))
	w.committed(dep("dev", 2))
	w.poll("none any more", func() bool { return w.health().GetForeignChanges() == 0 })
}

func TestAnOpenPullRequestIsCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w, svc, change := reviewed(t, committerv1.WriteMode_WRITE_MODE_PULL_REQUEST, withMetrics(reg))
	w.send(change("dev", 1, map[string]string{"a.yaml": "a"}))
	w.poll("the pull request", func() bool { return w.health().GetPullRequests() == 1 })
	if n, _ := measured(t, reg, "pull_requests"); n != 1 {
		t.Errorf("%v pull requests", n)
	}
	pr, err := svc.Find(context.Background(), headDev, "")
	if err != nil || pr == nil {
		t.Fatal(pr, err)
	}
	if err := svc.Close(context.Background(), pr.Number, "no"); err != nil {
		t.Fatal(err)
	}
	w.poll("no pull request", func() bool { return w.health().GetPullRequests() == 0 })
}
