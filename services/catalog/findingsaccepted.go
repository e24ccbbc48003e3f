package catalog

import (
	"context"
	"errors"
	"strings"

	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// acceptedKey is the row of a draft that accepts findings of an environment: its value tells that it was deployed.
func acceptedKey(env rules.Env, draft string) string {
	return acceptedPrefix + envKey(env) + draft[strings.LastIndexByte(draft, '/'):]
}

// noteDeployed adds to a deployment's transaction that the draft it is made of is under way, where that accepts findings.
func (s *Service) noteDeployed(ctx context.Context, tx *store.Tx, env rules.Env, draft string) error {
	if draft == "" {
		return nil
	}
	_, err := s.cfg.KV.Get(ctx, acceptedKey(env, draft))
	if err == nil {
		tx.Put(acceptedKey(env, draft), []byte("deployed"))
	}
	return orNil(err, store.ErrNotFound)
}

// draftDeployed reports whether a draft that accepts findings was deployed.
func (s *Service) draftDeployed(ctx context.Context, env rules.Env, draft string) (bool, error) {
	if draft == "" {
		return false, nil
	}
	e, err := s.cfg.KV.Get(ctx, acceptedKey(env, draft))
	return len(e.Value) > 0, orNil(err, store.ErrNotFound)
}

// orNil gives nil for an expected error.
func orNil(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
