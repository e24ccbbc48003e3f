package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// The archive. Rows of history that are old and settled move out of the database into blocks, and blocks into segments, see
// archive.go. A block holds rows of one environment, or of the audit trail, that follow one another; the database keeps one
// small row for it, under archivePrefix + the key of its last row + a zero byte, so that the block which may hold a key is the
// first one behind that key. Blocks never overlap.
//
// Readers do not know: rowStore answers Get and Scan from the database and the archive together.

// archivedPrefixes are the tables whose old rows move out.
var archivedPrefixes = []string{deployments.Prefix(), auditEvents.Prefix(), findingRecords.Prefix()}

// segmentStore is what the catalog needs of internal/history. The methods' contracts are there.
type segmentStore interface {
	Put(ctx context.Context, name string, data []byte) error
	Read(ctx context.Context, name string, offset, length int64) ([]byte, error)
	List(ctx context.Context) ([]string, error)
	Delete(ctx context.Context, name string) error
}

// blockRef is the row of a block.
type blockRef struct {
	Segment string `json:"segment"`
	Offset  int64  `json:"offset"`
	Length  int64  `json:"length"`
	// First and Last are the keys of the first and last row in it.
	First string `json:"first"`
	Last  string `json:"last"`
	Rows  int    `json:"rows"`
	Sum   []byte `json:"sha256"`
}

func (b blockRef) key() string { return archivePrefix + b.Last + "\x00" }

func decodeBlockRef(e store.Entry) (b blockRef, err error) {
	if err := json.Unmarshal(e.Value, &b); err != nil {
		return b, fmt.Errorf("row %q is damaged: %w", e.Key, err)
	}
	return b, nil
}

var (
	zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	// maxBlockBytes bounds what a block may say that it unpacks to.
	zstdDecoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(64<<20))
)

// encodeBlock packs rows: of each the lengths and bytes of key and value, and the revision.
func encodeBlock(rows []store.Entry) []byte {
	var raw []byte
	for _, r := range rows {
		raw = binary.AppendUvarint(raw, uint64(len(r.Key)))
		raw = append(raw, r.Key...)
		raw = binary.AppendUvarint(raw, uint64(r.Rev))
		raw = binary.AppendUvarint(raw, uint64(len(r.Value)))
		raw = append(raw, r.Value...)
	}
	return zstdEncoder.EncodeAll(raw, nil)
}

var errBlock = errors.New("the block ends in the middle of a row")

func decodeBlock(packed []byte) ([]store.Entry, error) {
	raw, err := zstdDecoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, err
	}
	var rows []store.Entry
	for len(raw) > 0 {
		var r store.Entry
		key, rest, ok := cutBytes(raw)
		rev, n := binary.Uvarint(rest)
		if !ok || n <= 0 {
			return nil, errBlock
		}
		value, rest, ok := cutBytes(rest[n:])
		if !ok {
			return nil, errBlock
		}
		r.Key, r.Rev, r.Value, raw = string(key), int64(rev), value, rest
		rows = append(rows, r)
	}
	return rows, nil
}

func cutBytes(b []byte) (head, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(length)
	return b[n:end:end], b[end:], true
}

// archive reads blocks. It keeps the ones that were read last: pages are smaller than blocks.
type archive struct {
	kv       store.KV // without the archive
	segments segmentStore

	mu     sync.Mutex
	blocks map[string][]store.Entry // by the checksum
	order  []string
}

// cachedBlocks bounds the memory of the cache; a block has at most blockBytes of rows.
const cachedBlocks = 64

func (a *archive) rows(ctx context.Context, b blockRef) ([]store.Entry, error) {
	a.mu.Lock()
	rows, ok := a.blocks[string(b.Sum)]
	a.mu.Unlock()
	if ok {
		return rows, nil
	}
	packed, err := readBlock(ctx, a.segments, b)
	if err != nil {
		return nil, err
	}
	if rows, err = decodeBlock(packed); err != nil {
		return nil, damaged(b, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.blocks == nil {
		a.blocks = map[string][]store.Entry{}
	}
	if _, known := a.blocks[string(b.Sum)]; !known {
		if len(a.order) == cachedBlocks {
			delete(a.blocks, a.order[0])
			a.order = a.order[1:]
		}
		a.order = append(a.order, string(b.Sum))
		a.blocks[string(b.Sum)] = rows
	}
	return rows, nil
}

// readBlock reads a block's bytes and checks them.
func readBlock(ctx context.Context, from segmentStore, b blockRef) ([]byte, error) {
	packed, err := from.Read(ctx, b.Segment, b.Offset, b.Length)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(packed); !bytes.Equal(sum[:], b.Sum) {
		return nil, damaged(b, errors.New("its checksum is another"))
	}
	return packed, nil
}

// segment reads a block's bytes, of a store that may have no archive.
func (s *Service) segment(ctx context.Context, b blockRef) ([]byte, error) {
	if s.cfg.History == nil {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"old history is in segment %s and this server was not told where; start it with --history", b.Segment).With("segment", b.Segment)
	}
	return readBlock(ctx, s.cfg.History, b)
}

func damaged(b blockRef, err error) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"segment %s of the history is damaged; put the file back as it was, or restore a backup", b.Segment).With("segment", b.Segment).Because(err)
}

func isArchived(key string) bool {
	return slices.ContainsFunc(archivedPrefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// get finds a row; false when it is not in the archive.
func (a *archive) get(ctx context.Context, key string) (store.Entry, bool, error) {
	index, err := a.kv.Scan(ctx, store.ScanRange{Prefix: archivePrefix, After: archivePrefix + key, Limit: 1})
	if err != nil || len(index) == 0 {
		return store.Entry{}, false, err
	}
	b, err := decodeBlockRef(index[0])
	if err != nil || key < b.First || key > b.Last {
		return store.Entry{}, false, err
	}
	rows, err := a.rows(ctx, b)
	if err != nil {
		return store.Entry{}, false, err
	}
	i, found := slices.BinarySearchFunc(rows, key, func(e store.Entry, key string) int { return strings.Compare(e.Key, key) })
	if !found {
		return store.Entry{}, false, nil
	}
	return rows[i], true, nil
}

// indexChunk is how many blocks are looked up at once.
const indexChunk = 16

// scan reads rows of the range in its direction until there are enough or stop says that what follows is not needed; it gets
// the key that a block begins with in that direction.
func (a *archive) scan(ctx context.Context, r store.ScanRange, stop func(near string) bool) ([]store.Entry, error) {
	start, end, empty := r.Bounds()
	if empty {
		return nil, nil
	}
	var out []store.Entry
	for ref, err := range a.blocksOf(ctx, start, end, r.Reverse) {
		if err != nil {
			return nil, err
		}
		near := ref.First
		if r.Reverse {
			near = ref.Last
		}
		if stop(near) {
			return out, nil
		}
		rows, err := a.rows(ctx, ref)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if r.Reverse {
				i = len(rows) - 1 - i
			}
			if k := rows[i].Key; k >= start && (end == "" || k < end) {
				out = append(out, rows[i])
			}
		}
		if r.Limit > 0 && len(out) >= r.Limit {
			return out[:r.Limit], nil
		}
	}
	return out, nil
}

// blocksOf walks the blocks that may hold keys of start <= key < end, in the direction.
func (a *archive) blocksOf(ctx context.Context, start, end string, reverse bool) func(yield func(blockRef, error) bool) {
	return func(yield func(blockRef, error) bool) {
		r := store.ScanRange{Prefix: archivePrefix, Limit: indexChunk, Reverse: reverse}
		if !reverse {
			r.After = archivePrefix + start // a block that ends with start has a greater key, by its zero byte
		} else if end != "" {
			over, err := a.over(ctx, end)
			if err != nil {
				yield(blockRef{}, err)
				return
			}
			if over != nil && over.First < end && !yield(*over, nil) {
				return
			}
			r.After = archivePrefix + end
		}
		for {
			chunk, err := a.kv.Scan(ctx, r)
			if err != nil {
				yield(blockRef{}, err)
				return
			}
			for _, e := range chunk {
				b, err := decodeBlockRef(e)
				if err == nil && (!reverse && end != "" && b.First >= end || reverse && b.Last < start) {
					return
				}
				if !yield(b, err) || err != nil {
					return
				}
			}
			if len(chunk) < r.Limit {
				return
			}
			r.After = chunk[len(chunk)-1].Key
		}
	}
}

// over gives the block that ends at or behind a key, nil for none.
func (a *archive) over(ctx context.Context, key string) (*blockRef, error) {
	index, err := a.kv.Scan(ctx, store.ScanRange{Prefix: archivePrefix, After: archivePrefix + key, Limit: 1})
	if err != nil || len(index) == 0 {
		return nil, err
	}
	b, err := decodeBlockRef(index[0])
	return &b, err
}
