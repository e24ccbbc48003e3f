package store

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Table keeps proto messages of one type as rows under a key prefix. T is the generated pointer type. It holds no state:
// reading goes to a KV, writing adds to a Tx, so that rows of several tables change together.
//
//	environments := store.NewTable[*catalogv1.Environment]("environments/")
type Table[T proto.Message] struct{ prefix string }

// NewTable names a table. The prefix is in every data folder: it must end with a separator that ids of a table with a shorter
// prefix cannot produce, and never change.
func NewTable[T proto.Message](prefix string) Table[T] { return Table[T]{prefix: prefix} }

// Row is one message with its place and version.
type Row[T proto.Message] struct {
	// ID is the key without the table's prefix.
	ID string
	// Msg is the message; the caller owns it. It is nil for a removal (DecodeChange).
	Msg T
	// Rev is the revision of the last write, see Etag.
	Rev int64
}

// Prefix is what KV.Watch and Scan need to see this table.
func (t Table[T]) Prefix() string { return t.prefix }

// Key gives the key of a row.
func (t Table[T]) Key(id string) string { return t.prefix + id }

// Get reads one row; ErrNotFound when there is none.
func (t Table[T]) Get(ctx context.Context, kv KV, id string) (Row[T], error) {
	e, err := kv.Get(ctx, t.Key(id))
	if err != nil {
		return Row[T]{}, err
	}
	return t.Decode(e)
}

// Range gives the rows of a range, whose Prefix and After are ids, as the function Range does.
func (t Table[T]) Range(ctx context.Context, kv KV, r ScanRange) iter.Seq2[Row[T], error] {
	r.Prefix = t.Key(r.Prefix)
	if r.After != "" {
		r.After = t.Key(r.After)
	}
	return func(yield func(Row[T], error) bool) {
		for e, err := range Range(ctx, kv, r) {
			var row Row[T]
			if err == nil {
				row, err = t.Decode(e)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// Create adds the write of a row that must not exist yet.
func (t Table[T]) Create(tx *Tx, id string, msg T) error { return t.Update(tx, id, 0, msg) }

// Update adds the write of a row whose revision must be rev: that of the Row it was read as, 0 for a row that must not exist,
// AnyRev for one that must exist (as ParseEtag gives for an empty etag).
func (t Table[T]) Update(tx *Tx, id string, rev int64, msg T) error {
	if err := t.Put(tx, id, msg); err != nil {
		return err
	}
	tx.If(IfRev(t.Key(id), rev))
	return nil
}

// Put adds the write of a row whatever is there. The encoding is deterministic: equal messages give equal bytes.
func (t Table[T]) Put(tx *Tx, id string, msg T) error {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encode row %q: %w", t.Key(id), err)
	}
	tx.Put(t.Key(id), value)
	return nil
}

// Delete adds the removal of a row whose revision must be rev, AnyRev for any as long as it exists.
func (t Table[T]) Delete(tx *Tx, id string, rev int64) {
	tx.If(IfRev(t.Key(id), rev)).Delete(t.Key(id))
}

// Decode gives the row of an entry of this table.
func (t Table[T]) Decode(e Entry) (Row[T], error) {
	return t.DecodeChange(Change{Key: e.Key, Value: e.Value, Rev: e.Rev})
}

// DecodeChange gives the row of a change of this table, with a nil message for a removal.
func (t Table[T]) DecodeChange(c Change) (Row[T], error) {
	id, ours := strings.CutPrefix(c.Key, t.prefix)
	if !ours {
		return Row[T]{}, fmt.Errorf("key %q is not of table %q", c.Key, t.prefix)
	}
	row := Row[T]{ID: id, Rev: c.Rev}
	if c.Deleted {
		return row, nil
	}
	msg, err := t.decode(c.Value)
	if err != nil {
		return Row[T]{}, fmt.Errorf("decode row %q at revision %d: %w", c.Key, c.Rev, err)
	}
	row.Msg = msg
	return row, nil
}

func (t Table[T]) decode(value []byte) (msg T, err error) {
	fresh, ok := msg.ProtoReflect().Type().New().Interface().(T)
	if !ok {
		return msg, fmt.Errorf("%T is no generated message", msg)
	}
	return fresh, proto.Unmarshal(value, fresh)
}

// Etag is how a row's revision leaves the service: opaque, the same as long as the row was not written.
func Etag(rev int64) string { return strconv.FormatInt(rev, 36) }

// ParseEtag gives the revision that a request's etag asks for, AnyRev for an empty one: the caller does not mind. What Etag
// never made is errs.Invalid for the field etag.
func ParseEtag(etag string) (int64, error) {
	if etag == "" {
		return AnyRev, nil
	}
	rev, err := strconv.ParseInt(etag, 36, 64)
	if err != nil || rev < 1 || Etag(rev) != etag {
		return 0, errs.InvalidField("etag", "%q is no etag of this server; read the resource and send its etag, or none", etag)
	}
	return rev, nil
}

// Page sizes of List, in rows.
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
	// maxExamined bounds the work of one call whose filter keeps almost nothing.
	maxExamined = 10_000
)

// List says which page of a table to read.
type List struct {
	// Under limits the list to ids that start with it.
	Under string
	// PageSize is the number of rows wanted: DefaultPageSize when 0, at most MaxPageSize, errs.Invalid when negative.
	PageSize int
	// PageToken is the token that came with the page before, "" for the first.
	PageToken string
	// Filter names what keep does, and whatever else chooses the list. The token of a list with another one is refused.
	Filter string
	// Reverse gives the greatest id first.
	Reverse bool
}

// List reads a page of the rows that keep approves, nil for all, and the token for the next page, "" after the last. A page
// may have fewer rows than asked for, even none, and still a token: the filter kept few of many rows. A token that this list
// did not make is errs.Invalid with REASON_INVALID_PAGE_TOKEN.
func (t Table[T]) List(ctx context.Context, kv KV, l List, keep func(T) bool) (rows []Row[T], next string, err error) {
	if l.PageSize < 0 {
		return nil, "", errs.InvalidField("page_size", "%d is negative; give 1 to %d, or 0 for the default", l.PageSize, MaxPageSize)
	}
	if l.PageSize == 0 {
		l.PageSize = DefaultPageSize
	}
	size := min(l.PageSize, MaxPageSize)
	identity := []string{t.prefix, l.Under, l.Filter, strconv.FormatBool(l.Reverse)}
	after, err := parsePageToken(l.PageToken, identity...)
	if err != nil {
		return nil, "", err
	}
	r := ScanRange{Prefix: t.Key(l.Under), Limit: size + 1, Reverse: l.Reverse}
	if keep != nil {
		r.Limit = max(r.Limit, allPage) // most rows may be dropped: do not go back for each
	}
	if after != "" {
		r.After = t.Key(after)
	}
	for examined := 0; ; {
		page, err := kv.Scan(ctx, r)
		if err != nil {
			return nil, "", err
		}
		for _, e := range page {
			row, err := t.Decode(e)
			if err != nil {
				return nil, "", err
			}
			if keep != nil && !keep(row.Msg) {
				after = row.ID
				continue
			}
			if len(rows) == size { // one more than fits: there is a next page
				return rows, pageToken(after, identity...), nil
			}
			rows, after = append(rows, row), row.ID
		}
		if len(page) < r.Limit {
			return rows, "", nil
		}
		if examined += len(page); examined >= maxExamined {
			return rows, pageToken(after, identity...), nil
		}
		r.After = page[len(page)-1].Key
	}
}
