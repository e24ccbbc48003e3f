package catalog

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// bootstrapActor is who made what nobody made.
const bootstrapActor = "towpath"

// DefaultBootstrap gives what a new server begins with: the cluster that drift finds by itself, a repository that towpathd
// keeps, and three environment types. They differ in replicas only. None reverts findings by itself, so that a person first
// sees what drift is, and none asks for the restricted security context, because many images do not start under it: both are
// one command to turn on.
func DefaultBootstrap() []proto.Message {
	kind := func(id, name string, replicas int32) *catalogv1.EnvironmentType {
		return &catalogv1.EnvironmentType{
			Name: "environmentTypes/" + id, DisplayName: name, Target: defaultTarget, AutomaticSync: true,
			Defaults: &rendererv1.EnvironmentDefaults{Replicas: replicas},
		}
	}
	return []proto.Message{
		&catalogv1.Target{Name: defaultTarget, DisplayName: "Default cluster", Engine: catalogv1.Target_ENGINE_NATIVE},
		&catalogv1.Repository{Name: defaultRepository, DisplayName: "Deployments", Url: "embedded:///deployments"},
		kind("development", "Development", 1),
		kind("staging", "Staging", 1),
		kind("production", "Production", 2),
	}
}

// bootstrap brings the store to its beginning, once, and the bootstrap token to the configured one.
func (s *Service) bootstrap(ctx context.Context) error {
	if err := s.finishRestore(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx, migrations); err != nil {
		return err
	}
	if err := s.pinPlaces(ctx); err != nil {
		return err
	}
	if _, err := s.cfg.KV.Get(ctx, keyBootstrap); errors.Is(err, store.ErrNotFound) {
		if err := s.makeFirst(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if s.cfg.BootstrapToken == "" {
		return nil
	}
	return s.putBootstrapToken(ctx)
}

// makeFirst writes the first objects. What somebody has made meanwhile stays as it is.
func (s *Service) makeFirst(ctx context.Context) error {
	return retry(ctx, func() error {
		var tx store.Tx
		for _, m := range s.cfg.Bootstrap {
			if err := s.addFirst(ctx, &tx, proto.CloneOf(m)); err != nil {
				return err
			}
		}
		tx.If(store.IfAbsent(keyBootstrap)).Put(keyBootstrap, nil)
		_, err := s.cfg.KV.Commit(ctx, tx)
		if key, ok := store.ConflictKey(err); ok && key == keyBootstrap {
			return nil
		}
		return err
	})
}

func (s *Service) addFirst(ctx context.Context, tx *store.Tx, m proto.Message) error {
	switch m := m.(type) {
	case *catalogv1.Target:
		return addFirst(ctx, s, tx, targetKind, m)
	case *catalogv1.Repository:
		return addFirst(ctx, s, tx, repositoryKind, m)
	case *catalogv1.EnvironmentType:
		// Not through complete: its target may be made in the same transaction.
		return putFirst(ctx, s, tx, environmentTypeKind, m)
	}
	return errs.InvalidField("bootstrap", "%s is no target, repository or environment type", m.ProtoReflect().Descriptor().Name())
}

func addFirst[T resource](ctx context.Context, s *Service, tx *store.Tx, c collection[T], m T) error {
	var none T
	if err := c.complete(ctx, s, none, m, tx); err != nil {
		return err
	}
	return putFirst(ctx, s, tx, c, m)
}

func putFirst[T resource](ctx context.Context, s *Service, tx *store.Tx, c collection[T], m T) error {
	id := strings.TrimPrefix(m.GetName(), c.name+"/")
	if _, err := s.cfg.KV.Get(ctx, c.table.Key(id)); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	s.stampNew(ctx, m, c.name+"/"+id)
	setString(m, "create_actor", bootstrapActor)
	return c.table.Create(tx, id, m)
}

// bootstrapTokenID names the token that the server's owner has from the start.
const bootstrapTokenID = "bootstrap-admin"

func (s *Service) putBootstrapToken(ctx context.Context) error {
	hash := hashSecret(s.cfg.BootstrapToken)
	return retry(ctx, func() error {
		old, err := tokens.Get(ctx, s.cfg.KV, bootstrapTokenID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if old.Msg.GetSecret() == hash {
			return nil
		}
		t := &catalogv1.Token{
			Name: "tokens/" + bootstrapTokenID, Description: "Made at the server's first start", Role: catalogv1.Token_ROLE_ADMIN,
			Secret: hash, CreateTime: timestamppb.New(s.now()), CreateActor: bootstrapActor,
		}
		var tx store.Tx
		if old.Msg.GetSecret() != "" {
			tx.Delete(tokenHashPrefix + old.Msg.GetSecret())
		}
		if err := tokens.Update(&tx, bootstrapTokenID, old.Rev, t); err != nil {
			return err
		}
		tx.Put(tokenHashPrefix+hash, []byte(bootstrapTokenID))
		_, err = s.cfg.KV.Commit(ctx, tx)
		s.tokens.purge()
		return err
	})
}
