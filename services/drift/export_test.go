package drift

// GateStats gives how many events came, how many of them were dropped undecoded, and how many comparisons there were.
func (s *Service) GateStats() (events, dropped, compared int64) {
	return s.stats.events.Load(), s.stats.dropped.Load(), s.stats.compared.Load()
}
