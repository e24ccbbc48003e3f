package committer

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what an operator watches: how often Git is asked, how that ends and how much waits.
type metrics struct {
	pushes   *prometheus.CounterVec
	commits  prometheus.Counter
	seconds  prometheus.Histogram
	queued   prometheus.Gauge
	lanes    prometheus.Gauge
	foreign  prometheus.Counter
	finished *prometheus.CounterVec
}

// newMetrics makes the metrics and registers them. It is no error when they are registered already, because several
// committers of one process count together.
func newMetrics(reg prometheus.Registerer) *metrics {
	const ns, sub = "towpath", "committer"
	m := &metrics{
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "pushes_total",
			Help: "Pushes by how they ended."}, []string{"result"}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "commits_total",
			Help: "Deployments committed."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "push_seconds",
			Help: "Duration of one push.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "queued_deployments",
			Help: "Deployments that wait in lanes."}),
		lanes: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "lanes",
			Help: "Branches with a lane."}),
		foreign: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "foreign_changes_total",
			Help: "Changes of others to folders that Towpath owns."}),
		finished: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "deployments_total",
			Help: "Commands handled by how they ended."}, []string{"result"}),
	}
	if reg == nil {
		return m
	}
	m.pushes, m.commits, m.seconds = register(reg, m.pushes), register(reg, m.commits), register(reg, m.seconds)
	m.queued, m.lanes, m.foreign = register(reg, m.queued), register(reg, m.lanes), register(reg, m.foreign)
	m.finished = register(reg, m.finished)
	return m
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if err := reg.Register(c); err != nil {
		if already := (prometheus.AlreadyRegisteredError{}); errors.As(err, &already) {
			if old, ok := already.ExistingCollector.(C); ok {
				return old
			}
		}
	}
	return c
}

func (m *metrics) pushed(result string, commits int, took time.Duration) {
	m.pushes.WithLabelValues(result).Inc()
	m.seconds.Observe(took.Seconds())
	if result == "ok" {
		m.commits.Add(float64(commits))
	}
}
