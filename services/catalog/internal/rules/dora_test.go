package rules_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// ended is a deployment of an environment that was accepted and ended at those seconds.
func ended(env string, state catalogv1.Deployment_State, accepted, end int) *catalogv1.Deployment {
	return &catalogv1.Deployment{
		Name: "applications/shop/environments/" + env + "/deployments/1", Kind: catalogv1.Deployment_KIND_CHANGE, State: state,
		CreateTime: ts(accepted), EndTime: ts(end),
	}
}

const (
	stateHealthy  = catalogv1.Deployment_STATE_HEALTHY
	stateDegraded = catalogv1.Deployment_STATE_DEGRADED
	stateFailed   = catalogv1.Deployment_STATE_FAILED
)

func seconds(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }

func TestDeliveryMetrics(t *testing.T) {
	removal := ended("dev", stateHealthy, 1, 2)
	removal.Kind = catalogv1.Deployment_KIND_REMOVAL
	const day = 24 * 3600
	for name, tc := range map[string]struct {
		all  []*catalogv1.Deployment
		want *catalogv1.DeliveryMetrics
	}{
		"nothing happened": {nil, &catalogv1.DeliveryMetrics{}},
		"what does not count": {
			[]*catalogv1.Deployment{
				removal, ended("dev", catalogv1.Deployment_STATE_SUPERSEDED, 1, 2), ended("dev", catalogv1.Deployment_STATE_CANCELLED, 1, 2),
				ended("dev", catalogv1.Deployment_STATE_REJECTED, 1, 2), {Name: "applications/shop/environments/dev/deployments/9"},
			},
			&catalogv1.DeliveryMetrics{},
		},
		"one that went well": {
			[]*catalogv1.Deployment{ended("dev", stateHealthy, 10, 14)},
			&catalogv1.DeliveryMetrics{Deployments: 1, DeploymentsPerDay: 0.5, LeadTimeMedian: seconds(4), LeadTimeP95: seconds(4)},
		},
		"one that failed and nothing since": {
			[]*catalogv1.Deployment{ended("dev", stateFailed, 10, 14)},
			&catalogv1.DeliveryMetrics{Failures: 1, ChangeFailureRate: 1},
		},
		"restored after two bad ones: the time counts from the first": {
			[]*catalogv1.Deployment{ended("dev", stateHealthy, 100, 120), ended("dev", stateDegraded, 20, 30), ended("dev", stateFailed, 40, 50)},
			&catalogv1.DeliveryMetrics{
				Deployments: 2, DeploymentsPerDay: 1, LeadTimeMedian: seconds(20), LeadTimeP95: seconds(20), Failures: 2, ChangeFailureRate: 2.0 / 3,
				TimeToRestoreMedian: seconds(90),
			},
		},
		"another environment's success restores nothing": {
			[]*catalogv1.Deployment{ended("dev", stateFailed, 10, 20), ended("prod", stateHealthy, 30, 40)},
			&catalogv1.DeliveryMetrics{
				Deployments: 1, DeploymentsPerDay: 0.5, LeadTimeMedian: seconds(10), LeadTimeP95: seconds(10), Failures: 1, ChangeFailureRate: 0.5,
			},
		},
		"median and 95th percentile": {
			[]*catalogv1.Deployment{
				ended("dev", stateHealthy, 0, 1), ended("dev", stateHealthy, 0, 2), ended("dev", stateHealthy, 0, 3), ended("dev", stateHealthy, 0, 100),
			},
			&catalogv1.DeliveryMetrics{Deployments: 4, DeploymentsPerDay: 2, LeadTimeMedian: seconds(2), LeadTimeP95: seconds(100)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var f rules.Delivery
			for _, d := range tc.all {
				f.Add(d)
			}
			tc.want.StartTime, tc.want.EndTime = ts(0), ts(2*day)
			if diff := cmp.Diff(tc.want, f.Metrics(at(0), at(2*day)), protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeliveryMetricsDoNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		states := []catalogv1.Deployment_State{stateHealthy, stateDegraded, stateFailed, catalogv1.Deployment_STATE_SUPERSEDED}
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *catalogv1.Deployment {
			begin := rapid.IntRange(0, 1000).Draw(t, "begin")
			return ended(rapid.SampledFrom([]string{"dev", "prod"}).Draw(t, "env"), rapid.SampledFrom(states).Draw(t, "state"),
				begin, begin+rapid.IntRange(0, 1000).Draw(t, "took"))
		}), 0, 20).Draw(t, "all")
		for i, d := range all { // of two ends at one moment nobody can say which was first
			d.EndTime.Nanos = int32(i)
		}
		var a, b rules.Delivery
		for _, d := range all {
			a.Add(d)
		}
		for _, d := range rapid.Permutation(all).Draw(t, "order") {
			b.Add(d)
		}
		m := a.Metrics(at(0), at(2000))
		if diff := cmp.Diff(m, b.Metrics(at(0), at(2000)), protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
		if m.GetChangeFailureRate() < 0 || m.GetChangeFailureRate() > 1 {
			t.Fatalf("rate %v", m.GetChangeFailureRate())
		}
	})
}
