package rules_test

import (
	"slices"
	"testing"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestAWarningOfTheCommitIsInTheSummary(t *testing.T) {
	t.Parallel()
	d := &catalogv1.Deployment{Name: "applications/shop/environments/dev/deployments/2", Summary: slices.Repeat([]string{"line"}, 100)}
	rules.Accept(d, time.Now())
	rules.Commit(d, &eventsv1.DeploymentCommitted{Commit: "c", Warnings: []string{"the old place is left"}}, time.Now())
	if got := d.GetSummary(); len(got) != 100 || got[99] != "warning: the old place is left" {
		t.Errorf("the summary has %d lines and ends with %q", len(got), got[len(got)-1])
	}
}
