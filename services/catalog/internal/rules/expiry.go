package rules

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// How long an environment may be given to live. Less than a minute would be over before it runs; more than ten years is for ever.
const (
	MinTTL = time.Minute
	MaxTTL = 10 * 365 * 24 * time.Hour
)

// CheckTTL checks how long an environment is to live.
func CheckTTL(field string, ttl *durationpb.Duration) error {
	if !ttl.IsValid() || ttl.AsDuration() < MinTTL || ttl.AsDuration() > MaxTTL {
		return errs.InvalidField(field, "is not between 1 minute and 10 years; give a time such as 72h, or none for an environment that stays")
	}
	return nil
}

// Backoff is how long a removal that failed is left alone before the next attempt; failures counts those in a row.
func Backoff(failures int) time.Duration {
	return min(time.Minute<<min(max(failures-1, 0), 10), time.Hour)
}

// Copied gives the part of an intent that a new environment takes over: set, overlay and the environment's own variables. The
// rest depends on where it is rendered and is pinned anew.
func Copied(intent *catalogv1.Intent) *catalogv1.Intent {
	from := proto.CloneOf(intent)
	return &catalogv1.Intent{
		Set: from.GetSet(), Overlay: from.GetOverlay(), Variables: from.GetVariables(), SecretVariables: from.GetSecretVariables(),
	}
}
