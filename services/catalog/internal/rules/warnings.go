package rules

import (
	"slices"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// warn adds to a deployment's summary what a person should see to, at the expense of its last lines where it is full.
func warn(d *catalogv1.Deployment, warnings []string) {
	for _, w := range warnings {
		if line := "warning: " + w; !slices.Contains(d.GetSummary(), line) {
			d.Summary = append(d.Summary[:min(len(d.Summary), maxSummaryLines-1)], line)
		}
	}
}
