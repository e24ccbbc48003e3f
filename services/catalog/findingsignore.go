package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/ignorerule"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// maxIgnoreRules is how many rules an environment has at the most: they all travel to drift in one message.
const maxIgnoreRules = 500

// ignoreOrder is what a call asks to be ignored: rules for places in the cluster, and changes in Git.
type ignoreOrder struct {
	rules   []*driftv1.IgnoreRule
	foreign []*catalogv1.FindingRecord
}

// IgnoreFindings makes rules by which findings do not count. The same rule again takes the place of the one that is there. A finding in
// Git gets no rule: deployments may write over it from then on.
func (s findingServer) IgnoreFindings(ctx context.Context, r *catalogv1.IgnoreFindingsRequest) (*catalogv1.IgnoreFindingsResponse, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.environment(ctx, env); err != nil {
		return nil, err
	}
	order, err := s.ignoreOrder(ctx, env, r)
	if err != nil {
		return nil, err
	}
	for _, f := range order.foreign {
		if err := s.allowForeign(ctx, env, f, r.GetReason()); err != nil {
			return nil, err
		}
	}
	out := &catalogv1.IgnoreFindingsResponse{Rules: order.rules}
	if len(order.rules) == 0 {
		return out, nil
	}
	return out, retry(ctx, func() error { return s.putIgnoreRules(ctx, env, order.rules) })
}

// ignoreOrder reads and checks what is asked for.
func (s *Service) ignoreOrder(ctx context.Context, env rules.Env, r *catalogv1.IgnoreFindingsRequest) (ignoreOrder, error) {
	var out ignoreOrder
	if (len(r.GetNames()) > 0) == (r.GetRule() != nil) {
		return out, errs.InvalidField("names", "and rule: give one of them, the findings that are to be ignored or a rule")
	}
	if r.GetRule() != nil {
		rule := proto.CloneOf(r.GetRule())
		rule.Owner, rule.Reason = cmp.Or(rule.GetOwner(), r.GetOwner()), cmp.Or(r.GetReason(), rule.GetReason())
		if rule.GetExpireTime() == nil {
			rule.ExpireTime = r.GetExpireTime()
		}
		out.rules = append(out.rules, s.stampRule(ctx, env, rule))
	}
	for _, name := range r.GetNames() {
		rec, err := s.openRecord(ctx, env, name)
		if err != nil {
			return out, err
		}
		if rules.InGit(rec.GetFinding()) {
			out.foreign = append(out.foreign, rec)
			continue
		}
		rule := ignorerule.For(rec.GetFinding())
		rule.Owner, rule.Reason, rule.ExpireTime = r.GetOwner(), r.GetReason(), r.GetExpireTime()
		if rule = s.stampRule(ctx, env, rule); !slices.ContainsFunc(out.rules, func(x *driftv1.IgnoreRule) bool { return x.GetName() == rule.GetName() }) {
			out.rules = append(out.rules, rule)
		}
	}
	for _, rule := range out.rules {
		if err := ignorerule.Check("rule", rule, s.now()); err != nil {
			if r.GetRule() == nil {
				err = renamed(err, "rule.", "")
			}
			return out, err
		}
	}
	return out, nil
}

// stampRule fills in what the server says of a rule. Its id follows from what it is about.
func (s *Service) stampRule(ctx context.Context, env rules.Env, r *driftv1.IgnoreRule) *driftv1.IgnoreRule {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{r.GetObjectKind(), r.GetObjectName(), r.GetField(), r.GetManager()}))
	r.Name = env.Name() + "/ignoreRules/r-" + hex.EncodeToString(sum[:6])
	r.CreateActor, r.CreateTime = actor(ctx), timestamppb.New(s.now())
	r.Owner = cmp.Or(r.GetOwner(), r.GetCreateActor())
	return r
}

func (s *Service) putIgnoreRules(ctx context.Context, env rules.Env, made []*driftv1.IgnoreRule) error {
	var tx store.Tx
	tx.If(store.IfExists(environments.Key(envKey(env))))
	there := 0
	known := map[string]*driftv1.IgnoreRule{}
	for row, err := range ignoreRules.Range(ctx, s.cfg.KV, store.ScanRange{Prefix: envKey(env) + "/"}) {
		if err != nil {
			return err
		}
		there++
		known[row.ID] = row.Msg
	}
	for _, r := range made {
		id := ruleID(env, r)
		if old := known[id]; old == nil {
			there++
		} else if key := ignoreExpiryKey(id, old); key != "" {
			tx.Delete(key)
		}
		if err := ignoreRules.Put(&tx, id, r); err != nil {
			return err
		}
	}
	if there > maxIgnoreRules {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_TOO_LARGE,
			"%s would have %d rules, at most %d are allowed; delete some, or make one with * for many places", env.Name(), there, maxIgnoreRules)
	}
	for _, r := range made {
		if r.GetExpireTime() != nil {
			tx.Put(ignoreExpiryKey(ruleID(env, r), r), nil)
		}
	}
	_, err := s.cfg.KV.Commit(ctx, distinct(tx))
	if k, ok := store.ConflictKey(err); ok && k == environments.Key(envKey(env)) {
		return errs.NotFoundf(env.Name(), "it was removed just now")
	}
	return err
}

// distinct keeps the last operation on each key: a transaction may have one.
func distinct(tx store.Tx) store.Tx {
	last := map[string]int{}
	for i, o := range tx.Ops {
		last[o.Key] = i
	}
	out := store.Tx{Conds: tx.Conds}
	for i, o := range tx.Ops {
		if last[o.Key] == i {
			out.Ops = append(out.Ops, o)
		}
	}
	return out
}

func ruleID(env rules.Env, r *driftv1.IgnoreRule) string {
	return envKey(env) + r.GetName()[strings.LastIndexByte(r.GetName(), '/'):]
}

// ignoreExpiryKey is where the sweeper finds a rule, "" for one that does not end.
func ignoreExpiryKey(id string, r *driftv1.IgnoreRule) string {
	if r.GetExpireTime() == nil {
		return ""
	}
	return fmt.Sprintf("%s%020d/%s", ignoreExpiryPrefix, max(0, r.GetExpireTime().AsTime().Unix()), id)
}

// ListIgnoreRules gives the rules that hold now.
func (s findingServer) ListIgnoreRules(ctx context.Context, r *catalogv1.ListIgnoreRulesRequest) (*catalogv1.ListIgnoreRulesResponse, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.environment(ctx, env); err != nil {
		return nil, err
	}
	out := &catalogv1.ListIgnoreRulesResponse{}
	for row, err := range ignoreRules.Range(ctx, s.cfg.KV, store.ScanRange{Prefix: envKey(env) + "/"}) {
		if err != nil {
			return nil, err
		}
		if t := row.Msg.GetExpireTime(); t == nil || s.now().Before(t.AsTime()) {
			out.IgnoreRules = append(out.IgnoreRules, row.Msg)
		}
	}
	return out, nil
}

// DeleteIgnoreRule takes a rule away.
func (s findingServer) DeleteIgnoreRule(ctx context.Context, r *catalogv1.DeleteIgnoreRuleRequest) (*emptypb.Empty, error) {
	parent, rule, _ := strings.Cut(r.GetName(), "/ignoreRules/")
	env, err := rules.ParseEnv("name", parent)
	if err != nil {
		return nil, err
	}
	err = retry(ctx, func() error {
		row, err := ignoreRules.Get(ctx, s.cfg.KV, envKey(env)+"/"+rule)
		if err != nil {
			return orNotFound(err, r.GetName(), "see `tow drift rules -e %s/%s`", env.App, env.ID)
		}
		return s.dropIgnoreRule(ctx, row)
	})
	return &emptypb.Empty{}, err
}

func (s *Service) dropIgnoreRule(ctx context.Context, row store.Row[*driftv1.IgnoreRule]) error {
	var tx store.Tx
	ignoreRules.Delete(&tx, row.ID, row.Rev)
	if key := ignoreExpiryKey(row.ID, row.Msg); key != "" {
		tx.Delete(key)
	}
	_, err := s.cfg.KV.Commit(ctx, tx)
	return err
}

// sweepIgnoreRules removes the rules that have ended. Drift goes by its own clock, so this is about order and not about time.
func (s *Service) sweepIgnoreRules(ctx context.Context) error {
	end := fmt.Sprintf("%s%020d/\xff", ignoreExpiryPrefix, s.now().Unix()-1)
	for e, err := range store.All(ctx, s.cfg.KV, ignoreExpiryPrefix) {
		if err != nil {
			return err
		}
		if e.Key > end {
			return nil
		}
		id := e.Key[len(ignoreExpiryPrefix)+21:]
		row, err := ignoreRules.Get(ctx, s.cfg.KV, id)
		switch {
		case err == nil && ignoreExpiryKey(id, row.Msg) == e.Key:
			err = s.dropIgnoreRule(ctx, row)
		case err == nil || errors.Is(err, store.ErrNotFound): // it was prolonged, or is gone
			var tx store.Tx
			_, err = s.cfg.KV.Commit(ctx, *tx.Delete(e.Key))
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}
