// Package store is the port to the one database of Towpath: an ordered key-value store in which every write has a revision
// and every change can be followed. The engines are boltkv (one process, a file), memkv (tests) and others that pass storetest.
//
// What belongs here: the contract (this file), its errors, and the small typed helper Table for rows that are proto messages.
// What does not: the rows themselves, their key layout and rules; those belong to the service that owns them.
package store

import (
	"context"
	"iter"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Limits that every engine enforces, so that what works on one works on all. Going over one is an errs.Invalid error with
// reason REASON_TOO_LARGE and the limit's name in its metadata "limit".
const (
	// MaxKeyBytes is the longest key, in bytes. A key has at least one byte and may hold any bytes.
	MaxKeyBytes = 1 << 10
	// MaxValueBytes is the largest value of one key, in bytes.
	MaxValueBytes = 4 << 20
	// MaxTxOps is the largest number of operations of a transaction, and also of its conditions.
	MaxTxOps = 1024
	// MaxTxBytes is the largest sum of all keys and values of a transaction, in bytes.
	MaxTxBytes = 16 << 20
)

// Entry is one key as it is now.
type Entry struct {
	Key string
	// Value is read-only: an engine may hand the same memory to several callers. An empty value may be nil.
	Value []byte
	// Rev is the revision of the last write of this key, always greater than 0.
	Rev int64
}

// Change is one write or removal of a key.
type Change struct {
	Key string
	// Value is what was written, read-only; nil for a removal.
	Value []byte
	// Deleted says that the key was removed.
	Deleted bool
	// Rev is the revision of the transaction; all changes of one transaction share it.
	Rev int64
}

// ScanRange says which entries to read and in which order.
type ScanRange struct {
	// Prefix limits the scan to keys that start with it; "" is all keys.
	Prefix string
	// After is the last key that was seen, not returned again: only keys behind it in the scan's direction are. "" starts
	// at the first key of the prefix, or the last one when Reverse. It need not exist and need not have the prefix.
	After string
	// Limit is the largest number of entries to return; 0 is all. Bound it, or use All, where the number of rows grows with use.
	Limit int
	// Reverse gives the greatest key first.
	Reverse bool
}

// KV is an ordered, revisioned key-value store. Keys are ordered by their bytes.
//
// Every transaction that changes something gets a revision greater than all before it; revisions may have gaps. Reads see
// every transaction whose Commit returned before the read began. All methods may be called concurrently. They honour ctx and
// then return its error (errs.KindOf gives Cancelled or Timeout). After Close they return ErrClosed.
type KV interface {
	// Get reads one key; ErrNotFound when it does not exist, errs.Invalid when it can be no key.
	Get(ctx context.Context, key string) (Entry, error)

	// Scan reads a range of keys as they are at one moment. Two calls may see two moments. No entry is no error.
	Scan(ctx context.Context, r ScanRange) ([]Entry, error)

	// Commit does all operations of tx or none. It is durable, as far as the engine is, before it returns.
	//
	// When a condition does not hold, nothing changes and the error is ErrConflict; ConflictKey tells which key. The result is
	// the revision of this transaction, or the current revision of the store when tx changed nothing (no operation, or only
	// removals of keys that do not exist). Commit of an empty Tx is thus how to learn the current revision.
	//
	// When ctx ends, or with errs.Unavailable, the outcome may be unknown: read before repeating, or repeat with conditions.
	// Values belong to the caller again once Commit has returned.
	Commit(ctx context.Context, tx Tx) (rev int64, err error)

	// Watch gives every change after revision `after` (0 is all) to keys with the prefix: each exactly once, by ascending
	// revision, and within a transaction in the order of its operations. Then it waits for new ones. Removing a key that does not exist is
	// no change; writing the same value again is one.
	//
	// The sequence ends with exactly one error and a zero Change: that of ctx, ErrClosed, or ErrCompacted when the log does
	// not reach back to `after`. Also a revision from the future is ErrCompacted: the store was restored from a backup, so the
	// position means nothing. After ErrCompacted, take the current revision, scan, and watch from that revision.
	//
	// A slow consumer holds up nobody and loses nothing: it reads from the log. Break leaves the sequence at any time.
	Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Change, error]

	// Close ends all watches and frees the engine's resources. A Commit that is being written ends first. Closing again is fine.
	Close() error
}

// Compactor is what engines offer beside KV that keep their own change log.
type Compactor interface {
	// Compact removes the changes up to and including rev from the log; current values stay. A Watch from before rev may then
	// end with ErrCompacted (it never skips changes silently), one from rev or later does not. A revision below what is
	// compacted already does nothing; one from the future is errs.Invalid.
	Compact(ctx context.Context, rev int64) error
}

// AnyRev is the Rev of a condition that only asks for the key's existence.
const AnyRev int64 = -1

// Cond is a condition on one key that must hold for a transaction to happen. Make it with IfRev, IfAbsent or IfExists.
type Cond struct {
	Key string
	// Rev is the revision that the key must have: 0 for a key that must not exist, AnyRev for one that must exist.
	Rev int64
}

// IfRev holds when the key's last write has that revision: nobody wrote it since it was read. IfRev(key, 0) is IfAbsent.
func IfRev(key string, rev int64) Cond { return Cond{Key: key, Rev: rev} }

// IfAbsent holds when the key does not exist.
func IfAbsent(key string) Cond { return Cond{Key: key} }

// IfExists holds when the key exists, whatever its revision.
func IfExists(key string) Cond { return Cond{Key: key, Rev: AnyRev} }

// Holds reports whether the condition is true for a key whose current revision is rev, 0 when it does not exist.
func (c Cond) Holds(rev int64) bool {
	if c.Rev == AnyRev {
		return rev != 0
	}
	return c.Rev == rev
}

// Op is one write or removal of a transaction. Make it with Tx.Put or Tx.Delete.
type Op struct {
	Key string
	// Value is what to write; the engine reads it until Commit returns. Ignored for a removal.
	Value []byte
	// Delete removes the key; removing a key that does not exist does nothing.
	Delete bool
}

// Tx is a transaction: conditions that must all hold, on the state before it, and operations that happen together. Each key
// appears at most once in the operations. The zero Tx is ready to use:
//
//	var tx store.Tx
//	tx.If(store.IfAbsent("app/shop")).Put("app/shop", value)
//	rev, err := kv.Commit(ctx, tx)
type Tx struct {
	Conds []Cond
	Ops   []Op
}

// If adds conditions.
func (tx *Tx) If(conds ...Cond) *Tx {
	tx.Conds = append(tx.Conds, conds...)
	return tx
}

// Put adds the write of a key.
func (tx *Tx) Put(key string, value []byte) *Tx {
	tx.Ops = append(tx.Ops, Op{Key: key, Value: value})
	return tx
}

// Delete adds the removal of a key.
func (tx *Tx) Delete(key string) *Tx {
	tx.Ops = append(tx.Ops, Op{Key: key, Delete: true})
	return tx
}

// Validate checks the limits and that no key is written twice. Engines call it first; the error is errs.Invalid.
func (tx Tx) Validate() error {
	if len(tx.Ops) > MaxTxOps {
		return tooLarge("tx_ops", "the transaction has %d operations, at most %d are allowed; split it", len(tx.Ops), MaxTxOps)
	}
	if len(tx.Conds) > MaxTxOps {
		return tooLarge("tx_conditions", "the transaction has %d conditions, at most %d are allowed; split it", len(tx.Conds), MaxTxOps)
	}
	for _, c := range tx.Conds {
		if err := ValidateKey(c.Key); err != nil {
			return err
		}
		if c.Rev < AnyRev {
			return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the condition on key %q asks for revision %d; revisions start at 1", c.Key, c.Rev)
		}
	}
	seen := make(map[string]struct{}, len(tx.Ops))
	total := 0
	for _, op := range tx.Ops {
		if err := ValidateKey(op.Key); err != nil {
			return err
		}
		if _, twice := seen[op.Key]; twice {
			return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "key %q is in the transaction twice; write each key once", op.Key)
		}
		seen[op.Key] = struct{}{}
		if len(op.Value) > MaxValueBytes {
			return tooLarge("value_bytes", "the value of key %q has %d bytes, at most %d are allowed", op.Key, len(op.Value), MaxValueBytes)
		}
		total += len(op.Key) + len(op.Value)
	}
	if total > MaxTxBytes {
		return tooLarge("tx_bytes", "the transaction has %d bytes, at most %d are allowed; split it", total, MaxTxBytes)
	}
	return nil
}

// ValidateKey checks that a key is neither empty nor too long; the error is errs.Invalid.
func ValidateKey(key string) error {
	switch {
	case key == "":
		return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the key is empty; a key has 1 to %d bytes", MaxKeyBytes)
	case len(key) > MaxKeyBytes:
		return tooLarge("key_bytes", "the key %q... has %d bytes, at most %d are allowed", key[:32], len(key), MaxKeyBytes)
	}
	return nil
}

// Bounds gives the keys of the range as start <= key < end; end "" has no bound. Empty is true when no key can be in it.
func (r ScanRange) Bounds() (start, end string, empty bool) {
	start, end = r.Prefix, PrefixEnd(r.Prefix)
	if r.After != "" {
		if r.Reverse {
			if end == "" || r.After < end {
				end = r.After
			}
		} else {
			// The smallest key greater than After.
			start = max(start, r.After+"\x00")
		}
	}
	return start, end, end != "" && start >= end
}

// Validate checks that the limit is not negative; the error is errs.Invalid.
func (r ScanRange) Validate() error {
	if r.Limit < 0 {
		return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the scan's limit is %d; give a positive number, or 0 for all", r.Limit)
	}
	return nil
}

// PrefixEnd gives the smallest key that is greater than every key with the prefix; "" when there is none, as for "" and for
// prefixes of only 0xff bytes.
func PrefixEnd(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}

// allPage is the number of entries that All reads at once: few enough to hold, many enough to make calls rare.
const allPage = 256

// All gives all entries with the prefix in key order, reading them page by page: memory stays bounded, but entries of two
// pages may be of two moments. The sequence ends after the last entry or with one error.
func All(ctx context.Context, kv KV, prefix string) iter.Seq2[Entry, error] {
	return Range(ctx, kv, ScanRange{Prefix: prefix, Limit: allPage})
}

// Range gives all entries of a range as All does, in the range's direction. Its Limit is how many are read at once: few where the
// search ends soon.
func Range(ctx context.Context, kv KV, r ScanRange) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := r // a sequence may be gone through again
		for {
			page, err := kv.Scan(ctx, r)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if len(page) < r.Limit || r.Limit == 0 {
				return
			}
			r.After = page[len(page)-1].Key
		}
	}
}

// Revision gives the current revision of the store, 0 or more. Take it before a scan whose result a Watch then keeps up to date.
func Revision(ctx context.Context, kv KV) (int64, error) { return kv.Commit(ctx, Tx{}) }
