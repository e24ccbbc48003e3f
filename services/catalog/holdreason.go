package catalog

import "github.com/towpath-dev/towpath/services/catalog/internal/rules"

// holdReason tells why a deployment would wait or be refused now, "" when nothing holds it.
func (s *Service) holdReason(c current) string {
	held := rules.HeldBy(c.row.Msg.GetLock(), c.site.typ.GetFreezes(), c.kind, s.now())
	switch {
	case held == nil:
		return ""
	case held.Refuse:
		return held.Reason() + "; deployments are refused"
	default:
		return held.Reason() + "; deployments wait"
	}
}
