package boltkv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The buckets of the file and the keys of the bucket meta. These names are in every data folder: never change or reuse one;
// a change of layout is a new name or a migration.
var (
	// bucketMeta holds the keys below.
	bucketMeta = []byte("meta")
	// bucketRows holds key -> row: 8 bytes revision, value.
	bucketRows = []byte("rows")
	// bucketLog holds 8 bytes revision, 4 bytes position in the transaction -> change, see codec.go.
	bucketLog = []byte("log")

	// metaSchema holds the schema version of the file.
	metaSchema = []byte("schema")
	// metaRevision holds the revision of the last transaction.
	metaRevision = []byte("revision")
	// metaCompacted holds the revision up to which the log may have been removed.
	metaCompacted = []byte("compacted")
)

// migration brings a file from one schema version to the next, inside the transaction that also records the new version.
type migration struct {
	// about says what changes, for the log and for errors.
	about string
	apply func(tx *bolt.Tx) error
}

// migrations[i] leads from schema version i+1 to i+2. Only ever append: a released migration has run somewhere.
var migrations []migration

// errNotOurs is a bolt file that Towpath did not make.
var errNotOurs = errors.New("the file holds buckets but no schema version")

// prepare makes the buckets of a new file, or migrates an old one by the chain to version len(chain)+1. It reports the version
// before, 0 for a new file. A file of a newer version is refused: an older binary would damage it.
func prepare(tx *bolt.Tx, chain []migration) (before int, err error) {
	target := len(chain) + 1
	if tx.Bucket(bucketMeta) == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return 0, errNotOurs
		}
		for _, name := range [][]byte{bucketMeta, bucketRows, bucketLog} {
			if _, err := tx.CreateBucket(name); err != nil {
				return 0, fmt.Errorf("make bucket %s: %w", name, err)
			}
		}
		return 0, putInt(tx.Bucket(bucketMeta), metaSchema, int64(target))
	}
	before = int(getInt(tx.Bucket(bucketMeta), metaSchema))
	switch {
	case before < 1:
		return before, errNotOurs
	case before > target:
		return before, errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
			"the data folder has schema version %d, this towpathd knows versions up to %d; run a newer towpathd, or restore a backup from before the upgrade", before, target)
	}
	for v := before; v < target; v++ {
		m := chain[v-1]
		if err := m.apply(tx); err != nil {
			return before, fmt.Errorf("migrate from schema version %d to %d (%s): %w", v, v+1, m.about, err)
		}
	}
	return before, putInt(tx.Bucket(bucketMeta), metaSchema, int64(target))
}

// getInt reads a number of the bucket meta, 0 when there is none.
func getInt(b *bolt.Bucket, key []byte) int64 {
	v := b.Get(key)
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

func putInt(b *bolt.Bucket, key []byte, n int64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// upToDate reports whether the file has that version already, so that opening it writes nothing.
func upToDate(tx *bolt.Tx, version int) bool {
	b := tx.Bucket(bucketMeta)
	return b != nil && bytes.Equal(b.Get(metaSchema), binary.BigEndian.AppendUint64(nil, uint64(version)))
}
