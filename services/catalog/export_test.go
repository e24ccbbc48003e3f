package catalog

import "github.com/towpath-dev/towpath/internal/store"

// Rows gives the database as handlers see it.
func (s *Service) Rows() store.KV { return s.cfg.KV }
