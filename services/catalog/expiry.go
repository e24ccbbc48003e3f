package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// expiryKey gives the key under which an environment that expires then is found. Times sort as text, so that those which are
// due stand at the beginning.
func expiryKey(at time.Time, id string) string {
	return fmt.Sprintf("%s%020d/%s", expiryPrefix, at.Unix(), id)
}

// ofExpiryKey is the reverse of expiryKey.
func ofExpiryKey(key string) (at time.Time, id string, ok bool) {
	seconds, id, ok := strings.Cut(strings.TrimPrefix(key, expiryPrefix), "/")
	n, err := strconv.ParseInt(seconds, 10, 64)
	return time.Unix(n, 0), id, ok && err == nil
}

// sweepKey gives the key under which the sweeper finds an environment, "" for one that is none of its business.
func sweepKey(id string, e *catalogv1.Environment) string {
	switch {
	case e == nil:
		return ""
	case e.GetState() == catalogv1.Environment_STATE_DELETING:
		return removalPrefix + id
	case e.GetExpireTime() != nil:
		return expiryKey(e.GetExpireTime().AsTime(), id)
	}
	return ""
}

// reindex adds to tx that the sweeper finds an environment as it will be; before and after are nil for one that is not there.
func reindex(tx *store.Tx, id string, before, after *catalogv1.Environment) {
	was, is := sweepKey(id, before), sweepKey(id, after)
	if was != "" && was != is {
		tx.Delete(was)
	}
	if is != "" {
		tx.Put(is, nil)
	}
}

// beginRemoval notes in an environment's row, which is written with tx, that it is being removed from now on.
func beginRemoval(tx *store.Tx, id string, e *catalogv1.Environment) {
	before := proto.CloneOf(e)
	e.State = catalogv1.Environment_STATE_DELETING
	reindex(tx, id, before, e)
}

// ExtendEnvironment sets how long an environment lives from now on, or that it is kept.
func (s catalogServer) ExtendEnvironment(ctx context.Context, r *catalogv1.ExtendEnvironmentRequest) (*catalogv1.Environment, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if !r.GetKeep() {
		if r.GetTtl() == nil {
			return nil, errs.InvalidField("ttl", "is missing; give how long the environment lives from now on, or keep")
		}
		if err := rules.CheckTTL("ttl", r.GetTtl()); err != nil {
			return nil, err
		}
	}
	var out *catalogv1.Environment
	err = retry(ctx, func() error {
		row, err := s.environment(ctx, env)
		if err != nil {
			return err
		}
		next, err := s.extended(row.Msg, r)
		if err != nil {
			return err
		}
		var tx store.Tx
		if err := environments.Update(&tx, row.ID, row.Rev, next); err != nil {
			return err
		}
		reindex(&tx, row.ID, row.Msg, next)
		if row.Rev, err = s.cfg.KV.Commit(ctx, tx); err != nil {
			return err
		}
		row.Msg = next
		out, err = s.shown(ctx, env, row)
		return err
	})
	return out, err
}

func (s *Service) extended(e *catalogv1.Environment, r *catalogv1.ExtendEnvironmentRequest) (*catalogv1.Environment, error) {
	if e.GetState() == catalogv1.Environment_STATE_DELETING {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"%s is being removed by %s, which cannot be taken back; create it again when it is gone", e.GetName(), e.GetLatestDeployment()).With("state", "DELETING")
	}
	next, now := proto.CloneOf(e), s.now()
	next.ExpireTime, next.UpdateTime = nil, timestamppb.New(now)
	if !r.GetKeep() {
		next.ExpireTime = timestamppb.New(now.Add(r.GetTtl().AsDuration()))
	}
	return next, nil
}
