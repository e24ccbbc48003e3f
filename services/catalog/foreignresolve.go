package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// ResolveForeignChange decides what becomes of what somebody else changed. A decision is written with the environment's row, and
// from there it reaches the committer whatever happens meanwhile; the committer carries it out once.
func (s gitServer) ResolveForeignChange(ctx context.Context, r *catalogv1.ResolveForeignChangeRequest) (*catalogv1.ForeignChange, error) {
	env, err := rules.ParseEnv("name", r.GetName())
	if err != nil {
		return nil, err
	}
	f, err := s.foreignChange(ctx, env, r.GetPath())
	if err != nil {
		return nil, err
	}
	if err := rules.CheckDecision(f, r.GetFoundTree()); err != nil {
		return nil, err
	}
	if r.GetDecision() == catalogv1.ResolveForeignChangeRequest_DECISION_ADOPT {
		return s.withDecision(ctx, env, r.GetMessage())(s.adoptForeign(ctx, env, f))
	}
	decision := eventsv1.ForeignDecision_DECISION_OVERWRITE
	if r.GetDecision() == catalogv1.ResolveForeignChangeRequest_DECISION_RESTORE {
		decision = eventsv1.ForeignDecision_DECISION_RESTORE
	}
	return s.withDecision(ctx, env, r.GetMessage())(s.decideForeign(ctx, env, f, decision, r.GetMessage()))
}

// foreignChange reads what others changed in a folder of an environment.
func (s *Service) foreignChange(ctx context.Context, env rules.Env, path string) (*catalogv1.ForeignChange, error) {
	if _, err := s.environment(ctx, env); err != nil {
		return nil, err
	}
	row, err := s.live(ctx, env)
	if err != nil {
		return nil, err
	}
	return rules.FindForeign(env, row.Msg.GetForeignChanges(), path)
}

// decideForeign writes a decision down and sends it.
func (s *Service) decideForeign(ctx context.Context, env rules.Env, f *catalogv1.ForeignChange, decision eventsv1.ForeignDecision_Decision, why string) (*catalogv1.ForeignChange, error) {
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, err
	}
	var out *catalogv1.ForeignChange
	err = retry(ctx, func() error {
		var tx store.Tx
		out, err = s.addDecision(ctx, &tx, c, f, decision, why)
		if err != nil || len(tx.Ops) == 0 {
			return err
		}
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.sendDecision(ctx, env, decisionKey(env, f.GetPath())); err != nil {
		s.log.Info("a decision about a foreign change is sent later", "environment", env.Name(), "error", err)
	}
	return out, nil
}

// addDecision adds a decision to the transaction; nothing when the same one is on its way.
func (s *Service) addDecision(ctx context.Context, tx *store.Tx, c current, f *catalogv1.ForeignChange, decision eventsv1.ForeignDecision_Decision, why string) (*catalogv1.ForeignChange, error) {
	ref, err := s.foreignRepository(ctx, c, f)
	if err != nil {
		return nil, err
	}
	key := decisionKey(c.env, f.GetPath())
	pending, err := s.cfg.KV.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	d := &eventsv1.ForeignDecision{
		Environment: c.env.Name(), Repository: ref, Path: f.GetPath(), FoundTree: f.GetFoundTree(), Decision: decision,
		Author: author(actor(ctx)), Message: why, RequestTime: timestamppb.New(s.now()),
		RequestId: "foreign-" + rules.ForeignKey(c.env, f) + "-" + strings.ToLower(strings.TrimPrefix(decision.String(), "DECISION_")),
	}
	if err == nil {
		earlier := &eventsv1.ForeignDecision{}
		if err := proto.Unmarshal(pending.Value, earlier); err != nil {
			return nil, fmt.Errorf("row %q is damaged: %w", key, err)
		}
		if earlier.GetRequestId() == d.GetRequestId() {
			return f, nil
		}
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"somebody has decided about %s already, and Git is to follow; look again in a moment", f.GetPath()).With("state", "DECIDED")
	}
	var out *catalogv1.ForeignChange
	row, ok, err := s.reportable(ctx, tx, c.env, 0)
	if err != nil {
		return nil, err
	}
	next := proto.CloneOf(row.Msg)
	for _, g := range next.GetForeignChanges() {
		if ok && rules.ForeignKey(c.env, g) == rules.ForeignKey(c.env, f) {
			g.State, out = catalogv1.ForeignChange_STATE_DECIDED, g
		}
	}
	if out == nil {
		return nil, rules.CheckDecision(f, "another")
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		return nil, err
	}
	tx.If(store.IfAbsent(key)).Put(key, value)
	return out, liveEnvironments.Update(tx, row.ID, row.Rev, next)
}

// decisionKey is where a decision waits until the committer has answered.
func decisionKey(env rules.Env, path string) string {
	sum := sha256.Sum256([]byte(path))
	return decisionPrefix + envKey(env) + "/" + hex.EncodeToString(sum[:8])
}

// foreignSubject is where the committer gets decisions about foreign changes: beside the environment's commands, not behind them.
func foreignSubject(env rules.Env, ref *committerv1.RepositoryRef) (string, error) {
	subject, err := commandSubject(env, ref)
	return subject + ".foreign", err
}

// sendDecision publishes a decision that waits, unless the committer has it.
func (s *Service) sendDecision(ctx context.Context, env rules.Env, key string) error {
	e, err := s.cfg.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d := &eventsv1.ForeignDecision{}
	if err := proto.Unmarshal(e.Value, d); err != nil {
		return fmt.Errorf("row %q is damaged: %w", key, err)
	}
	subject, err := foreignSubject(env, d.GetRepository())
	if err != nil {
		return err
	}
	if pending, err := s.cfg.Bus.PendingCommand(ctx, subject); err != nil || pending {
		return err
	}
	// Within its window the event server drops an id that it had, so a later attempt has another one; the committer knows the
	// request's id.
	id := fmt.Sprintf("%s@%d", d.GetRequestId(), s.now().Unix()/int64(resendDecision/time.Second))
	return s.cfg.Bus.Publish(ctx, events.Message{
		Subject: subject, ID: id, Type: typePrefix + "environment.foreign_decision", Source: source, Resource: d.GetEnvironment(),
		Time: d.GetRequestTime().AsTime(), Body: d,
	})
}

// resendDecision is after how long a decision without an answer is sent again.
const resendDecision = 30 * time.Second

// sweepDecisions sends the decisions that have no answer yet.
func (s *Service) sweepDecisions(ctx context.Context) (failed error) {
	for e, err := range store.All(ctx, s.cfg.KV, decisionPrefix) {
		if err != nil {
			return err
		}
		env, _, ok := envOfDepKey(strings.TrimPrefix(e.Key[:strings.LastIndexByte(e.Key, '/')], decisionPrefix) + "/0")
		if !ok {
			return fmt.Errorf("row %q is damaged", e.Key)
		}
		if _, err := s.environment(ctx, env); errs.Is(err, errs.NotFound) {
			var tx store.Tx
			tx.Delete(e.Key)
			if _, err := s.cfg.KV.Commit(ctx, tx); err != nil {
				return err
			}
			continue
		}
		failed = errors.Join(failed, s.sendDecision(ctx, env, e.Key)) // one that cannot be sent stops no other
	}
	return failed
}

// forgetDecision drops a decision that has its answer.
func (s *Service) forgetDecision(ctx context.Context, env rules.Env, e *eventsv1.ForeignResolved) error {
	key := decisionKey(env, e.GetPath())
	row, err := s.cfg.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d := &eventsv1.ForeignDecision{}
	if err := proto.Unmarshal(row.Value, d); err != nil || d.GetFoundTree() != e.GetFoundTree() {
		return err
	}
	var tx store.Tx
	tx.If(store.IfRev(key, row.Rev)).Delete(key)
	_, err = s.cfg.KV.Commit(ctx, tx)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
