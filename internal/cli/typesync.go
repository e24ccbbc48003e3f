package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// policyOf gives the sync policy of a type, to be changed.
func policyOf(m environmentType) *driftv1.SyncPolicy {
	if m.SyncPolicy == nil {
		m.SyncPolicy = &driftv1.SyncPolicy{}
	}
	return m.SyncPolicy
}

func retryOf(m environmentType) *driftv1.SyncRetry {
	p := policyOf(m)
	if p.Retry == nil {
		p.Retry = &driftv1.SyncRetry{}
	}
	return p.Retry
}

// syncFields are the fields of an environment type that say how its environments are brought to the cluster. What is not given stays
// unset on create.
func syncFields(fs *pflag.FlagSet) []field[environmentType] {
	fields := []field[environmentType]{
		text(fs, "service-account", "sync_policy.service_account",
			"the ServiceAccount that syncs act as, NAME or NAMESPACE/NAME; it may hold {application}, {environment} and {environment_type}; \"\" for Towpath's own rights",
			func(m environmentType, v string) { policyOf(m).ServiceAccount = v }),
		number(fs, "max-prune", "sync_policy.max_prune_percent", "a sync that would remove more than this share of the objects, in percent, waits for a person; 0 means 50",
			func(m environmentType, v int32) { policyOf(m).MaxPrunePercent = v }),
		choice(fs, "no-prune", "sync_policy.prune_disabled", "leave objects in the cluster that are no longer declared, and tell them as orphaned", false,
			func(m environmentType, v bool) { policyOf(m).PruneDisabled = v }),
		syncWindows(fs),
		number(fs, "retries", "sync_policy.retry.limit", "how often a refused sync is tried again; 0 means 5, -1 never", func(m environmentType, v int32) { retryOf(m).Limit = v }),
		pause(fs, "retry-backoff", "sync_policy.retry.backoff", "the pause before the first further attempt, doubled with each one; 0 means 30s",
			func(m environmentType, v *durationpb.Duration) { retryOf(m).Backoff = v }),
		pause(fs, "retry-max-backoff", "sync_policy.retry.max_backoff", "the longest pause between attempts; 0 means 5m",
			func(m environmentType, v *durationpb.Duration) { retryOf(m).MaxBackoff = v }),
		choice(fs, "report-unmanaged", "sync_policy.report_unmanaged", "tell objects in the namespace that nobody declared as findings", false,
			func(m environmentType, v bool) { policyOf(m).ReportUnmanaged = v }),
		pause(fs, "wave-timeout", "sync_policy.wave_timeout", "how long a sync waits for a wave or a hook; 0 means 5m",
			func(m environmentType, v *durationpb.Duration) { policyOf(m).WaveTimeout = v }),
		names(fs, "cluster-kind", "sync_policy.cluster_kinds", "kinds outside of namespaces that environments may make, such as ClusterRole.rbac.authorization.k8s.io; they replace what there is, and \"\" is none",
			func(m environmentType, v []string) { policyOf(m).ClusterKinds = v }),
		names(fs, "sync-namespace", "sync_policy.namespaces", "other namespaces in which environments may make objects; they replace what there is, and \"\" is none",
			func(m environmentType, v []string) { policyOf(m).Namespaces = v }),
	}
	for i, f := range fields {
		fields[i].set = func(m environmentType) error {
			if !fs.Changed(f.flag) {
				return nil // a creation asks every flag for its value
			}
			return f.set(m)
		}
	}
	return fields
}

func pause(fs *pflag.FlagSet, flag, path, usage string, set func(environmentType, *durationpb.Duration)) field[environmentType] {
	v := fs.Duration(flag, 0, usage)
	return field[environmentType]{flag, path, func(m environmentType) error {
		if *v == 0 {
			set(m, nil)
		} else {
			set(m, durationpb.New(*v))
		}
		return nil
	}}
}

func names(fs *pflag.FlagSet, flag, path, usage string, set func(environmentType, []string)) field[environmentType] {
	v := fs.StringSlice(flag, nil, usage)
	return field[environmentType]{flag, path, func(m environmentType) error {
		set(m, slices.DeleteFunc(*v, func(s string) bool { return s == "" }))
		return nil
	}}
}

func syncWindows(fs *pflag.FlagSet) field[environmentType] {
	v := fs.StringArray("sync-window", nil, `when environments are synced by themselves, every week: "office=allow Mon 08:00 - Fri 16:00 Europe/Berlin" or `+
		`"weekend=deny Fri 16:00 - Mon 08:00"; deny-all and allow-all keep people from syncing by hand too; "weekend-" takes it away`)
	return field[environmentType]{"sync-window", "sync_policy.windows", func(m environmentType) error {
		for _, w := range *v {
			if err := changeWindow(policyOf(m), w); err != nil {
				return err
			}
		}
		return nil
	}}
}

func changeWindow(p *driftv1.SyncPolicy, v string) error {
	id, rest, ok := strings.Cut(v, "=")
	without := func(id string) {
		p.Windows = slices.DeleteFunc(p.Windows, func(w *driftv1.SyncWindow) bool { return w.GetId() == id })
	}
	if !ok && len(v) > 1 && strings.HasSuffix(v, "-") {
		without(strings.TrimSuffix(v, "-"))
		return nil
	}
	kind, when, _ := strings.Cut(rest, " ")
	w := &driftv1.SyncWindow{Id: id, Weekly: when, Deny: strings.HasPrefix(kind, "deny"), ManualDenied: strings.HasSuffix(kind, "-all")}
	if !ok || id == "" || !slices.Contains([]string{"allow", "deny", "allow-all", "deny-all"}, kind) {
		return usagef("--sync-window %q is neither NAME=allow|deny TIME nor NAME-; write it as weekend=deny Fri 16:00 - Mon 08:00", v)
	}
	if begin, end, _ := strings.Cut(when, " - "); len(strings.Fields(end)) == 3 { // Mon 08:00 Europe/Berlin
		parts := strings.Fields(end)
		w.Weekly, w.TimeZone = begin+" - "+parts[0]+" "+parts[1], parts[2]
	}
	without(id)
	p.Windows = append(p.Windows, w)
	return nil
}

func windowText(w *driftv1.SyncWindow) string {
	kind := "allow"
	if w.GetDeny() {
		kind = "deny"
	}
	if w.GetManualDenied() {
		kind += "-all"
	}
	return w.GetId() + "=" + strings.TrimSpace(kind+" "+w.GetWeekly()+" "+w.GetTimeZone())
}

// syncPolicyText tells a policy, a line for each thing that it says.
func syncPolicyText(p *driftv1.SyncPolicy) string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(p.GetServiceAccount() != "", "acts as ServiceAccount %s", p.GetServiceAccount())
	add(p.GetMaxPrunePercent() != 0, "removes at most %d percent without being asked", p.GetMaxPrunePercent())
	add(p.GetPruneDisabled(), "removes nothing")
	for _, w := range p.GetWindows() {
		add(true, "window %s", windowText(w))
	}
	if r := p.GetRetry(); r != nil {
		add(r.GetLimit() != 0, "tries again %d times", max(r.GetLimit(), 0))
		add(r.GetBackoff() != nil, "first pause %s", r.GetBackoff().AsDuration())
		add(r.GetMaxBackoff() != nil, "longest pause %s", r.GetMaxBackoff().AsDuration())
	}
	add(p.GetWaveTimeout() != nil, "waits %s for a wave", p.GetWaveTimeout().AsDuration().Round(time.Second))
	add(p.GetReportUnmanaged(), "tells objects that nobody declared")
	add(len(p.GetClusterKinds()) > 0, "kinds outside of namespaces: %s", strings.Join(p.GetClusterKinds(), ", "))
	add(len(p.GetNamespaces()) > 0, "other namespaces: %s", strings.Join(p.GetNamespaces(), ", "))
	return strings.Join(out, "\n")
}
