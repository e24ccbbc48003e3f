package catalog

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/backup"
)

// Restoring. Revisions differ between stores, and three things hang on them:
//
//   - A request's answer and what it made have the same revision, which is the etag that a repeated call gets. What had one
//     revision has one again: rows are written in the order of their old revisions, and none of a revision apart.
//   - The outbox's position is a revision. It becomes that of the last row that was written before it in the old store, so that
//     what was not published there is published here.
//   - Archived rows keep their old revisions, which nobody can write any more.

// Restore takes a backup in, into a catalog in which nothing was made yet. It reads all of it before it changes anything.
func (a accessServer) Restore(stream grpc.ClientStreamingServer[catalogv1.RestoreRequest, catalogv1.RestoreResponse]) error {
	s, ctx := a.s, stream.Context()
	if err := s.checkUntouched(ctx); err != nil { // before the whole file is sent for nothing
		return err
	}
	r := &restore{Service: s}
	if err := r.read(ctx, &chunkReader{recv: func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetChunk(), err
	}}); err != nil {
		return err
	}
	err := s.alone(ctx, func(ctx context.Context) error {
		if err := s.checkUntouched(ctx); err != nil {
			return err
		}
		if err := r.write(ctx); err != nil {
			return err
		}
		return s.pinPlaces(ctx) // of a backup from before
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&catalogv1.RestoreResponse{Rows: int64(r.count), BackupTime: timestamppb.New(r.header.Time)})
}

type restore struct {
	*Service
	header  backup.Header
	rows    []store.Entry
	count   int
	segment []byte
}

// read takes the whole file in. Rows are kept in memory until the checksum at its end is seen; blocks go into new segments,
// which nothing refers to until then.
func (r *restore) read(ctx context.Context, in io.Reader) error {
	file, err := backup.NewReader(in)
	if err != nil {
		return err
	}
	defer file.Close()
	r.header = file.Header()
	if err := knownSchema(r.header.Schema); err != nil {
		return err
	}
	rows := map[string]store.Entry{}
	var blocks []blockRef
	for {
		rec, err := file.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch rec.Kind {
		case backup.Put:
			rows[rec.Key] = store.Entry{Key: rec.Key, Value: rec.Value, Rev: rec.Rev}
		case backup.Delete:
			delete(rows, rec.Key)
		case backup.Block:
			b, err := r.block(rec)
			if err != nil {
				return err
			}
			blocks = append(blocks, b)
		}
	}
	return r.complete(ctx, rows, blocks)
}

// block adds a block of old rows to the segment.
func (r *restore) block(rec backup.Record) (blockRef, error) {
	rows, err := decodeBlock(rec.Value)
	if err != nil || len(rows) == 0 {
		return blockRef{}, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the backup has a block of history that cannot be read").Because(err)
	}
	sum := sha256.Sum256(rec.Value)
	b := blockRef{
		Offset: int64(len(r.segment)), Length: int64(len(rec.Value)), First: rows[0].Key, Last: rows[len(rows)-1].Key, Rows: len(rows), Sum: sum[:],
	}
	r.segment = append(r.segment, rec.Value...)
	r.count += len(rows)
	return b, nil
}

// complete stores the segment and puts the rows in the order of their revisions.
func (r *restore) complete(ctx context.Context, rows map[string]store.Entry, blocks []blockRef) error {
	if len(blocks) > 0 {
		if r.cfg.History == nil {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, "the backup has old history and this server has no place for it; start it with --history")
		}
		name := r.now().Format(segmentTime) + "-" + strings.ToLower(rand.Text()[:8]) + ".seg"
		if err := r.cfg.History.Put(ctx, name, r.segment); err != nil {
			return err
		}
		r.segment = nil
		for _, b := range blocks {
			b.Segment = name
			value, err := json.Marshal(b)
			if err != nil {
				return fmt.Errorf("encode %q: %w", b.key(), err)
			}
			rows[b.key()] = store.Entry{Key: b.key(), Value: value}
		}
	}
	r.count += len(rows) - len(blocks)
	for _, e := range rows {
		r.rows = append(r.rows, e)
	}
	slices.SortFunc(r.rows, func(a, b store.Entry) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), strings.Compare(a.Key, b.Key))
	})
	return nil
}

// write replaces the bootstrap's rows. What a crash leaves is not half a catalog but an empty one: the next start sees the mark
// and removes everything.
func (r *restore) write(ctx context.Context) error {
	var tx store.Tx
	if _, err := r.raw.Commit(ctx, *tx.If(store.IfAbsent(keyRestoring)).Put(keyRestoring, nil)); err != nil {
		return err
	}
	if err := r.wipe(ctx, func(key string) bool { return strings.HasPrefix(key, auditCollection) || key == keyRestoring }); err != nil {
		return err
	}
	position, err := r.oldPosition()
	if err != nil {
		return err
	}
	published := int64(0)
	for rows := r.rows; len(rows) > 0; {
		n := groupOf(rows, position)
		var tx store.Tx
		for _, e := range rows[:n] {
			if e.Key != keyPosition {
				tx.Put(e.Key, e.Value)
			}
		}
		rev, err := r.raw.Commit(ctx, tx)
		if err != nil {
			return err
		}
		if rows[n-1].Rev <= position {
			published = rev
		}
		r.cfg.Failpoint("restored_some")
		rows = rows[n:]
	}
	var last store.Tx
	last.Delete(keyRestoring)
	if position > 0 {
		last.Put(keyPosition, strconv.AppendInt(nil, published, 10))
	}
	_, err = r.raw.Commit(ctx, last)
	return err
}

func (r *restore) oldPosition() (int64, error) {
	for _, e := range r.rows {
		if e.Key == keyPosition {
			n, err := strconv.ParseInt(string(e.Value), 10, 64)
			if err != nil {
				return 0, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "row %q of the backup is damaged", e.Key).Because(err)
			}
			return n, nil
		}
	}
	return 0, nil
}

// groupOf gives how many rows make the next transaction: whole groups of one revision, none from both sides of the position, and
// within the limits of a transaction.
func groupOf(rows []store.Entry, position int64) int {
	n, size := 0, 0
	for n < len(rows) {
		end, bytes := n, 0
		for end < len(rows) && rows[end].Rev == rows[n].Rev && (rows[n].Rev > 0 || end < n+256) {
			bytes += len(rows[end].Key) + len(rows[end].Value)
			end++
		}
		over := end > store.MaxTxOps/2 || size+bytes > store.MaxTxBytes/2
		if n > 0 && (over || rows[n].Rev > position && rows[0].Rev <= position) {
			break
		}
		n, size = end, size+bytes
		if over {
			break
		}
	}
	return n
}

// wipe removes all rows but those that keep says.
func (s *Service) wipe(ctx context.Context, keep func(key string) bool) error {
	var tx store.Tx
	for e, err := range store.All(ctx, s.raw, "") {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Key, leasesPrefix) || keep(e.Key) {
			continue
		}
		if tx.Delete(e.Key); len(tx.Ops) == store.MaxTxOps/2 {
			if _, err := s.raw.Commit(ctx, tx); err != nil {
				return err
			}
			tx = store.Tx{}
		}
	}
	_, err := s.raw.Commit(ctx, tx)
	return err
}

// finishRestore removes what a restore left that a crash cut short, so that it can be begun again.
func (s *Service) finishRestore(ctx context.Context) error {
	_, err := s.raw.Get(ctx, keyRestoring)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Warn("a restore was cut short; what it had written is removed, restore again")
	if err := s.wipe(ctx, func(key string) bool { return key == keyRestoring }); err != nil {
		return err
	}
	var tx store.Tx
	_, err = s.raw.Commit(ctx, *tx.Delete(keyRestoring))
	return err
}

// firstRows are prefixes of what every new catalog has or gets by itself.
var firstRows = []string{
	leasesPrefix, "meta/", "outbox/", guardPrefix, requestPrefix, auditCollection, tokens.Key(bootstrapTokenID),
}

// checkUntouched refuses a catalog in which somebody has made something.
func (s *Service) checkUntouched(ctx context.Context) error {
	hash := ""
	if t, err := tokens.Get(ctx, s.raw, bootstrapTokenID); err == nil {
		hash = tokenHashPrefix + t.Msg.GetSecret()
	}
	for e, err := range store.All(ctx, s.raw, "") {
		if err != nil {
			return err
		}
		if slices.ContainsFunc(firstRows, func(p string) bool { return strings.HasPrefix(e.Key, p) }) || e.Key == hash || s.isBootstrapped(e) {
			continue
		}
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"this catalog is in use: it has %s; restore into a server with a new, empty data folder", strings.TrimRight(e.Key, "\x00")).With("state", "NOT_EMPTY")
	}
	return nil
}

// isBootstrapped reports whether a row is one of the first objects, as they were made.
func (s *Service) isBootstrapped(e store.Entry) bool {
	k, ok := kindOfKey(e.Key)
	if !ok {
		return false
	}
	m, err := k.decode(e.Value)
	if err != nil {
		return false
	}
	first, ok := m.(interface {
		proto.Message
		GetCreateActor() string
		GetCreateTime() *timestamppb.Timestamp
		GetUpdateTime() *timestamppb.Timestamp
	})
	return ok && first.GetCreateActor() == bootstrapActor && proto.Equal(first.GetCreateTime(), first.GetUpdateTime())
}

// chunkReader reads what comes in messages.
type chunkReader struct {
	recv func() ([]byte, error)
	rest []byte
}

// Read implements io.Reader.
func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		b, err := c.recv()
		if err != nil {
			return 0, err
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
