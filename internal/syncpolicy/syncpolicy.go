// Package syncpolicy is what a SyncPolicy means: which are valid, which ServiceAccount one names for an environment, and when its windows
// are open. It is pure. The catalog checks with it what is written, and drift acts by it, so that both mean the same.
package syncpolicy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/weekly"
)

// What is meant where a policy says nothing.
const (
	DefaultMaxPrune    = 50
	DefaultWaveTimeout = 5 * time.Minute
	DefaultRetries     = 5
	DefaultBackoff     = 30 * time.Second
	DefaultMaxBackoff  = 5 * time.Minute
)

// maxWait bounds timeouts and pauses: beyond it somebody has mistaken the unit.
const maxWait = 24 * time.Hour

var (
	label       = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	accountName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	kind        = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}(\.[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

// Names are what stands for the placeholders of a service account.
type Names struct{ Application, Environment, EnvironmentType string }

var known = []string{"{application}", "{environment}", "{environment_type}"}

func (n Names) fill(s string) string {
	return strings.NewReplacer(known[0], n.Application, known[1], n.Environment, known[2], n.EnvironmentType).Replace(s)
}

// Account is a ServiceAccount. The zero value stands for none.
type Account struct{ Namespace, Name string }

// User is what the API server calls it.
func (a Account) User() string { return "system:serviceaccount:" + a.Namespace + ":" + a.Name }

// ServiceAccount gives the account that a policy names for an environment in a namespace; the zero value when it names none. Its error
// is for a name that is too long or otherwise none with these names in it.
func ServiceAccount(template, namespace string, names Names) (Account, error) {
	if template == "" {
		return Account{}, nil
	}
	a := Account{Namespace: namespace, Name: names.fill(template)}
	if ns, name, ok := strings.Cut(a.Name, "/"); ok {
		a = Account{Namespace: ns, Name: name}
	}
	if !label.MatchString(a.Namespace) || !accountName.MatchString(a.Name) {
		return Account{}, fmt.Errorf("service_account %q is %s/%s here, which is no name of a ServiceAccount; at most 253 lower-case letters, digits, \"-\" and \".\", and 63 for the namespace",
			template, a.Namespace, a.Name)
	}
	return a, nil
}

// Check checks a policy; field is what errors call it.
func Check(field string, p *driftv1.SyncPolicy) error {
	if p == nil {
		return nil
	}
	for _, check := range []func(string, *driftv1.SyncPolicy) error{checkAccount, checkWindows, checkTimes, checkKinds, checkNamespaces} {
		if err := check(field, p); err != nil {
			return err
		}
	}
	if n := p.GetMaxPrunePercent(); n < 0 || n > 100 {
		return errs.InvalidField(field+".max_prune_percent", "%d is no share; give 1 to 100 percent, or 0 for %d", n, DefaultMaxPrune)
	}
	return nil
}

func checkAccount(field string, p *driftv1.SyncPolicy) error {
	field += ".service_account"
	for _, ph := range placeholder.FindAllString(p.GetServiceAccount(), -1) {
		if !slices.Contains(known, ph) {
			return errs.InvalidField(field, "has the placeholder %s, which nothing stands for; there are %s", ph, strings.Join(known, ", "))
		}
	}
	if strings.Count(p.GetServiceAccount(), "/") > 1 {
		return errs.InvalidField(field, "has more than one \"/\"; give name, or namespace/name")
	}
	if _, err := ServiceAccount(p.GetServiceAccount(), "ns", Names{"a", "b", "c"}); err != nil {
		return errs.InvalidField(field, "%q is no name of a ServiceAccount; give name or namespace/name, of lower-case letters, digits and \"-\", such as deployer-{application}",
			p.GetServiceAccount())
	}
	return nil
}

func checkWindows(field string, p *driftv1.SyncPolicy) error {
	seen := map[string]bool{}
	for i, w := range p.GetWindows() {
		at := fmt.Sprintf("%s.windows[%d]", field, i)
		if !label.MatchString(w.GetId()) {
			return errs.InvalidField(at+".id", "%q is no id; give lower-case letters, digits and \"-\", such as office-hours", w.GetId())
		}
		if seen[w.GetId()] {
			return errs.InvalidField(at+".id", "%q is there twice; give each window an id of its own", w.GetId())
		}
		seen[w.GetId()] = true
		if _, err := weekly.Parse(w.GetWeekly()); err != nil {
			return errs.InvalidField(at+".weekly", "%s", err)
		}
		if _, err := weekly.Zone(w.GetTimeZone()); err != nil {
			return errs.InvalidField(at+".time_zone", "%q is no time zone; give one of the IANA database such as \"Europe/Berlin\", or none for UTC", w.GetTimeZone())
		}
	}
	return nil
}

func checkTimes(field string, p *driftv1.SyncPolicy) error {
	for _, t := range []struct {
		name string
		set  bool
		d    time.Duration
	}{
		{".wave_timeout", p.GetWaveTimeout() != nil, p.GetWaveTimeout().AsDuration()},
		{".retry.backoff", p.GetRetry().GetBackoff() != nil, p.GetRetry().GetBackoff().AsDuration()},
		{".retry.max_backoff", p.GetRetry().GetMaxBackoff() != nil, p.GetRetry().GetMaxBackoff().AsDuration()},
	} {
		if t.set && (t.d < time.Second || t.d > maxWait) {
			return errs.InvalidField(field+t.name, "is %s; give 1s to %s", t.d, maxWait)
		}
	}
	if first, last := Backoffs(p.GetRetry()); first > last {
		return errs.InvalidField(field+".retry.max_backoff", "is %s, less than the first pause of %s", last, first)
	}
	if n := p.GetRetry().GetLimit(); n < -1 || n > 100 {
		return errs.InvalidField(field+".retry.limit", "is %d; give 1 to 100, -1 for no further attempt, or 0 for %d", n, DefaultRetries)
	}
	return nil
}

func checkKinds(field string, p *driftv1.SyncPolicy) error {
	for i, k := range p.GetClusterKinds() {
		if !kind.MatchString(k) {
			return errs.InvalidField(fmt.Sprintf("%s.cluster_kinds[%d]", field, i),
				"%q is no kind; give it with its group, such as ClusterRole.rbac.authorization.k8s.io, or Namespace", k)
		}
	}
	return nil
}

func checkNamespaces(field string, p *driftv1.SyncPolicy) error {
	for i, ns := range p.GetNamespaces() {
		if !label.MatchString(ns) {
			return errs.InvalidField(fmt.Sprintf("%s.namespaces[%d]", field, i), "%q is no name of a namespace; give lower-case letters, digits and \"-\"", ns)
		}
		if strings.HasPrefix(ns, "kube-") {
			return errs.InvalidField(fmt.Sprintf("%s.namespaces[%d]", field, i), "%q is the cluster's own; environments may not make objects there", ns)
		}
	}
	return nil
}

// AllowsKind reports whether a kind outside of namespaces may be made.
func AllowsKind(p *driftv1.SyncPolicy, group, kind string) bool {
	if group != "" {
		kind += "." + group
	}
	return slices.Contains(p.GetClusterKinds(), kind)
}

// Backoffs gives the pause before the second attempt and the longest one.
func Backoffs(r *driftv1.SyncRetry) (first, last time.Duration) {
	first, last = DefaultBackoff, DefaultMaxBackoff
	if r.GetBackoff() != nil {
		first = r.GetBackoff().AsDuration()
		last = max(first, last)
	}
	if r.GetMaxBackoff() != nil {
		last = r.GetMaxBackoff().AsDuration()
		if r.GetBackoff() == nil {
			first = min(first, last)
		}
	}
	return first, last
}

// Pause is how long to wait after so many refused attempts, and whether there is a further one.
func Pause(r *driftv1.SyncRetry, refused int) (time.Duration, bool) {
	limit := int(r.GetLimit())
	switch {
	case limit == 0:
		limit = DefaultRetries
	case limit < 0:
		limit = 0
	}
	if refused > limit {
		return 0, false
	}
	first, last := Backoffs(r)
	return min(first<<min(max(refused-1, 0), 20), last), true
}

// WaveTimeout is how long a wave is waited for.
func WaveTimeout(p *driftv1.SyncPolicy) time.Duration {
	if p.GetWaveTimeout() == nil {
		return DefaultWaveTimeout
	}
	return p.GetWaveTimeout().AsDuration()
}

// PruneTooMuch reports whether removing so many of so many objects is more than the policy lets a sync do by itself.
func PruneTooMuch(p *driftv1.SyncPolicy, remove, of int) bool {
	share := int(p.GetMaxPrunePercent())
	if share == 0 {
		share = DefaultMaxPrune
	}
	return remove > 1 && remove*100 > share*of
}

// Opening says whether environments are synced now.
type Opening struct {
	// Automatic says that they are by themselves, Manual that a person may.
	Automatic, Manual bool
	// Window is the id of the one that decides when not Automatic.
	Window string
	// Next is when they are synced by themselves again; zero while they are, and when that cannot be foretold.
	Next time.Time
}

// Open tells what windows say at a moment. Denials win; without any window that allows, all other times do.
func Open(windows []*driftv1.SyncWindow, now time.Time) Opening {
	o := openAt(windows, now)
	if o.Automatic {
		return o
	}
	// Nothing changes but where a window begins or ends.
	at := now
	for range 4 * (len(windows) + 1) {
		if at = nextEdge(windows, at); at.IsZero() {
			break
		}
		if openAt(windows, at).Automatic {
			o.Next = at
			break
		}
	}
	return o
}

func openAt(windows []*driftv1.SyncWindow, now time.Time) Opening {
	o := Opening{Automatic: true, Manual: true}
	allowed, allows := false, []*driftv1.SyncWindow(nil)
	for _, w := range windows {
		_, in := within(w, now)
		switch {
		case !w.GetDeny():
			allowed = allowed || in
			allows = append(allows, w)
		case in:
			o.Automatic, o.Window = false, w.GetId()
			o.Manual = o.Manual && !w.GetManualDenied()
		}
	}
	if len(allows) > 0 && !allowed {
		o.Automatic = false
		if o.Window == "" {
			o.Window = allows[0].GetId()
		}
		for _, w := range allows {
			o.Manual = o.Manual && !w.GetManualDenied()
		}
	}
	return o
}

func within(w *driftv1.SyncWindow, now time.Time) (time.Time, bool) {
	week, loc, ok := read(w)
	if !ok {
		return time.Time{}, false
	}
	return week.Until(now, loc)
}

func read(w *driftv1.SyncWindow) (weekly.Window, *time.Location, bool) {
	week, err := weekly.Parse(w.GetWeekly())
	if err != nil {
		return weekly.Window{}, nil, false // was checked when it was written
	}
	loc, err := weekly.Zone(w.GetTimeZone())
	return week, loc, err == nil
}

// nextEdge is when the next window begins or ends after a moment.
func nextEdge(windows []*driftv1.SyncWindow, now time.Time) time.Time {
	var next time.Time
	for _, w := range windows {
		week, loc, ok := read(w)
		if !ok {
			continue
		}
		edge := week.Next(now, loc)
		if end, in := week.Until(now, loc); in && end.Before(edge) {
			edge = end
		}
		if next.IsZero() || edge.Before(next) {
			next = edge
		}
	}
	return next
}
