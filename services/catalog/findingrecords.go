package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// openFinding is the row of a finding that is open: which record it has, and when it was told last, so that a late event changes
// nothing.
type openFinding struct {
	Record string    `json:"record"`
	Told   time.Time `json:"told"`
}

func openFindingKey(env rules.Env, finding string) string {
	return openFindingPrefix + envKey(env) + finding[strings.LastIndexByte(finding, '/'):]
}

func (s *Service) openFinding(ctx context.Context, env rules.Env, finding string) (openFinding, int64, error) {
	var o openFinding
	e, err := s.cfg.KV.Get(ctx, openFindingKey(env, finding))
	if errors.Is(err, store.ErrNotFound) {
		return o, 0, nil
	}
	if err == nil {
		if err = json.Unmarshal(e.Value, &o); err != nil {
			err = fmt.Errorf("row %q is damaged: %w", e.Key, err)
		}
	}
	return o, e.Rev, err
}

// recordFinding takes in what is told of one finding. Its record follows from the finding and its onset, so that it does not matter
// how often and in which order events come.
func (s *Service) recordFinding(ctx context.Context, environment string, f *driftv1.Finding, at time.Time) error {
	env, err := rules.ParseEnv("environment", environment)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(f.GetName(), env.Name()+"/findings/") || f.GetDetectTime() == nil {
		return nil // without its place and onset there is nothing to keep a record of
	}
	return s.onRecord(ctx, env, func(tx *store.Tx) error {
		id := envKey(env) + "/" + rules.RecordID(f.GetName(), rules.Onset(f))
		row, err := findingRecords.Get(ctx, s.cfg.KV, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if row.Msg.GetEndTime() != nil {
			return nil
		}
		open, rev, err := s.openFinding(ctx, env, f.GetName())
		if err != nil {
			return err
		}
		t := told{env: env, finding: f, at: at, id: id, row: row, open: open, openRev: rev}
		if f.GetResolveTime() != nil {
			return s.resolved(ctx, tx, t)
		}
		return s.detected(ctx, tx, t)
	})
}

// told is one event about a finding, and what is known of it. row is empty where it has no record.
type told struct {
	env     rules.Env
	finding *driftv1.Finding
	at      time.Time
	id      string
	row     store.Row[*catalogv1.FindingRecord]
	open    openFinding
	openRev int64
}

// onRecord commits what change adds, as long as the environment is there; records of one that is gone have ended with it.
func (s *Service) onRecord(ctx context.Context, env rules.Env, change func(tx *store.Tx) error) error {
	here := environments.Key(envKey(env))
	return retry(ctx, func() error {
		var tx store.Tx
		if err := change(&tx); err != nil || len(tx.Ops) == 0 {
			return err
		}
		tx.If(store.IfExists(here))
		_, err := s.cfg.KV.Commit(ctx, tx)
		if k, ok := store.ConflictKey(err); ok && k == here {
			return nil
		}
		return err
	})
}

func (s *Service) detected(ctx context.Context, tx *store.Tx, t told) error {
	if t.row.Msg != nil && !t.at.After(t.open.Told) {
		return nil
	}
	rec := proto.CloneOf(t.row.Msg)
	if t.row.Msg == nil {
		live, err := s.live(ctx, t.env)
		if err != nil {
			return err
		}
		rec = rules.NewRecord(t.env, t.finding, live.Msg.GetActiveDeployment())
		if t.open.Record > t.id { // it came back since, and the end of this one was not told
			onset, err := rules.OnsetOf(t.open.Record[strings.LastIndexByte(t.open.Record, '/')+1:])
			if err != nil {
				return err
			}
			rules.EndRecord(rec, undone(t.finding, onset), false)
			return s.putRecord(tx, t.id, 0, rec)
		}
		if t.open.Record != "" { // its end was not told, and now it is there anew
			if err := s.endUntold(ctx, tx, t.open.Record, rules.Onset(t.finding)); err != nil {
				return err
			}
		}
	}
	rec.Finding = proto.CloneOf(t.finding)
	rec.Finding.Standing = driftv1.Finding_STANDING_OPEN
	value, err := json.Marshal(openFinding{Record: t.id, Told: t.at})
	if err != nil {
		return fmt.Errorf("encode %q: %w", openFindingPrefix, err)
	}
	key := openFindingKey(t.env, t.finding.GetName())
	tx.If(store.IfRev(key, t.openRev)).Put(key, value)
	return s.putRecord(tx, t.id, t.row.Rev, rec)
}

func (s *Service) resolved(ctx context.Context, tx *store.Tx, t told) error {
	rec := proto.CloneOf(t.row.Msg)
	if t.row.Msg == nil {
		live, err := s.live(ctx, t.env)
		if err != nil {
			return err
		}
		rec = rules.NewRecord(t.env, t.finding, live.Msg.GetActiveDeployment())
	}
	deployed, err := s.draftDeployed(ctx, t.env, rec.GetDraft())
	if err != nil {
		return err
	}
	rules.EndRecord(rec, t.finding, deployed)
	if rec.GetIgnoreRule() != "" {
		if err := s.reasonOfRule(ctx, t.env, rec); err != nil {
			return err
		}
	}
	if t.open.Record == t.id {
		key := openFindingKey(t.env, t.finding.GetName())
		tx.If(store.IfRev(key, t.openRev)).Delete(key)
	}
	return s.putRecord(tx, t.id, t.row.Rev, rec)
}

// putRecord writes a record, a new one where rev is 0: that can be found by its time, too.
func (s *Service) putRecord(tx *store.Tx, id string, rev int64, rec *catalogv1.FindingRecord) error {
	if rev == 0 {
		app, _, _ := strings.Cut(id, "/")
		for _, scope := range []string{app, everything} {
			if err := recordTimes.Put(tx, recordTimeID(scope, id), &emptypb.Empty{}); err != nil {
				return err
			}
		}
	}
	return findingRecords.Update(tx, id, rev, rec)
}

// recordTimeID is where a record is found by its onset: {application, - for all}/{onset}/{id in findingRecords}.
func recordTimeID(scope, id string) string {
	stamp, _, _ := strings.Cut(id[strings.LastIndexByte(id, '/')+1:], "-")
	return scope + "/" + stamp + "/" + id
}

// undone gives a finding as if it had ended then, where nobody said how.
func undone(f *driftv1.Finding, at time.Time) *driftv1.Finding {
	f = proto.CloneOf(f)
	f.ResolveTime, f.Resolution = timestamppb.New(at), "undone"
	return f
}

// endUntold ends a record whose end was not told.
func (s *Service) endUntold(ctx context.Context, tx *store.Tx, id string, at time.Time) error {
	row, err := findingRecords.Get(ctx, s.cfg.KV, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.Msg.GetEndTime() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	rec := proto.CloneOf(row.Msg)
	rules.EndRecord(rec, undone(rec.GetFinding(), at), false)
	return s.putRecord(tx, id, row.Rev, rec)
}

// reasonOfRule notes why a finding does not count.
func (s *Service) reasonOfRule(ctx context.Context, env rules.Env, rec *catalogv1.FindingRecord) error {
	row, err := ignoreRules.Get(ctx, s.cfg.KV, ruleID(env, &driftv1.IgnoreRule{Name: rec.GetIgnoreRule()}))
	if err == nil {
		rec.Reason = row.Msg.GetReason()
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// openRecord gives the record of an open finding.
func (s *Service) openRecord(ctx context.Context, env rules.Env, finding string) (*catalogv1.FindingRecord, error) {
	if parent, id, ok := strings.Cut(finding, "/findings/"); !ok || parent != env.Name() || id == "" || strings.Contains(id, "/") {
		return nil, errs.InvalidField("names", "%.200q is no finding of %s", finding, env.Name())
	}
	open, _, err := s.openFinding(ctx, env, finding)
	if err != nil {
		return nil, err
	}
	row, err := findingRecords.Get(ctx, s.cfg.KV, open.Record)
	if open.Record == "" || errors.Is(err, store.ErrNotFound) {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_FINDING_GONE,
			"%s is not there (any more); list the findings again", finding).With("resource", finding)
	}
	return row.Msg, err
}

// openRecords gives the records of an environment's open findings, in the order of the findings' ids.
func (s *Service) openRecords(ctx context.Context, under string) ([]store.Row[*catalogv1.FindingRecord], error) {
	var out []store.Row[*catalogv1.FindingRecord]
	for e, err := range store.All(ctx, s.cfg.KV, openFindingPrefix+under) {
		if err != nil {
			return nil, err
		}
		var o openFinding
		if err := json.Unmarshal(e.Value, &o); err != nil {
			return nil, fmt.Errorf("row %q is damaged: %w", e.Key, err)
		}
		row, err := findingRecords.Get(ctx, s.cfg.KV, o.Record)
		if errors.Is(err, store.ErrNotFound) {
			continue // it ended just now
		}
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

// endRecords ends what is open in an environment and was told before a time, where ends says how; where it gives nil the finding stays
// open.
func (s *Service) endRecords(ctx context.Context, env rules.Env, before time.Time, ends func(*catalogv1.FindingRecord) *driftv1.Finding) error {
	rows, err := s.openRecords(ctx, envKey(env)+"/")
	if err != nil {
		return err
	}
	for _, row := range rows {
		if ends(row.Msg) == nil {
			continue
		}
		err := retry(ctx, func() error { return s.endRecord(ctx, env, row.ID, before, ends) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) endRecord(ctx context.Context, env rules.Env, id string, before time.Time, ends func(*catalogv1.FindingRecord) *driftv1.Finding) error {
	row, err := findingRecords.Get(ctx, s.cfg.KV, id)
	if err != nil || row.Msg.GetEndTime() != nil {
		return err
	}
	name := row.Msg.GetFinding().GetName()
	open, rev, err := s.openFinding(ctx, env, name)
	if err != nil || open.Record != id || !open.Told.Before(before) {
		return err
	}
	f := ends(row.Msg)
	if f == nil {
		return nil
	}
	deployed, err := s.draftDeployed(ctx, env, row.Msg.GetDraft())
	if err != nil {
		return err
	}
	rec := proto.CloneOf(row.Msg)
	rules.EndRecord(rec, f, deployed)
	var tx store.Tx
	tx.If(store.IfRev(openFindingKey(env, name), rev)).Delete(openFindingKey(env, name))
	if err := s.putRecord(&tx, id, row.Rev, rec); err != nil {
		return err
	}
	_, err = s.cfg.KV.Commit(ctx, tx)
	return err
}

// nothingDrifts ends the findings in the cluster whose end got lost, where drift says that it has none.
func (s *Service) nothingDrifts(ctx context.Context, env rules.Env, at time.Time) error {
	return s.endRecords(ctx, env, at, func(rec *catalogv1.FindingRecord) *driftv1.Finding {
		if rules.InGit(rec.GetFinding()) {
			return nil
		}
		return undone(rec.GetFinding(), at)
	})
}

// forgetDecisions ends what was open in an environment that is gone, and removes its rules. Records stay, as all history does.
func (s *Service) forgetDecisions(ctx context.Context, env rules.Env, at time.Time, actor string) error {
	if _, err := environments.Get(ctx, s.cfg.KV, envKey(env)); !errors.Is(err, store.ErrNotFound) {
		return err // it is there again
	}
	err := s.endRecords(ctx, env, at.Add(time.Microsecond), func(rec *catalogv1.FindingRecord) *driftv1.Finding {
		f := undone(rec.GetFinding(), at)
		f.Resolution, f.DecideActor, f.DecideTime = "deployed", actor, f.GetResolveTime()
		return f
	})
	if err != nil {
		return err
	}
	for row, err := range ignoreRules.Range(ctx, s.cfg.KV, store.ScanRange{Prefix: envKey(env) + "/"}) {
		if err == nil && row.Msg.GetCreateTime().AsTime().Before(at) {
			err = s.dropIgnoreRule(ctx, row)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return s.dropPrefix(ctx, acceptedPrefix+envKey(env)+"/")
}

func (s *Service) dropPrefix(ctx context.Context, prefix string) error {
	for e, err := range store.All(ctx, s.cfg.KV, prefix) {
		if err != nil {
			return err
		}
		var tx store.Tx
		if _, err := s.cfg.KV.Commit(ctx, *tx.Delete(e.Key)); err != nil {
			return err
		}
	}
	return nil
}
