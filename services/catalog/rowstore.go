package catalog

import (
	"context"

	"github.com/towpath-dev/towpath/internal/store"
)

// rowStore is the database as the handlers see it: what is written on behalf of a call goes into the audit trail with it.
type rowStore struct {
	store.KV
	s *Service
}

// Commit implements store.KV.
func (r rowStore) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	return r.s.commitAudited(ctx, r.KV, tx)
}
