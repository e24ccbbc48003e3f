package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// scope is what history and metrics are of: one environment, those of an application, or all.
type scope struct {
	env, app string
	all      bool
}

func (s *scope) bind(t *tow, cmd *cobra.Command) {
	t.envFlagVar(cmd, &s.env, "the environment, such as shop/dev")
	cmd.Flags().StringVar(&s.app, "app", "", "all environments of this application")
	cmd.Flags().BoolVarP(&s.all, "all", "A", false, "all environments of all applications")
	cmd.MarkFlagsMutuallyExclusive("env", "app", "all")
}

// parent gives the API's name for it.
func (s *scope) parent() (string, error) {
	switch {
	case s.all:
		return anyEnvironment, nil
	case s.app != "":
		app, err := appName(s.app)
		return app + "/" + environments + "/-", err
	case s.env == "":
		return "", usagef("of which environment? give -e, such as -e shop/dev, or --app, or --all")
	}
	return envName(s.env)
}

// timeTerms gives the terms of a filter for --since and --until.
func timeTerms(now time.Time, field, since, until string) ([]string, error) {
	var terms []string
	for _, b := range []struct{ flag, op, value string }{{"since", ">=", since}, {"until", "<=", until}} {
		if b.value == "" {
			continue
		}
		at, err := sinceTime(now, b.flag, b.value)
		if err != nil {
			return nil, err
		}
		terms = append(terms, field+" "+b.op+" "+strconv.Quote(at.UTC().Format(time.RFC3339Nano)))
	}
	return terms, nil
}

// sinceTime reads a flag that is a duration back from now, in which d stands for days, or a time.
func sinceTime(now time.Time, flag, v string) (time.Time, error) {
	if days, ok := strings.CutSuffix(v, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 100_000 {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(v); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, v); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("--%s %q is neither a duration such as 12h or 30d nor a time such as 2026-01-31 or 2026-01-31T08:00:00Z", flag, v)
}

func (t *tow) metricsCmd() *cobra.Command {
	var s scope
	var since, until, format string
	cmd := &cobra.Command{
		Use: "metrics -e APP/ENV", Short: "Show how often and how well is deployed", Args: noArgs,
		Long: `Shows the DORA figures, computed from history: how often something reached its cluster, how long that took from the request until
it was healthy, which share of what ended failed or degraded, and how long it took until the next healthy deployment. Removals
do not count, nor does what was superseded, rejected or cancelled.`,
		Example: `  tow metrics -e shop/production
  tow metrics --app shop --since 7d
  tow metrics --all --since 2026-01-01 --until 2026-04-01 -o json`,
	}
	s.bind(t, cmd)
	cmd.Flags().StringVar(&since, "since", "30d", "from so long ago (12h, 30d), or from this time on (2026-01-31)")
	cmd.Flags().StringVar(&until, "until", "", "until so long ago or this time; now when left out")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		req := &catalogv1.GetDeliveryMetricsRequest{}
		if req.Parent, err = s.parent(); err != nil {
			return err
		}
		from, err := sinceTime(t.Now(), "since", since)
		if err != nil {
			return err
		}
		req.StartTime = timestamppb.New(from)
		if until != "" {
			to, err := sinceTime(t.Now(), "until", until)
			if err != nil {
				return err
			}
			req.EndTime = timestamppb.New(to)
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		m, err := c.GetDeliveryMetrics(ctx, req)
		if err != nil {
			return err
		}
		if m.GetStartTime().AsTime().After(from) {
			t.notef("there is more history than is measured at once: the figures are of what was deployed since %s", stamp(m.GetStartTime()))
		}
		if done, err := p.structured(m, req.GetParent()); done {
			return err
		}
		return p.metrics(m)
	})
	return cmd
}

func (p *printer) metrics(m *catalogv1.DeliveryMetrics) error {
	span := func(d *durationpb.Duration) string {
		if d == nil {
			return "-"
		}
		return took(d.AsDuration())
	}
	return p.fields(
		"From", stamp(m.GetStartTime()), "Until", stamp(m.GetEndTime()),
		"Deployments", fmt.Sprintf("%d (%.2f a day)", m.GetDeployments(), m.GetDeploymentsPerDay()),
		"Lead time", span(m.GetLeadTimeMedian())+" (median), "+span(m.GetLeadTimeP95())+" (95th percentile)",
		"Failures", fmt.Sprintf("%d (%.1f %% of what ended)", m.GetFailures(), 100*m.GetChangeFailureRate()),
		"Time to restore", span(m.GetTimeToRestoreMedian()))
}
