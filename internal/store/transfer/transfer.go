// Package transfer copies a whole store into an empty one of another engine, while nobody uses either.
//
// Revisions differ between engines, so what depends on them needs care. What was written in one transaction is written in one
// transaction again: a request's answer and the row that it made still have the same revision. The changes that a follower of
// the log has not handled yet are replayed in their order, and its stored position is set to before them, so it goes on as if
// nothing had happened. The destination's revisions must begin above the source's last one, as etcdkv's offset does it: then
// an etag from before never fits a row that was written since.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// Source is a store whose log can be read to its end.
type Source interface {
	store.KV
	// ReadLog is as in package follow.
	ReadLog(prefix string, after int64) (changes []store.Change, next int64, err error)
}

// Options say what is special about some rows.
type Options struct {
	// Positions are keys of rows that hold a revision in decimal: up to which somebody has followed the log. A row that is
	// missing stands for 0.
	Positions []string
	// Skip are prefixes of rows that belong to the running processes of one engine, as leases do.
	Skip []string
	// Progress is told how many rows of how many are written, now and then. May be nil.
	Progress func(done, total int)
}

// Report says what was copied.
type Report struct {
	// Rows is the number of rows in the destination, Digest the SHA-256 over their keys and values, the same in the source.
	// Positions and skipped rows are not counted.
	Rows   int
	Digest string
	// Replayed is the number of transactions that were replayed for followers.
	Replayed int
	// Cut tells that the source's log did not reach back to a follower's position. Followers then look at everything anew.
	Cut bool
}

// writers is how many transactions are under way at once: enough that they share the waits for the disk.
const writers = 64

type copier struct {
	Options
	from Source
	to   store.KV
	// positions are the values of the position rows, moved what they become.
	positions, moved map[string]int64
	head             int64
}

// Copy copies all rows. The destination must be empty. After an error it holds a part and is of no use.
func Copy(ctx context.Context, from Source, to store.KV, o Options) (Report, error) {
	c := &copier{Options: o, from: from, to: to, positions: map[string]int64{}, moved: map[string]int64{}}
	if c.Progress == nil {
		c.Progress = func(int, int) {}
	}
	if first, err := to.Scan(ctx, store.ScanRange{Limit: 1}); err != nil || len(first) > 0 {
		return Report{}, errors.Join(err, notEmpty(first))
	}
	var err error
	if c.head, err = store.Revision(ctx, from); err != nil {
		return Report{}, err
	}
	oldest, err := c.readPositions(ctx)
	if err != nil {
		return Report{}, err
	}
	var report Report
	if _, _, err := from.ReadLog("", oldest); errors.Is(err, store.ErrCompacted) {
		report.Cut, oldest = true, c.head
	} else if err != nil {
		return report, err
	}
	if err := c.copyRows(ctx, oldest); err != nil {
		return report, err
	}
	if report.Replayed, err = c.replay(ctx, oldest); err != nil {
		return report, err
	}
	if !report.Cut { // else they stay away: a follower without one finds the log cut, and looks at everything
		if err := c.writePositions(ctx); err != nil {
			return report, err
		}
	}
	return report, c.verify(ctx, &report)
}

func notEmpty(rows []store.Entry) error {
	if len(rows) == 0 {
		return nil
	}
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_ALREADY_EXISTS,
		"the destination is not empty (it has %q); name another prefix, or empty this one", rows[0].Key)
}

// readPositions gives the oldest one, at most the head.
func (c *copier) readPositions(ctx context.Context) (int64, error) {
	oldest := c.head
	for _, key := range c.Positions {
		e, err := c.from.Get(ctx, key)
		pos := int64(0)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return 0, err
		default:
			if pos, err = strconv.ParseInt(string(e.Value), 10, 64); err != nil {
				return 0, fmt.Errorf("row %q holds no revision: %w", key, err)
			}
		}
		c.positions[key], oldest = pos, min(oldest, pos)
	}
	return oldest, nil
}

// ours tells which rows are copied as they are.
func (c *copier) ours(key string) bool {
	_, position := c.positions[key]
	return !position && !slices.ContainsFunc(c.Skip, func(p string) bool { return strings.HasPrefix(key, p) })
}

// place is where a row was written. Values are read when they are copied: all of them may be more than fits into memory.
type place struct {
	rev int64
	key string
}

// copyRows copies the rows that were last written at or before a revision, those of one transaction together.
func (c *copier) copyRows(ctx context.Context, upTo int64) error {
	var places []place
	for e, err := range store.All(ctx, c.from, "") {
		if err != nil {
			return err
		}
		if e.Rev <= upTo && c.ours(e.Key) {
			places = append(places, place{rev: e.Rev, key: e.Key})
		}
	}
	sort.Slice(places, func(i, j int) bool { return places[i].rev < places[j].rev })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i := 0; i < len(places) && gctx.Err() == nil; {
		end := i + 1
		for end < len(places) && places[end].rev == places[i].rev {
			end++
		}
		group := places[i:end]
		g.Go(func() error { return c.copyGroup(gctx, group) })
		if i = end; i/1000 != (i-len(group))/1000 {
			c.Progress(i, len(places))
		}
	}
	return g.Wait()
}

func (c *copier) copyGroup(ctx context.Context, group []place) error {
	var tx store.Tx
	for _, p := range group {
		e, err := c.from.Get(ctx, p.key)
		if err != nil {
			return err
		}
		tx.If(store.IfAbsent(p.key)).Put(p.key, e.Value)
	}
	_, err := c.to.Commit(ctx, tx)
	return err
}

// replay repeats the transactions behind a revision in their order, and notes where each position comes to be.
func (c *copier) replay(ctx context.Context, after int64) (n int, err error) {
	base, err := store.Revision(ctx, c.to)
	if err != nil {
		return 0, err
	}
	for key := range c.positions {
		c.moved[key] = base
	}
	for {
		changes, next, err := c.from.ReadLog("", after)
		if err != nil || next == after {
			return n, err
		}
		for len(changes) > 0 {
			end := 1
			for end < len(changes) && changes[end].Rev == changes[0].Rev {
				end++
			}
			if err := c.repeat(ctx, changes[:end]); err != nil {
				return n, err
			}
			n++
			changes = changes[end:]
		}
		after = next
	}
}

func (c *copier) repeat(ctx context.Context, changes []store.Change) error {
	var tx store.Tx
	for _, ch := range changes {
		switch {
		case !c.ours(ch.Key):
		case ch.Deleted:
			tx.Delete(ch.Key)
		default:
			tx.Put(ch.Key, ch.Value)
		}
	}
	rev, err := c.to.Commit(ctx, tx)
	for key, pos := range c.positions {
		if err == nil && changes[0].Rev <= pos {
			c.moved[key] = rev
		}
	}
	return err
}

func (c *copier) writePositions(ctx context.Context) error {
	var tx store.Tx
	for key, rev := range c.moved {
		tx.Put(key, strconv.AppendInt(nil, rev, 10))
	}
	_, err := c.to.Commit(ctx, tx)
	return err
}

// verify compares the two stores row by row.
func (c *copier) verify(ctx context.Context, r *Report) error {
	rows, digest, err := c.digest(ctx, c.from)
	if err != nil {
		return err
	}
	if r.Rows, r.Digest, err = c.digest(ctx, c.to); err != nil {
		return err
	}
	if r.Rows != rows || r.Digest != digest {
		return errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL,
			"the copy differs: %d rows with digest %s, the source has %d with %s; is somebody writing to one of them?", r.Rows, r.Digest, rows, digest)
	}
	return nil
}

func (c *copier) digest(ctx context.Context, kv store.KV) (rows int, digest string, err error) {
	sum := sha256.New()
	for e, err := range store.All(ctx, kv, "") {
		if err != nil {
			return 0, "", err
		}
		if !c.ours(e.Key) {
			continue
		}
		rows++
		for _, part := range [][]byte{[]byte(e.Key), e.Value} {
			sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			sum.Write(part)
		}
	}
	return rows, hex.EncodeToString(sum.Sum(nil)), nil
}
