package catalog

import (
	"context"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// maxMeasured is how many deployments one call of GetDeliveryMetrics looks at. Of a window that has more, the figures are of
// its newest ones, and start_time says since when.
const maxMeasured = 20_000

// GetDeliveryMetrics computes the DORA figures from history. A deployment belongs to the time in which it was accepted.
func (s catalogServer) GetDeliveryMetrics(ctx context.Context, r *catalogv1.GetDeliveryMetricsRequest) (*catalogv1.DeliveryMetrics, error) {
	end, start := s.now(), time.Time{}
	if r.GetEndTime() != nil {
		end = r.GetEndTime().AsTime()
	}
	start = end.Add(-30 * 24 * time.Hour)
	if r.GetStartTime() != nil {
		start = r.GetStartTime().AsTime()
	}
	if !start.Before(end) {
		return nil, errs.InvalidField("start_time", "is not before end_time")
	}
	app, env, err := s.historyOf(ctx, r.GetParent())
	if err != nil {
		return nil, err
	}
	var f rules.Delivery
	looked, since := 0, start
	add := func(d *catalogv1.Deployment) bool {
		if looked++; looked > maxMeasured {
			start = since
			return false
		}
		since = d.GetCreateTime().AsTime()
		f.Add(d)
		return true
	}
	if app != everything && env != everything {
		err = s.environmentHistory(ctx, rules.Env{App: app, ID: env}, start, end, add)
	} else {
		err = s.newestFirst(ctx, app, placeAt(app, end), start, func(_ string, d *catalogv1.Deployment) bool {
			return env != everything && !strings.Contains(d.GetName(), "/environments/"+env+"/") || add(d)
		})
	}
	if err != nil {
		return nil, err
	}
	return f.Metrics(start, end), nil
}

// environmentHistory gives one environment's deployments of a time, the newest first. Their order is that of their numbers.
func (s *Service) environmentHistory(ctx context.Context, env rules.Env, start, end time.Time, yield func(*catalogv1.Deployment) bool) error {
	r := store.ScanRange{Prefix: envKey(env) + "/", Reverse: true, Limit: 256}
	for row, err := range deployments.Range(ctx, s.cfg.KV, r) {
		if err != nil {
			return err
		}
		at := row.Msg.GetCreateTime().AsTime()
		if at.Before(start) || at.Before(end) && !yield(row.Msg) {
			return nil
		}
	}
	return nil
}

// historyOf reads the parent of a history: an environment's name, in which "-" stands for all.
func (s *Service) historyOf(ctx context.Context, parent string) (app, env string, err error) {
	p := strings.Split(parent, "/")
	if len(p) == 4 && (p[1] == everything || p[3] == everything) {
		check := []string{p[0], p[1], p[2], p[3]}
		for _, i := range []int{1, 3} {
			if check[i] == everything {
				check[i] = "all"
			}
		}
		if _, err := rules.ParseEnv("parent", strings.Join(check, "/")); err != nil {
			_, err = rules.ParseEnv("parent", parent)
			return "", "", err
		}
		return p[1], p[3], nil
	}
	one, err := rules.ParseEnv("parent", parent)
	if err != nil {
		return "", "", err
	}
	history, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: deployments.Key(envKey(one)) + "/", Limit: 1, Reverse: true})
	if err == nil && len(history) == 0 { // no history: then the environment itself must be there
		_, err = s.environment(ctx, one)
	}
	return one.App, one.ID, err
}
