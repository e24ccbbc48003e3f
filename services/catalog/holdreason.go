package catalog

import (
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// holdReason tells why a deployment would wait or be refused now, "" when nothing holds it.
func (s *Service) holdReason(c current) string {
	lock := c.row.Msg.GetLock()
	if lock == nil {
		return ""
	}
	if end := lock.GetExpireTime(); end != nil && !end.AsTime().After(s.now()) {
		return ""
	}
	reason := "locked by " + lock.GetActor()
	if lock.GetMessage() != "" {
		reason += ": " + lock.GetMessage()
	}
	if end := lock.GetExpireTime(); end != nil {
		reason += " (until " + end.AsTime().UTC().Format(time.RFC3339) + ")"
	}
	if lock.GetHold() == catalogv1.Hold_HOLD_REFUSE {
		return reason + "; deployments are refused"
	}
	return reason + "; deployments wait"
}
