package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// everything stands for all applications, or all environments, in a parent and in the ids of deploymentTimes.
const everything = "-"

// putTimes adds to a new deployment's transaction that it is found by its time, under its application and under all.
func putTimes(tx *store.Tx, id string, d *catalogv1.Deployment) error {
	app, _, _ := strings.Cut(id, "/")
	at := timeKey(d.GetCreateTime().AsTime())
	return errors.Join(
		deploymentTimes.Put(tx, app+"/"+at+"/"+id, &emptypb.Empty{}),
		deploymentTimes.Put(tx, everything+"/"+at+"/"+id, &emptypb.Empty{}),
	)
}

func timeKey(t time.Time) string { return fmt.Sprintf("%020d", max(0, t.UnixMicro())) }

// ofTimeKey takes an id of deploymentTimes apart into the time and the deployment's id.
func ofTimeKey(id string) (at time.Time, deployment string, ok bool) {
	p := strings.SplitN(id, "/", 3)
	if len(p) != 3 {
		return time.Time{}, "", false
	}
	micros, err := strconv.ParseInt(p[1], 10, 64)
	return time.UnixMicro(micros).UTC(), p[2], err == nil
}

// newestFirst gives deployments by the time of their acceptance, the newest first: those of one application or, for
// everything, of all. It goes from before, not included, zero for now, down to after, included. Each comes with its place.
func (s *Service) newestFirst(ctx context.Context, app string, place string, down time.Time, yield func(place string, d *catalogv1.Deployment) bool) error {
	r := store.ScanRange{Prefix: deploymentTimes.Key(app + "/"), Reverse: true, Limit: 256}
	if place != "" {
		r.After = deploymentTimes.Key(place)
	}
	for {
		page, err := s.cfg.KV.Scan(ctx, r)
		if err != nil {
			return err
		}
		for _, e := range page {
			place := strings.TrimPrefix(e.Key, deploymentTimes.Prefix())
			at, id, ok := ofTimeKey(place)
			if !ok {
				continue
			}
			if at.Before(down) {
				return nil
			}
			row, err := deployments.Get(ctx, s.cfg.KV, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			row.Msg.Etag = store.Etag(row.Rev)
			if !yield(place, row.Msg) {
				return nil
			}
		}
		if len(page) < r.Limit {
			return nil
		}
		r.After = page[len(page)-1].Key
	}
}

// placeAt is a place in the list of an application from which only what was accepted before a time follows.
func placeAt(app string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return app + "/" + timeKey(t)
}

// maxExamined bounds the work of one call whose filter keeps almost nothing; the page then has fewer rows and a token.
const maxExamined = 10_000

// listByTime gives a page of the history of many environments. env is the environment's id, everything for all.
func (s *Service) listByTime(ctx context.Context, app, env string, r *catalogv1.ListDeploymentsRequest, f rules.Filter) (*catalogv1.ListDeploymentsResponse, error) {
	identity := []string{deploymentTimes.Prefix(), app, env, f.String()}
	place, err := store.ParsePageToken(r.GetPageToken(), identity...)
	if err != nil {
		return nil, err
	}
	from, to := f.Between("create_time")
	if place == "" && !to.IsZero() {
		place = placeAt(app, to.Add(time.Microsecond))
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = store.DefaultPageSize
	}
	out := &catalogv1.ListDeploymentsResponse{}
	examined := 0
	err = s.newestFirst(ctx, app, place, from, func(at string, d *catalogv1.Deployment) bool {
		keep := (env == everything || strings.Contains(d.GetName(), "/environments/"+env+"/")) && matches(f, d)
		if len(out.Deployments) == size && keep || examined == maxExamined {
			out.NextPageToken = store.PageToken(place, identity...)
			return false
		}
		examined++
		if place = at; keep {
			out.Deployments = append(out.Deployments, d)
		}
		return true
	})
	return out, err
}

// deploymentFields are what history can be filtered by.
var deploymentFields = []rules.FilterField{
	{Name: "state", Values: enumNames(catalogv1.Deployment_State_name, "STATE_")},
	{Name: "kind", Values: enumNames(catalogv1.Deployment_Kind_name, "KIND_")},
	{Name: "actor"}, {Name: "origin"}, {Name: "create_time", Kind: rules.TimeField},
}

func enumNames(names map[int32]string, prefix string) []string {
	var out []string
	for n := int32(1); names[n] != ""; n++ {
		out = append(out, strings.TrimPrefix(names[n], prefix))
	}
	return out
}

func matches(f rules.Filter, d *catalogv1.Deployment) bool {
	return f.Match(func(field string) rules.FilterValue {
		switch field {
		case "state":
			return rules.FilterText(stateName(d.GetState()))
		case "kind":
			return rules.FilterText(strings.TrimPrefix(d.GetKind().String(), "KIND_"))
		case "actor":
			return rules.FilterText(d.GetActor())
		case "origin":
			return rules.FilterText(d.GetOrigin())
		}
		return rules.FilterTime(d.GetCreateTime().AsTime())
	})
}

// runTimes enters the deployments of a store from before deploymentTimes into it, once. It begins anew after a crash; entering
// one twice changes nothing. Until it is through, lists over many environments lack some old ones.
func (s *Service) runTimes(ctx context.Context) error {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := s.enterTimes(ctx)
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how it is stopped
		}
		s.log.Warn("old deployments are not all found by time yet; it is tried again", "error", err)
		_ = sleep(ctx, wait) // ended by ctx, which enterTimes says next
	}
}

func (s *Service) enterTimes(ctx context.Context) error {
	if _, err := s.cfg.KV.Get(ctx, keyTimes); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var tx store.Tx
	for e, err := range store.All(ctx, s.cfg.KV, deployments.Prefix()) {
		if err != nil {
			return err
		}
		row, err := deployments.Decode(e)
		if err != nil {
			return err
		}
		if err := putTimes(&tx, row.ID, row.Msg); err != nil {
			return err
		}
		if len(tx.Ops) >= store.MaxTxOps/2 {
			if _, err := s.cfg.KV.Commit(ctx, tx); err != nil {
				return err
			}
			tx = store.Tx{}
		}
	}
	tx.Put(keyTimes, nil)
	_, err := s.cfg.KV.Commit(ctx, tx)
	return err
}
