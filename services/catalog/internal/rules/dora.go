package rules

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// Delivery computes the DORA figures of the deployments that were accepted from start to end, in whatever order they are
// given. It keeps a few words of each and no more, so that a long history can be poured through it.
type Delivery struct {
	ended map[Env][]ending
	// reached counts the deployments that reached their cluster.
	reached int64
	leads   []time.Duration
}

// ending is what the time to restore needs of a deployment that ended.
type ending struct {
	at  time.Time
	bad bool
}

// Add takes in a deployment. Removals and moves do not count, nor does what has not ended.
func (f *Delivery) Add(d *catalogv1.Deployment) {
	env, _, ok := EnvOfDeployment(d.GetName())
	if !ok || d.GetKind() == catalogv1.Deployment_KIND_REMOVAL || d.GetKind() == catalogv1.Deployment_KIND_MOVE {
		return
	}
	if f.ended == nil {
		f.ended = map[Env][]ending{}
	}
	if d.GetActiveFrom() != nil || d.GetState() == healthy || d.GetState() == degraded {
		f.reached++
	}
	switch d.GetState() {
	case healthy:
		f.leads = append(f.leads, d.GetEndTime().AsTime().Sub(d.GetCreateTime().AsTime()))
		f.ended[env] = append(f.ended[env], ending{d.GetEndTime().AsTime(), false})
	case failed, degraded:
		f.ended[env] = append(f.ended[env], ending{d.GetEndTime().AsTime(), true})
	}
}

// Metrics gives the figures for the time that the deployments are of.
func (f *Delivery) Metrics(start, end time.Time) *catalogv1.DeliveryMetrics {
	out := &catalogv1.DeliveryMetrics{StartTime: timestamppb.New(start), EndTime: timestamppb.New(end), Deployments: f.reached}
	if days := end.Sub(start).Hours() / 24; days > 0 {
		out.DeploymentsPerDay = float64(f.reached) / days
	}
	slices.Sort(f.leads)
	if len(f.leads) > 0 {
		out.LeadTimeMedian, out.LeadTimeP95 = durationpb.New(quantile(f.leads, 50)), durationpb.New(quantile(f.leads, 95))
	}
	var good int64
	var restores []time.Duration
	for _, all := range f.ended {
		slices.SortFunc(all, func(a, b ending) int { return a.at.Compare(b.at) })
		var since time.Time // of the first bad end that nothing has made good yet
		for _, e := range all {
			switch {
			case e.bad:
				out.Failures++
				if since.IsZero() {
					since = e.at
				}
			default:
				good++
				if !since.IsZero() {
					restores = append(restores, e.at.Sub(since))
					since = time.Time{}
				}
			}
		}
	}
	if good+out.GetFailures() > 0 {
		out.ChangeFailureRate = float64(out.GetFailures()) / float64(good+out.GetFailures())
	}
	slices.Sort(restores)
	if len(restores) > 0 {
		out.TimeToRestoreMedian = durationpb.New(quantile(restores, 50))
	}
	return out
}

// quantile gives the smallest value that at least percent of the sorted values do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
