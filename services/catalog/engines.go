package catalog

import (
	"context"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// completeEngine checks a target's engine. It stays the same while environments run there: two engines would own the same objects, and
// the one that lets go may take them along. Another target and `tow adopt` bring them over.
func completeEngine(ctx context.Context, s *Service, old, msg *catalogv1.Target, tx *store.Tx) error {
	if msg.GetEngine() == catalogv1.Target_ENGINE_UNSPECIFIED {
		msg.Engine = catalogv1.Target_ENGINE_NATIVE
	}
	if err := rules.CheckEngine("target", msg); err != nil {
		return err
	}
	if old == nil || !rules.EngineMoves(old, msg) {
		return nil
	}
	types, err := s.typesOn(ctx, msg.GetName())
	if err != nil {
		return err
	}
	for _, t := range types {
		if err := rules.CheckSecretEngine("target.engine", msg.GetEngine(), t.GetDefaults().GetSecrets()); err != nil {
			return errs.InvalidField("target.engine", "%s has its Secrets generated, which only the engine native does; change its strategy first, as with `tow type update %s --secret-strategy existing`",
				t.GetName(), strings.TrimPrefix(t.GetName(), "environmentTypes/")).Because(err)
		}
	}
	key := targets.Key(strings.TrimPrefix(msg.GetName(), "targets/"))
	return s.refuseWhileUsed(ctx, tx, key, msg.GetName(), "given to another engine while environments run there, because both would own the same objects",
		func() (string, error) {
			return find(ctx, s, environments, func(e *catalogv1.Environment) bool {
				for _, t := range types {
					if e.GetType() == t.GetName() {
						return true
					}
				}
				return false
			})
		})
}

// typesOn gives the environment types of a target.
func (s *Service) typesOn(ctx context.Context, target string) ([]*catalogv1.EnvironmentType, error) {
	var out []*catalogv1.EnvironmentType
	for e, err := range store.All(ctx, s.cfg.KV, environmentTypes.Prefix()) {
		if err != nil {
			return nil, err
		}
		row, err := environmentTypes.Decode(e)
		if err != nil {
			return nil, err
		}
		if row.Msg.GetTarget() == target {
			out = append(out, row.Msg)
		}
	}
	return out, nil
}

// checkEnginePlace checks that the target's engine can bring the environment from where it stands in Git.
func (s *Service) checkEnginePlace(c current) error {
	return rules.CheckEnginePlace(c.env.Name(), c.site.target, c.site.place, append([]*catalogv1.Repository{c.site.repo}, c.site.parts...), s.cfg.PublicURL)
}
