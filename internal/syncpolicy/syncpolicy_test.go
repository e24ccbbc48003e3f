package syncpolicy_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncpolicy"
)

func TestWhatAPolicyMayNotSayIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	window := func(w *driftv1.SyncWindow) *driftv1.SyncPolicy {
		return &driftv1.SyncPolicy{Windows: []*driftv1.SyncWindow{w}}
	}
	for name, c := range map[string]struct {
		policy      *driftv1.SyncPolicy
		field, text string
	}{
		"an unknown placeholder":           {&driftv1.SyncPolicy{ServiceAccount: "deployer-{team}"}, "p.service_account", "{team}"},
		"a name with capitals":             {&driftv1.SyncPolicy{ServiceAccount: "Deployer"}, "p.service_account", "lower-case"},
		"two slashes":                      {&driftv1.SyncPolicy{ServiceAccount: "a/b/c"}, "p.service_account", "more than one"},
		"no namespace before the slash":    {&driftv1.SyncPolicy{ServiceAccount: "/c"}, "p.service_account", "name or namespace/name"},
		"a share above 100":                {&driftv1.SyncPolicy{MaxPrunePercent: 101}, "p.max_prune_percent", "101"},
		"a time that is none":              {window(&driftv1.SyncWindow{Id: "w", Weekly: "always"}), "p.windows[0].weekly", "Fri 16:00"},
		"a zone that is none":              {window(&driftv1.SyncWindow{Id: "w", Weekly: "Mon 08:00 - Tue 08:00", TimeZone: "Mars/Base"}), "p.windows[0].time_zone", "IANA"},
		"the machine's own zone":           {window(&driftv1.SyncWindow{Id: "w", Weekly: "Mon 08:00 - Tue 08:00", TimeZone: "Local"}), "p.windows[0].time_zone", "IANA"},
		"a window without id":              {window(&driftv1.SyncWindow{Weekly: "Mon 08:00 - Tue 08:00"}), "p.windows[0].id", "no id"},
		"a wave that is not waited for":    {&driftv1.SyncPolicy{WaveTimeout: durationpb.New(0)}, "p.wave_timeout", "1s"},
		"a pause of days":                  {&driftv1.SyncPolicy{Retry: &driftv1.SyncRetry{Backoff: durationpb.New(72 * time.Hour)}}, "p.retry.backoff", "24h"},
		"a longest pause below the first":  {&driftv1.SyncPolicy{Retry: &driftv1.SyncRetry{Backoff: durationpb.New(time.Minute), MaxBackoff: durationpb.New(time.Second)}}, "p.retry.max_backoff", "less than"},
		"a kind that is none":              {&driftv1.SyncPolicy{ClusterKinds: []string{"clusterroles"}}, "p.cluster_kinds[0]", "ClusterRole.rbac"},
		"a namespace that is none":         {&driftv1.SyncPolicy{Namespaces: []string{"A_B"}}, "p.namespaces[0]", "namespace"},
		"a namespace of the cluster's own": {&driftv1.SyncPolicy{Namespaces: []string{"kube-system"}}, "p.namespaces[0]", "cluster's own"},
	} {
		err := syncpolicy.Check("p", c.policy)
		if !errs.Is(err, errs.Invalid) || !strings.Contains(errs.Message(err), c.field+": ") || !strings.Contains(errs.Message(err), c.text) {
			t.Errorf("%s: %v, want %s and %q", name, err, c.field, c.text)
		}
	}
	ok := &driftv1.SyncPolicy{
		ServiceAccount: "{environment_type}-deployers/{application}-{environment}", MaxPrunePercent: 100, Namespaces: []string{"monitoring"},
		ClusterKinds: []string{"Namespace", "ClusterRole.rbac.authorization.k8s.io"}, WaveTimeout: durationpb.New(time.Minute),
		Windows: []*driftv1.SyncWindow{{Id: "w", Weekly: "Mon 08:00 - Fri 16:00", TimeZone: "Europe/Berlin"}},
		Retry:   &driftv1.SyncRetry{Limit: -1, MaxBackoff: durationpb.New(time.Second)},
	}
	if err := syncpolicy.Check("p", ok); err != nil {
		t.Errorf("a policy that says everything: %v", err)
	}
	if err := syncpolicy.Check("p", nil); err != nil {
		t.Errorf("no policy: %v", err)
	}
}

func TestAServiceAccountIsMadeOfNames(t *testing.T) {
	t.Parallel()
	names := syncpolicy.Names{Application: "shop", Environment: "dev", EnvironmentType: "development"}
	for template, want := range map[string]string{
		"": "", "deployer": "system:serviceaccount:shop-dev:deployer", "ops/{application}": "system:serviceaccount:ops:shop",
		"{application}-{environment}": "system:serviceaccount:shop-dev:shop-dev", "{environment_type}": "system:serviceaccount:shop-dev:development",
	} {
		a, err := syncpolicy.ServiceAccount(template, "shop-dev", names)
		got := a.User()
		if a == (syncpolicy.Account{}) {
			got = ""
		}
		if err != nil || got != want {
			t.Errorf("%q gives %q, %v; want %q", template, got, err, want)
		}
	}
	if _, err := syncpolicy.ServiceAccount("{application}/x", "ns", syncpolicy.Names{Application: strings.Repeat("a", 64)}); err == nil {
		t.Error("a namespace of 64 letters was taken")
	}
}

func TestPausesGrowAndEnd(t *testing.T) {
	t.Parallel()
	for refused, want := range map[int]time.Duration{1: 30 * time.Second, 2: time.Minute, 3: 2 * time.Minute, 4: 4 * time.Minute, 5: 5 * time.Minute, 6: 0} {
		if got, again := syncpolicy.Pause(nil, refused); got != want || again != (want > 0) {
			t.Errorf("after %d: %s, %t; want %s", refused, got, again, want)
		}
	}
	if _, again := syncpolicy.Pause(&driftv1.SyncRetry{Limit: -1}, 1); again {
		t.Error("there is a further attempt where none is wanted")
	}
	if got, _ := syncpolicy.Pause(&driftv1.SyncRetry{Limit: 100, Backoff: durationpb.New(time.Second), MaxBackoff: durationpb.New(time.Hour)}, 90); got != time.Hour {
		t.Errorf("the pause after 90 attempts is %s", got)
	}
}

func TestTheGuardCountsMoreThanOneAndMoreThanTheShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		percent    int32
		remove, of int
		want       bool
	}{
		{0, 1, 1, false}, {0, 2, 4, false}, {0, 3, 5, true}, {0, 2, 3, true}, {1, 1, 100, false}, {1, 2, 200, false}, {1, 2, 100, true}, {100, 5, 5, false}, {0, 0, 0, false},
	} {
		if got := syncpolicy.PruneTooMuch(&driftv1.SyncPolicy{MaxPrunePercent: c.percent}, c.remove, c.of); got != c.want {
			t.Errorf("%d of %d at %d percent: %t", c.remove, c.of, c.percent, got)
		}
	}
}

func TestWindowsOpenAndClose(t *testing.T) {
	t.Parallel()
	office := &driftv1.SyncWindow{Id: "office", Weekly: "Mon 08:00 - Fri 16:00"}
	lunch := &driftv1.SyncWindow{Id: "lunch", Weekly: "Wed 12:00 - Wed 13:00", Deny: true}
	hard := &driftv1.SyncWindow{Id: "hard", Weekly: "Sat 00:00 - Sun 00:00", Deny: true, ManualDenied: true}
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	// 2026-06-03 is a Wednesday.
	for _, c := range []struct {
		windows   []*driftv1.SyncWindow
		now       string
		automatic bool
		manual    bool
		window    string
		next      string
	}{
		{nil, "2026-06-03 12:30", true, true, "", ""},
		{[]*driftv1.SyncWindow{office}, "2026-06-03 12:30", true, true, "", ""},
		{[]*driftv1.SyncWindow{office}, "2026-06-06 12:30", false, true, "office", "2026-06-08 08:00"},
		{[]*driftv1.SyncWindow{office, lunch}, "2026-06-03 12:30", false, true, "lunch", "2026-06-03 13:00"},
		{[]*driftv1.SyncWindow{lunch}, "2026-06-03 13:00", true, true, "", ""},
		{[]*driftv1.SyncWindow{office, hard}, "2026-06-06 12:30", false, false, "hard", "2026-06-08 08:00"},
		{[]*driftv1.SyncWindow{{Id: "never", Weekly: "Mon 08:00 - Mon 09:00"}, {Id: "no", Weekly: "Mon 07:00 - Mon 10:00", Deny: true}}, "2026-06-06 12:30", false, true, "never", ""},
	} {
		got := syncpolicy.Open(c.windows, at(c.now))
		next := ""
		if !got.Next.IsZero() {
			next = got.Next.UTC().Format("2006-01-02 15:04")
		}
		if got.Automatic != c.automatic || got.Manual != c.manual || got.Window != c.window || next != c.next {
			t.Errorf("%v at %s: %+v, want %+v", c.windows, c.now, got, c)
		}
	}
}
