package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// The audit trail. A call that changes something carries an auditCall in its context from before it is authenticated, see
// Auditor. Every transaction under that context gets one more write, the call's event: so no change can be committed and not be
// in the trail, whichever handler makes it and without its doing. What ends without a transaction, refused and failed calls above
// all, is recorded on its own, before the answer leaves.

// auditCall is one call on its way into the trail.
type auditCall struct {
	call   *rpc.Call
	output protoreflect.FullName

	mu    sync.Mutex
	id    string
	event *catalogv1.AuditEvent
	// committed says that a transaction with the event took effect; ended that the call has its outcome.
	committed, ended bool
}

type auditCallKey struct{}

// Auditor gives what records the calls of this catalog's services.
func (s *Service) Auditor() rpc.Auditor { return auditor{s: s} }

type auditor struct{ s *Service }

// Audits implements rpc.Auditor.
func (a auditor) Audits(fullMethod string) bool { return audit.Mutates(fullMethod) }

// Begin implements rpc.Auditor.
func (a auditor) Begin(ctx context.Context, c *rpc.Call) context.Context {
	return context.WithValue(ctx, auditCallKey{}, &auditCall{call: c, output: audit.OutputOf(c.Method)})
}

// auditWait bounds how long an answer waits for its record when the store does not work.
const auditWait = 5 * time.Second

// End implements rpc.Auditor.
func (a auditor) End(ctx context.Context, c *rpc.Call, err error) {
	rec, ok := ctx.Value(auditCallKey{}).(*auditCall)
	if !ok {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.ended = true
	if err == nil && rec.committed {
		return
	}
	left := int64(0)
	if err != nil {
		if left, ok = a.s.refusals.Admit(status.Code(err)); !ok {
			return
		}
	}
	if rec.begin(a.s.now()); err != nil {
		audit.Failed(rec.event, err)
	}
	audit.LeftOutBefore(rec.event, left)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditWait)
	defer cancel()
	if err := a.s.recordAlone(ctx, rec.event); err != nil {
		a.s.log.Error("a call could not be recorded in the audit trail", "method", c.Method, "caller", c.Caller,
			"resource", rec.event.GetResource(), "code", rec.event.GetCode(), "request_id", c.RequestID, "error", err)
	}
}

// begin makes the call's event unless it is there already.
func (rec *auditCall) begin(now time.Time) {
	if rec.event != nil {
		return
	}
	rec.id = audit.NewID(now)
	rec.event = audit.NewEvent(rec.id, now, rec.call)
	if rec.call.Request != nil {
		putPayload(rec.event, payloadRequest, rec.call.Request)
	}
}

// commitAudited commits a transaction together with the event of the call that it belongs to.
func (s *Service) commitAudited(ctx context.Context, kv store.KV, tx store.Tx) (int64, error) {
	rec, ok := ctx.Value(auditCallKey{}).(*auditCall)
	if !ok || len(tx.Ops) == 0 {
		return kv.Commit(ctx, tx)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.ended { // something that the call has left running
		return kv.Commit(ctx, tx)
	}
	rec.begin(s.now())
	event := rec.event
	if !rec.committed {
		event = proto.CloneOf(event) // a transaction that fails leaves nothing of itself
	}
	event.Actor = rec.actor()
	if err := s.describe(ctx, kv, rec, event, tx); err != nil {
		return 0, err
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(event)
	if err != nil {
		return 0, fmt.Errorf("encode audit event: %w", err)
	}
	with := store.Tx{Conds: tx.Conds, Ops: append(tx.Ops[:len(tx.Ops):len(tx.Ops)], store.Op{Key: auditEvents.Key(rec.id), Value: value})}
	rev, err := kv.Commit(ctx, with)
	if err == nil {
		rec.event, rec.committed = event, true
	}
	return rev, err
}

func (rec *auditCall) actor() string {
	if rec.call.Caller == "" {
		return "unknown"
	}
	return rec.call.Caller
}

// describe notes in the event what the transaction does to the call's resource.
func (s *Service) describe(ctx context.Context, kv store.KV, rec *auditCall, event *catalogv1.AuditEvent, tx store.Tx) error {
	op, kind, ok := mainOp(rec, event.GetResource(), tx)
	if !ok {
		return nil
	}
	var before, after proto.Message
	if !mustBeNew(tx, op.Key) {
		e, err := kv.Get(ctx, op.Key)
		switch {
		case err == nil:
			if before, err = kind.decode(e.Value); err != nil {
				return err
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	if !op.Delete {
		var err error
		if after, err = kind.decode(op.Value); err != nil {
			return err
		}
	}
	for _, m := range []proto.Message{before, after} {
		if m == nil {
			continue
		}
		setString(m, "etag", "") // in rows it is none
		if n, ok := m.(interface{ GetName() string }); ok && n.GetName() != "" {
			event.Resource = n.GetName()
		}
	}
	if before != nil && !hasPayload(event, payloadBefore) { // of several transactions the first knows what was
		putPayload(event, payloadBefore, before)
	}
	dropPayload(event, payloadAfter)
	if after != nil {
		putPayload(event, payloadAfter, after)
	}
	return nil
}

// mainOp finds the operation on the resource that a call is about: the one that the request names, of the type that the method
// answers with, as far as there is such a one.
func mainOp(rec *auditCall, resource string, tx store.Tx) (store.Op, auditedKind, bool) {
	var found store.Op
	var kind auditedKind
	key, best := auditedKey(resource), 0
	for _, op := range tx.Ops {
		k, ok := kindOfKey(op.Key)
		if !ok {
			continue
		}
		score := 1
		if k.name == rec.output {
			score += 2
		}
		if op.Key == key {
			score += 4
		}
		if k.name == rec.output && !op.Delete && mustBeNew(tx, op.Key) {
			score += 8 // the answer is what was made, wherever the request said to make it
		}
		if score > best {
			found, kind, best = op, k, score
		}
	}
	return found, kind, best > 0
}

// auditedKey gives the key of a resource's row, where it is not the name itself.
func auditedKey(resource string) string {
	if env, generation, ok := rules.EnvOfDeployment(resource); ok {
		return deployments.Key(depKey(env, generation))
	}
	if env, err := rules.ParseEnv("", resource); err == nil {
		return environments.Key(envKey(env))
	}
	return resource
}

func mustBeNew(tx store.Tx, key string) bool {
	for _, c := range tx.Conds {
		if c.Key == key && c.Rev == 0 {
			return true
		}
	}
	return false
}

// auditBatch writes events that belong to no transaction, those that come at once together. The zero value is ready to use.
type auditBatch struct {
	mu      sync.Mutex
	waiting []*auditWrite
	busy    bool
}

type auditWrite struct {
	key   string
	value []byte
	done  chan struct{}
	err   error
}

// maxAuditBatch keeps a batch within a transaction's limits: an event has at most 3 payloads of maxPayload.
const maxAuditBatch = 64

// recordAlone writes an event and returns when it is durable. An event that is there already is replaced.
func (s *Service) recordAlone(ctx context.Context, event *catalogv1.AuditEvent) error {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(event)
	if err != nil {
		return fmt.Errorf("encode audit event: %w", err)
	}
	b := &s.auditBatch
	w := &auditWrite{key: auditEvents.Key(strings.TrimPrefix(event.GetName(), auditCollection)), value: value, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, w)
	if !b.busy {
		b.busy = true
		go b.flush(s.cfg.KV)
	}
	b.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush writes until nothing waits.
func (b *auditBatch) flush(kv store.KV) {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), maxAuditBatch)
		batch := b.waiting[:n:n]
		if b.waiting = b.waiting[n:]; n == 0 {
			b.busy = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		var tx store.Tx
		for _, w := range batch {
			tx.Put(w.key, w.value)
		}
		ctx, cancel := context.WithTimeout(context.Background(), auditWait)
		_, err := kv.Commit(ctx, tx)
		cancel()
		for _, w := range batch {
			w.err = err
			close(w.done)
		}
	}
}
