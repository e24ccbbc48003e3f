package catalog

import (
	"context"
	"errors"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

const strategyField = "environment_type.defaults.secrets.strategy"

// checkSecretRules checks where an environment type's Secrets come from. The strategy stays the same while there are environments of
// the type: whoever makes a Secret anew makes another password, and the data that was made with the old one is lost.
func checkSecretRules(ctx context.Context, s *Service, old, msg *catalogv1.EnvironmentType, tx *store.Tx) error {
	now := msg.GetDefaults().GetSecrets()
	if err := rules.CheckSecretRules("environment_type.defaults.secrets", now); err != nil {
		return err
	}
	id := strings.TrimPrefix(msg.GetTarget(), "targets/")
	target, err := targets.Get(ctx, s.cfg.KV, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) { // that it must exist is said where the reference is checked
		return err
	}
	if err := rules.CheckSecretEngine(strategyField, target.Msg.GetEngine(), now); err != nil {
		return err
	}
	if old == nil || rules.Strategy(old.GetDefaults().GetSecrets()) == rules.Strategy(now) {
		return nil
	}
	key := environmentTypes.Key(strings.TrimPrefix(msg.GetName(), "environmentTypes/"))
	return s.refuseWhileUsed(ctx, tx, key, msg.GetName(), "given another strategy for secrets, which would make new passwords for old data",
		func() (string, error) { return s.environmentOfType(ctx, msg.GetName()) })
}
