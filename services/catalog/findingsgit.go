package catalog

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// recordForeign keeps a record of what somebody else changed in Git. More of it in the same folder goes on with the same record.
func (s *Service) recordForeign(ctx context.Context, env rules.Env, e *eventsv1.ForeignCommit, at time.Time) error {
	f := rules.GitFinding(env, e, at)
	open, _, err := s.openFinding(ctx, env, f.GetName())
	if err != nil {
		return err
	}
	if open.Record != "" {
		row, err := findingRecords.Get(ctx, s.cfg.KV, open.Record)
		if err != nil {
			return orNil(err, store.ErrNotFound)
		}
		f.DetectTime = row.Msg.GetOnsetTime()
		same := proto.CloneOf(row.Msg.GetFinding())
		if same.DetectTime = f.GetDetectTime(); proto.Equal(same, f) {
			return nil
		}
	}
	return s.recordFinding(ctx, env.Name(), f, at)
}

// recordForeignEnd ends the records of what no longer stands in Git; resolved may be nil, else it tells how one of them ended.
func (s *Service) recordForeignEnd(ctx context.Context, env rules.Env, e *eventsv1.ForeignResolved, at time.Time) error {
	live, err := s.live(ctx, env)
	if err != nil {
		return err
	}
	stands := map[string]bool{}
	for _, f := range live.Msg.GetForeignChanges() {
		stands[rules.GitFindingName(env, f.GetRepository(), f.GetBranch(), f.GetPath())] = true
	}
	resolved := rules.GitFindingName(env, e.GetRepository(), e.GetBranch(), e.GetPath())
	return s.endRecords(ctx, env, at.Add(time.Microsecond), func(rec *catalogv1.FindingRecord) *driftv1.Finding {
		f := rec.GetFinding()
		if !rules.InGit(f) {
			return nil
		}
		how := "deployed"
		switch kept := rec.GetDraft() != ""; {
		case e != nil && f.GetName() == resolved:
			if how = rules.GitEnd(e.GetHow()); kept && how == "ignored" {
				how = "" // its draft may write over it, and ends it when that is deployed
			}
		case kept || stands[f.GetName()]:
			how = ""
		}
		if how == "" {
			return nil
		}
		f = undone(f, at)
		f.Resolution = how
		return f
	})
}

// noteForeignDecision notes with a record who decided about it, why, and which draft adopts it.
func (s *Service) noteForeignDecision(ctx context.Context, env rules.Env, change *catalogv1.ForeignChange, reason string) error {
	name := rules.GitFindingName(env, change.GetRepository(), change.GetBranch(), change.GetPath())
	return s.onRecord(ctx, env, func(tx *store.Tx) error {
		open, _, err := s.openFinding(ctx, env, name)
		if err != nil || open.Record == "" {
			return err
		}
		row, err := findingRecords.Get(ctx, s.cfg.KV, open.Record)
		if err != nil {
			return orNil(err, store.ErrNotFound)
		}
		return s.noteDecided(ctx, tx, env, row, change.GetDraft(), reason)
	})
}

// noteDecided notes a decision of the caller in a record.
func (s *Service) noteDecided(ctx context.Context, tx *store.Tx, env rules.Env, row store.Row[*catalogv1.FindingRecord], draft, reason string) error {
	rec := proto.CloneOf(row.Msg)
	rec.DecideActor, rec.DecideTime, rec.Reason = actor(ctx), timestamppb.New(s.now()), reason
	if draft != "" {
		rec.Draft = draft
		key := acceptedKey(env, draft)
		if _, err := s.cfg.KV.Get(ctx, key); err != nil {
			if err = orNil(err, store.ErrNotFound); err != nil {
				return err
			}
			tx.Put(key, nil)
		}
	}
	return s.putRecord(tx, row.ID, row.Rev, rec)
}

// allowForeign lets deployments write over what a finding in Git is.
func (s *Service) allowForeign(ctx context.Context, env rules.Env, rec *catalogv1.FindingRecord, reason string) error {
	_, err := s.resolveForeign(ctx, env, rec, catalogv1.ResolveForeignChangeRequest_DECISION_OVERWRITE, reason)
	return err
}

// resolveForeign decides about a finding in Git.
func (s *Service) resolveForeign(ctx context.Context, env rules.Env, rec *catalogv1.FindingRecord, d catalogv1.ResolveForeignChangeRequest_Decision, reason string) (*catalogv1.ForeignChange, error) {
	return gitServer{Service: s}.ResolveForeignChange(ctx, &catalogv1.ResolveForeignChangeRequest{
		Name: env.Name(), Path: rec.GetFinding().GetObjectName(), Decision: d, Message: reason,
	})
}

// withDecision notes a decision that went well with the finding's record.
func (s *Service) withDecision(ctx context.Context, env rules.Env, reason string) func(*catalogv1.ForeignChange, error) (*catalogv1.ForeignChange, error) {
	return func(f *catalogv1.ForeignChange, err error) (*catalogv1.ForeignChange, error) {
		if err != nil {
			return nil, err
		}
		return f, s.noteForeignDecision(ctx, env, f, reason)
	}
}
