package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// sweeperSubject is who deletes what has expired.
const sweeperSubject = "system/sweeper"

// sweeper deletes environments that have expired, and finishes removals that failed or that a crash left without a deployment.
// It looks at the index of what expires and of what is being removed, so that it costs the same however many environments there
// are. Several at once do no harm: each order is held to the row that it was given for.
type sweeper struct {
	*Service
	// refused has when to try again what was refused, as by a lock, and how often it was.
	refused map[rules.Env]refusal
}

type refusal struct {
	times int
	until time.Time
	said  string
}

// runSweeper sweeps until ctx ends. Times are those of the service's clock; how often it looks is not.
func (s *Service) runSweeper(ctx context.Context) error {
	w := &sweeper{Service: s, refused: map[rules.Env]refusal{}}
	ctx = auth.WithCaller(ctx, auth.Caller{Subject: sweeperSubject, Role: auth.Admin})
	for mended := false; ; {
		if !mended {
			mended = w.told(ctx, "the index of environments could not be mended", s.mendIndex(ctx))
		}
		w.told(ctx, "expired environments could not be looked at", w.sweepExpired(ctx))
		w.told(ctx, "removals could not be looked at", w.sweepRemovals(ctx))
		w.told(ctx, "decisions about foreign changes could not be sent", w.sweepDecisions(ctx))
		w.told(ctx, "expired ignore rules could not be removed", w.sweepIgnoreRules(ctx))
		if err := sleep(ctx, s.cfg.SweepEvery); err != nil {
			return nil //nolint:nilerr // the end of ctx is how it ends
		}
	}
}

// told logs what went wrong with a whole round; the next one tries again.
func (w *sweeper) told(ctx context.Context, what string, err error) bool {
	if err != nil && ctx.Err() == nil {
		w.log.Warn(what+"; it is tried again", "error", err)
	}
	return err == nil
}

// mendIndex looks at all environments once: rows from before there was an index enter it, and what is in it without reason
// leaves it when it is looked at.
func (s *Service) mendIndex(ctx context.Context) error {
	for e, err := range store.All(ctx, s.cfg.KV, environments.Prefix()) {
		if err != nil {
			return err
		}
		row, err := environments.Decode(e)
		if err != nil {
			return err
		}
		key := sweepKey(row.ID, row.Msg)
		if key == "" {
			continue
		}
		if _, err := s.cfg.KV.Get(ctx, key); !errors.Is(err, store.ErrNotFound) {
			if err != nil {
				return err
			}
			continue
		}
		var tx store.Tx
		tx.If(store.IfRev(environments.Key(row.ID), row.Rev)).Put(key, nil)
		if _, err := s.cfg.KV.Commit(ctx, tx); err != nil && !errors.Is(err, store.ErrConflict) {
			return err // a conflict: who wrote the row has indexed it
		}
	}
	return nil
}

// sweepExpired deletes what is due, by ordinary removals.
func (w *sweeper) sweepExpired(ctx context.Context) error {
	now := w.now()
	for e, err := range store.All(ctx, w.cfg.KV, expiryPrefix) {
		if err != nil {
			return err
		}
		at, id, ok := ofExpiryKey(e.Key)
		if at.After(now) {
			return nil // the others are later
		}
		env, _, isEnv := envOfDepKey(id + "/0")
		if !ok || !isEnv {
			return fmt.Errorf("row %q is damaged", e.Key)
		}
		if err := w.expire(ctx, env, e.Key, now); err != nil {
			return err
		}
	}
	return nil
}

// expire deletes one environment if it has expired; key is where the index has it.
func (w *sweeper) expire(ctx context.Context, env rules.Env, key string, now time.Time) error {
	row, err := w.environment(ctx, env)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if sweepKey(envKey(env), row.Msg) != key {
		return w.unindex(ctx, envKey(env), row.Rev, key)
	}
	at := row.Msg.GetExpireTime().AsTime()
	if at.After(now) || w.refused[env].until.After(now) {
		return nil
	}
	return w.order(ctx, env, order{
		message: "its time to live ended " + at.Format(time.RFC3339), etag: store.Etag(row.Rev),
		request: request{"deployments/" + envKey(env), "expire-" + store.Etag(row.Rev), &catalogv1.DeleteEnvironmentRequest{Name: env.Name()}},
	})
}

// unindex takes an entry out of the index that its environment no longer gives reason for.
func (w *sweeper) unindex(ctx context.Context, id string, rev int64, key string) error {
	var tx store.Tx
	tx.If(store.IfRev(environments.Key(id), rev)).Delete(key)
	if _, err := w.cfg.KV.Commit(ctx, tx); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// sweepRemovals goes on with removals that have ended without removing, and with those that have no deployment at all.
func (w *sweeper) sweepRemovals(ctx context.Context) error {
	now := w.now()
	for e, err := range store.All(ctx, w.cfg.KV, removalPrefix) {
		if err != nil {
			return err
		}
		env, _, ok := envOfDepKey(strings.TrimPrefix(e.Key, removalPrefix) + "/0")
		if !ok {
			return fmt.Errorf("row %q is damaged", e.Key)
		}
		if err := w.finish(ctx, env, e.Key, now); err != nil {
			return err
		}
	}
	return nil
}

// finish tries a removal again when its last attempt has ended, later after each failure in a row.
func (w *sweeper) finish(ctx context.Context, env rules.Env, key string, now time.Time) error {
	row, err := w.environment(ctx, env)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if sweepKey(envKey(env), row.Msg) != key {
		return w.unindex(ctx, envKey(env), row.Rev, key)
	}
	failures, last, err := w.failures(ctx, env, row.Msg.GetGeneration())
	if err != nil || last != nil && !rules.IsFinal(last.GetState()) {
		return err
	}
	if last != nil && now.Before(last.GetEndTime().AsTime().Add(rules.Backoff(failures))) || w.refused[env].until.After(now) {
		return nil
	}
	why := "nothing was left to do it"
	if last != nil {
		why = "the last attempt, " + last.GetName() + ", ended as " + stateName(last.GetState())
	}
	return w.order(ctx, env, order{message: "removal tried again: " + why, etag: store.Etag(row.Rev)})
}

// failures counts the removals in a row that ended without removing, back from the newest deployment, which it gives too; nil
// when that is no removal.
func (w *sweeper) failures(ctx context.Context, env rules.Env, newest int64) (n int, last *catalogv1.Deployment, err error) {
	const most = 10
	for generation := newest; generation > 0 && n < most; generation-- {
		d, err := w.deployment(ctx, env, generation)
		if errs.Is(err, errs.NotFound) {
			break
		}
		if err != nil {
			return n, last, err
		}
		if !isRemoval(d) {
			break
		}
		if last == nil {
			last = d
		}
		n++
	}
	return n, last, nil
}

// order gives a removal into the line. What refuses it, as a lock does, is told once and tried again later; it is no reason to
// leave the others alone.
func (w *sweeper) order(ctx context.Context, env rules.Env, o order) error {
	o.env, o.kind, o.decide, o.origin = env, catalogv1.Deployment_KIND_REMOVAL, w.removal, "sweeper"
	d, err := w.deploy(ctx, o, w.acceptRemoval)
	switch k := errs.KindOf(err); {
	case err == nil:
		delete(w.refused, env)
		w.log.Info("an environment is removed", "environment", env.Name(), "deployment", d.GetName(), "why", o.message)
		return nil
	case k == errs.Conflict, k == errs.NotFound:
		return nil // somebody extended, changed or removed it just now
	case k == errs.Precondition, k == errs.Invalid:
		r := w.refused[env]
		r.times++
		r.until = w.now().Add(rules.Backoff(r.times))
		if said := errs.Message(err); said != r.said {
			r.said = said
			w.log.Warn("an environment cannot be removed now; it is tried again", "environment", env.Name(), "error", err)
		}
		w.refused[env] = r
		return nil
	}
	return err
}
