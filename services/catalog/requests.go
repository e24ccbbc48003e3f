package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// requestRetention is how long a request id is remembered. Nobody retries a call after that; without an end, the answers
// would be most of the database.
const requestRetention = 7 * 24 * time.Hour

// request is a call that has an effect once. scope keeps the ids of different methods and environments apart.
type request struct {
	scope, id string
	content   proto.Message
}

func (r request) key() string {
	sum := sha256.Sum256([]byte(r.id))
	return requestPrefix + r.scope + "/" + hex.EncodeToString(sum[:])
}

// answered is the value of a request's row: when, a hash of the request, and the answer. The row is written in the transaction
// of the effect, so its revision is the etag of what was made.
type answered struct {
	when   time.Time
	hash   [sha256.Size]byte
	answer []byte
}

func (a answered) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(a.when.Unix()))
	return append(append(b, a.hash[:]...), a.answer...)
}

func decodeAnswered(b []byte) (a answered, ok bool) {
	if len(b) < 8+sha256.Size {
		return a, false
	}
	a.when = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	copy(a.hash[:], b[8:])
	a.answer = b[8+sha256.Size:]
	return a, true
}

func contentHash(m proto.Message) ([sha256.Size]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode request: %w", err)
	}
	return sha256.Sum256(b), nil
}

// earlier reads the answer of an earlier call with the same request id into answer and gives its revision; false when there was
// none. The same id with another content is REASON_REQUEST_ID_REUSED.
func (s *Service) earlier(ctx context.Context, r request, answer proto.Message) (rev int64, found bool, err error) {
	if r.id == "" {
		return 0, false, nil
	}
	e, err := s.cfg.KV.Get(ctx, r.key())
	if errors.Is(err, store.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	a, ok := decodeAnswered(e.Value)
	hash, err := contentHash(r.content)
	if err != nil || !ok {
		return 0, false, errors.Join(err, fmt.Errorf("row %q is damaged", r.key()))
	}
	if !bytes.Equal(hash[:], a.hash[:]) {
		return 0, false, errs.New(errs.Precondition, errorsv1.Reason_REASON_REQUEST_ID_REUSED,
			"the request_id was used before for another request; make a new one for each change").With("request_id", r.id)
	}
	return e.Rev, true, proto.Unmarshal(a.answer, answer)
}

// answer adds the answer to the transaction, which fails when another call with the same id was faster.
func (s *Service) answer(tx *store.Tx, r request, answer proto.Message) error {
	if r.id == "" {
		return nil
	}
	hash, err := contentHash(r.content)
	if err != nil {
		return err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	tx.If(store.IfAbsent(r.key())).Put(r.key(), answered{when: s.now(), hash: hash, answer: b}.encode())
	return nil
}

// runJanitor forgets old request ids, once at the start and then every hour.
func (s *Service) runJanitor(ctx context.Context) error {
	for {
		if err := s.forgetRequests(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("old request ids could not be removed; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Hour):
		}
	}
}

func (s *Service) forgetRequests(ctx context.Context) error {
	limit := s.now().Add(-requestRetention)
	var tx store.Tx
	flush := func() error {
		if len(tx.Ops) == 0 {
			return nil
		}
		_, err := s.cfg.KV.Commit(ctx, tx)
		tx = store.Tx{}
		return err
	}
	for e, err := range store.All(ctx, s.cfg.KV, requestPrefix) {
		if err != nil {
			return err
		}
		if a, ok := decodeAnswered(e.Value); ok && a.when.After(limit) {
			continue
		}
		if tx.Delete(e.Key); len(tx.Ops) == 256 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// maxConflicts is how often a transaction is tried when others are faster. Each loser waits for a winner, so that only a
// storm of writers from other processes can reach it.
const maxConflicts = 64

// retry runs try until it does not lose against another writer.
func retry(ctx context.Context, try func() error) error {
	var err error
	for range maxConflicts {
		if err = try(); !errors.Is(err, store.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}
