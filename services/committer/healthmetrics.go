package committer

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// healthCollector gives the metrics of repositories at each scrape. Their label is the repository's resource name alone: a branch
// may be one of thousands where it has placeholders, and would make a series each. Of several branches the metric tells the worst or
// the sum; tow repo health tells them apart. Branches that another replica writes are left to it.
type healthCollector struct {
	mu  sync.Mutex
	of  []*Service
	all []*prometheus.Desc

	up, pushed, queued, lag, budget, foreign, pulls, refusals *prometheus.Desc
}

func newHealthCollector() *healthCollector {
	c := &healthCollector{}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("towpath_committer_repository_"+name, help, append([]string{"repository"}, labels...), nil)
		c.all = append(c.all, d)
		return d
	}
	c.up = desc("up", "Whether the last exchange with the host worked on all branches of the repository: 1 or 0.")
	c.pushed = desc("last_push_timestamp_seconds", "When the last push to any branch of the repository got through.")
	c.queued = desc("queued", "Deployments that wait to be written to the repository, those that wait for the next attempt included.")
	c.lag = desc("lag_seconds", "How long the oldest of them waits.")
	c.budget = desc("budget_left", "Pushes that the budget of the busiest branch allows in this minute.")
	c.foreign = desc("foreign_changes", "Environments whose folder somebody else has changed.")
	c.pulls = desc("pull_requests", "Open pull requests of deployments.")
	c.refusals = desc("refusals_total", "What the host refused for good, by what it was.", "refused")
	return c
}

// measure registers the metrics of a committer's repositories; several of one process count together.
func (s *Service) measure(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	c := register(reg, newHealthCollector())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = append(c.of, s)
}

// Describe names the metrics.
func (c *healthCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// repositoryStats is what all branches of one repository make together.
type repositoryStats struct {
	asked, down            bool
	pushed                 time.Time
	lag                    time.Duration
	queued, foreign, pulls int
	budget                 int // -1 for no limit
	refusals               map[rules.Refusal]int
}

// Collect gives the metrics.
func (c *healthCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]*repositoryStats{}
	for _, s := range c.of {
		s.stats(all)
	}
	for name, r := range all {
		give := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, name)
		}
		if r.asked {
			up := 1.0
			if r.down {
				up = 0
			}
			give(c.up, up)
		}
		if !r.pushed.IsZero() {
			give(c.pushed, float64(r.pushed.UnixMilli())/1000)
		}
		if r.budget >= 0 {
			give(c.budget, float64(r.budget))
		}
		give(c.queued, float64(r.queued))
		give(c.lag, r.lag.Seconds())
		give(c.foreign, float64(r.foreign))
		give(c.pulls, float64(r.pulls))
		for what, n := range r.refusals {
			ch <- prometheus.MustNewConstMetric(c.refusals, prometheus.CounterValue, float64(n), name, string(what))
		}
	}
}

// stats adds what this committer knows.
func (s *Service) stats(all map[string]*repositoryStats) {
	now := s.clock.now()
	of := func(name string) *repositoryStats {
		r := all[name]
		if r == nil {
			r = &repositoryStats{budget: -1, refusals: map[rules.Refusal]int{}}
			all[name] = r
		}
		return r
	}
	mine := s.holders.own()
	s.health.mu.Lock()
	for e := s.health.used.Front(); e != nil; e = e.Next() {
		b := e.Value.(*branch) //nolint:forcetypeassert // nothing else is in the list
		if mine[b.shard] {
			of(b.name).add(b, now)
		}
	}
	for _, w := range s.health.waits {
		r := of(w.name)
		r.queued++
		r.lag = max(r.lag, now.Sub(w.since))
	}
	s.health.mu.Unlock()
	s.pulls.mu.Lock()
	defer s.pulls.mu.Unlock()
	for _, w := range s.pulls.watchers {
		if mine[w.shard] { // all replicas watch all of them
			of(w.name).pulls++
		}
	}
}

func (r *repositoryStats) add(b *branch, now time.Time) {
	state, _ := b.state()
	r.asked = r.asked || !b.checked.IsZero()
	r.down = r.down || state == unreachable || state == refusedNow
	if b.pushed.After(r.pushed) {
		r.pushed = b.pushed
	}
	if left := b.budget.Left(b.perMinute, now); left >= 0 && (r.budget < 0 || left < r.budget) {
		r.budget = left
	}
	r.foreign += b.foreign
	for what, n := range b.refusals {
		r.refusals[what] += n
	}
}

// own gives the shards that this replica has.
func (h *holders) own() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]bool, len(h.mine))
	for shard, mine := range h.mine {
		if mine {
			out[shard] = true
		}
	}
	return out
}
