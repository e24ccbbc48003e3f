package catalog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/audit"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// ArchiveConfig says which rows of history are old. Zero values are the defaults.
type ArchiveConfig struct {
	// After is the age from which finished deployments and audit events move. Default 90 days.
	After time.Duration
	// KeepDeployments is how many of the newest deployments of each environment stay, however old. Default 50.
	KeepDeployments int
	// MaxDeployments is how many deployments of an environment stay at most, however young. Default 1000.
	MaxDeployments int
	// MaxAuditEvents is how many audit events stay at most, however young. Default 100,000.
	MaxAuditEvents int
	// MinRows is how many rows of an environment have to be old before they move, so that blocks are not tiny. Fewer move when
	// they are a third older than After. Default 64.
	MinRows int
	// MaxFindings is how many records of findings an environment keeps at most, however young. Default 10,000.
	MaxFindings int
	// Every is the pause between two looks. Default 1 hour.
	Every time.Duration
}

func (c ArchiveConfig) withDefaults() ArchiveConfig {
	for _, f := range []struct {
		field *int
		value int
	}{{&c.KeepDeployments, 50}, {&c.MaxDeployments, 1000}, {&c.MaxAuditEvents, 100_000}, {&c.MaxFindings, 10_000}, {&c.MinRows, 64}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if c.After <= 0 {
		c.After = 90 * 24 * time.Hour
	}
	if c.Every <= 0 {
		c.Every = time.Hour
	}
	return c
}

const (
	// blockRows and blockBytes bound a block. A page of a list reads one or two of them.
	blockRows  = 256
	blockBytes = 1 << 20
	// segmentBytes is from when on a segment is written out.
	segmentBytes = 8 << 20
	// orphanAge is how old a segment that nothing refers to must be for its removal: a younger one may be about to be
	// referred to.
	orphanAge = time.Hour
	// segmentTime begins the names of segments.
	segmentTime = "20060102T150405.000000Z"
)

// runArchive moves old rows out of the database, once at the start and then every hour, where this process leads.
func (s *Service) runArchive(ctx context.Context) error {
	if s.cfg.History == nil {
		return nil
	}
	for {
		if s.cfg.Leads() {
			if n, err := s.Archive(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("old history could not be moved to segments; it is tried again", "moved", n, "error", err)
			} else if n > 0 {
				s.log.Info("old history was moved to segments", "rows", n)
			}
		}
		if err := sleep(ctx, s.cfg.Archive.Every); err != nil {
			return unlessEnded(ctx, err)
		}
	}
}

// Archive moves the rows of history that are old into segments, and removes segments that nothing refers to. It gives the number
// of rows that it moved. A crash at any point loses nothing: rows leave the database in the transaction that says where they are
// now, and that comes after their segment is durable. Two processes at once do no harm, only needless work.
func (s *Service) Archive(ctx context.Context) (moved int, err error) {
	if s.cfg.History == nil {
		return 0, nil
	}
	a := &archiver{Service: s, now: s.now()}
	err = a.deployments(ctx)
	if err == nil {
		err = a.audit(ctx)
	}
	if err == nil {
		err = a.findings(ctx)
	}
	if err == nil {
		err = a.flush(ctx)
	}
	if err == nil {
		err = a.removeOrphans(ctx)
	}
	return a.moved, err
}

// archiver is one pass.
type archiver struct {
	*Service
	now     time.Time
	segment []byte
	blocks  []pendingBlock
	moved   int
}

// pendingBlock is a block whose segment is not written yet.
type pendingBlock struct {
	ref  blockRef
	rows []store.Entry
}

// deployments goes through the environments that have history, whether they are still there or not.
func (a *archiver) deployments(ctx context.Context) error {
	for after := ""; ; {
		first, err := a.raw.Scan(ctx, store.ScanRange{Prefix: deployments.Prefix(), After: after, Limit: 1})
		if err != nil || len(first) == 0 {
			return err
		}
		env, _, ok := envOfDepKey(strings.TrimPrefix(first[0].Key, deployments.Prefix()))
		if !ok {
			return fmt.Errorf("row %q is no deployment's", first[0].Key)
		}
		prefix := deployments.Key(envKey(env)) + "/"
		if err := a.environment(ctx, env, prefix); err != nil {
			return err
		}
		after = prefix + "\xff" // behind all generations
	}
}

func (a *archiver) environment(ctx context.Context, env rules.Env, prefix string) error {
	cfg := a.cfg.Archive
	kept, err := a.raw.Scan(ctx, store.ScanRange{Prefix: prefix, Reverse: true, Limit: cfg.KeepDeployments + 1})
	if err != nil || len(kept) <= cfg.KeepDeployments {
		return err
	}
	_, newest, _ := envOfDepKey(strings.TrimPrefix(kept[0].Key, deployments.Prefix()))
	live, err := a.live(ctx, env)
	if err != nil {
		return err
	}
	end := kept[len(kept)-1].Key
	crowded := deployments.Key(depKey(env, newest-int64(cfg.MaxDeployments)))
	return a.table(ctx, prefix, func(e store.Entry) (settled, old bool, err error) {
		row, err := deployments.Decode(e)
		if err != nil || e.Key > end {
			return false, false, err
		}
		d := row.Msg
		runs := d.GetName() == live.Msg.GetActiveDeployment() || d.GetActiveFrom() != nil && d.GetActiveUntil() == nil
		if runs || !rules.IsFinal(d.GetState()) {
			return false, false, nil
		}
		return true, e.Key <= crowded || a.isOld(d.GetUpdateTime().AsTime(), 0), nil
	}, func(e store.Entry) bool {
		row, err := deployments.Decode(e)
		return err == nil && (e.Key <= crowded || a.isOld(row.Msg.GetUpdateTime().AsTime(), cfg.After/3))
	})
}

// isOld reports whether a time is longer ago than rows stay, and some more.
func (a *archiver) isOld(t time.Time, more time.Duration) bool {
	return t.Before(a.now.Add(-a.cfg.Archive.After - more))
}

func (a *archiver) audit(ctx context.Context) error {
	crowded, err := a.nth(ctx, auditEvents.Prefix(), a.cfg.Archive.MaxAuditEvents)
	if err != nil {
		return err
	}
	// A younger id may still come, of a call that began a while ago.
	settled := auditEvents.Key(audit.FirstID(a.now.Add(-orphanAge)))
	old := auditEvents.Key(audit.FirstID(a.now.Add(-a.cfg.Archive.After)))
	overdue := auditEvents.Key(audit.FirstID(a.now.Add(-a.cfg.Archive.After * 4 / 3)))
	return a.table(ctx, auditEvents.Prefix(), func(e store.Entry) (bool, bool, error) {
		return e.Key < settled, e.Key < old || e.Key <= crowded, nil
	}, func(e store.Entry) bool { return e.Key < overdue })
}

// nth gives the key of the n-th newest row, counted from 0; "" when there are not so many.
func (a *archiver) nth(ctx context.Context, prefix string, n int) (string, error) {
	const chunk = 1000
	r := store.ScanRange{Prefix: prefix, Reverse: true, Limit: chunk}
	for {
		rows, err := a.raw.Scan(ctx, r)
		if err != nil {
			return "", err
		}
		if n < len(rows) {
			return rows[n].Key, nil
		}
		if len(rows) < chunk {
			return "", nil
		}
		n -= len(rows)
		r.After = rows[len(rows)-1].Key
	}
}

// table takes the rows under a prefix, from the oldest up to the first that has to stay: what is behind it stays too, so that
// blocks never overlap. look says of a row whether it can move and whether it is old; overdue whether so few may move.
func (a *archiver) table(ctx context.Context, prefix string, look func(store.Entry) (settled, old bool, err error), overdue func(store.Entry) bool) error {
	after, err := a.border(ctx, prefix)
	if err != nil {
		return err
	}
	r := store.ScanRange{Prefix: prefix, After: after, Limit: blockRows}
	for begun := false; ; begun = true {
		rows, err := a.raw.Scan(ctx, r)
		if err != nil {
			return err
		}
		n := 0
		for ; n < len(rows); n++ {
			if settled, old, err := look(rows[n]); err != nil {
				return err
			} else if !settled || !old {
				break
			}
		}
		if n == 0 || !begun && n < a.cfg.Archive.MinRows && !overdue(rows[0]) {
			return nil
		}
		if err := a.add(ctx, rows[:n]); err != nil {
			return err
		}
		if n < blockRows {
			return nil
		}
		r.After = rows[n-1].Key
	}
}

// border gives the key up to which the rows under a prefix are in the archive.
func (a *archiver) border(ctx context.Context, prefix string) (string, error) {
	last, err := a.raw.Scan(ctx, store.ScanRange{Prefix: archivePrefix + prefix, Reverse: true, Limit: 1})
	if err != nil || len(last) == 0 {
		return "", err
	}
	b, err := decodeBlockRef(last[0])
	return b.Last, err
}

// add packs rows into blocks of the segment.
func (a *archiver) add(ctx context.Context, rows []store.Entry) error {
	for len(rows) > 0 {
		n, size := 0, 0
		for n < len(rows) && (n == 0 || size+len(rows[n].Value) <= blockBytes) {
			size += len(rows[n].Value)
			n++
		}
		packed := encodeBlock(rows[:n])
		sum := sha256.Sum256(packed)
		places := make([]store.Entry, n)
		for i, r := range rows[:n] {
			places[i] = store.Entry{Key: r.Key, Rev: r.Rev} // the values are in the segment: do not hold them twice
		}
		a.blocks = append(a.blocks, pendingBlock{rows: places, ref: blockRef{
			Offset: int64(len(a.segment)), Length: int64(len(packed)), First: rows[0].Key, Last: rows[n-1].Key, Rows: n, Sum: sum[:],
		}})
		a.segment = append(a.segment, packed...)
		rows = rows[n:]
	}
	if len(a.segment) < segmentBytes {
		return nil
	}
	return a.flush(ctx)
}

// flush writes the segment, and then block by block says where the rows are and removes them.
func (a *archiver) flush(ctx context.Context) error {
	if len(a.blocks) == 0 {
		return nil
	}
	name := a.now.Format(segmentTime) + "-" + strings.ToLower(rand.Text()[:8]) + ".seg"
	if err := a.cfg.History.Put(ctx, name, a.segment); err != nil {
		return err
	}
	a.cfg.Failpoint("segment_written")
	blocked := map[string]bool{}
	for _, b := range a.blocks {
		prefix := b.ref.First[:strings.LastIndexByte(b.ref.First, '/')]
		if blocked[prefix] {
			continue // one before it could not move: then this one must not, or it would stand alone
		}
		b.ref.Segment = name
		err := a.move(ctx, b)
		if errors.Is(err, store.ErrConflict) { // somebody wrote one of them; later
			blocked[prefix] = true
			continue
		}
		if err != nil {
			return err
		}
		a.moved += len(b.rows)
	}
	a.segment, a.blocks = nil, nil
	return nil
}

func (a *archiver) move(ctx context.Context, b pendingBlock) error {
	value, err := json.Marshal(b.ref)
	if err != nil {
		return fmt.Errorf("encode %q: %w", b.ref.key(), err)
	}
	var tx store.Tx
	tx.If(store.IfAbsent(b.ref.key())).Put(b.ref.key(), value)
	for _, r := range b.rows {
		tx.If(store.IfRev(r.Key, r.Rev)).Delete(r.Key)
	}
	_, err = a.raw.Commit(ctx, tx)
	return err
}

// removeOrphans removes segments that were written and never referred to, as a crash leaves them.
func (a *archiver) removeOrphans(ctx context.Context) error {
	names, err := a.cfg.History.List(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	used := map[string]bool{}
	for e, err := range store.All(ctx, a.raw, archivePrefix) {
		if err != nil {
			return err
		}
		b, err := decodeBlockRef(e)
		if err != nil {
			return err
		}
		used[b.Segment] = true
	}
	for _, name := range names {
		stamp, _, _ := strings.Cut(name, "-")
		made, err := time.Parse(segmentTime, stamp)
		if err != nil || used[name] || made.After(a.now.Add(-orphanAge)) {
			continue // not ours, or in use, or about to be
		}
		a.log.Info("a segment of history that nothing refers to is removed", "segment", name)
		if err := a.cfg.History.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
