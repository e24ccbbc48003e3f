package boltkv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/towpath-dev/towpath/internal/store"
)

// A change in the log is
//
//	8 bytes  time of the commit, nanoseconds since 1970
//	1 byte   1 for a removal, 0 for a write
//	2 bytes  length of the key
//	n bytes  key
//	8 bytes  revision  } the row, exactly as it stands in the bucket rows; absent for a removal
//	m bytes  value     }
//
// The row is the tail of the change, so that one buffer serves both buckets: a value is copied once.
const (
	changeHead = 8 + 1 + 2
	revBytes   = 8
)

// logKey is the place of a change in the log.
func logKey(rev int64, pos uint32) []byte {
	k := make([]byte, 0, 12)
	k = binary.BigEndian.AppendUint64(k, uint64(rev))
	return binary.BigEndian.AppendUint32(k, pos)
}

// revOfLogKey is the revision of a place in the log.
func revOfLogKey(k []byte) int64 { return int64(binary.BigEndian.Uint64(k)) }

// encodeChange gives the change for the log and, as a part of it, the row; nil for a removal.
func encodeChange(op store.Op, rev int64, at time.Time) (change, row []byte) {
	size := changeHead + len(op.Key)
	if !op.Delete {
		size += revBytes + len(op.Value)
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixNano()))
	if op.Delete {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(op.Key)))
	b = append(b, op.Key...)
	if op.Delete {
		return b, nil
	}
	start := len(b)
	b = binary.BigEndian.AppendUint64(b, uint64(rev))
	b = append(b, op.Value...)
	return b, b[start:]
}

// damaged is a change or row that no towpathd can have written.
func damaged(what string, key []byte) error {
	return fmt.Errorf("the data file is damaged: %s %q is too short; restore a backup", what, key)
}

// decodeRow copies a row out of the file's memory, which is only valid during a bolt transaction.
func decodeRow(key, row []byte) (store.Entry, error) {
	if len(row) < revBytes {
		return store.Entry{}, damaged("row", key)
	}
	return store.Entry{Key: string(key), Value: bytes.Clone(row[revBytes:]), Rev: rowRev(row)}, nil
}

// rowRev is the revision of a row; 0 for no row.
func rowRev(row []byte) int64 {
	if len(row) < revBytes {
		return 0
	}
	return int64(binary.BigEndian.Uint64(row))
}

// changeTime is when a change was committed.
func changeTime(change []byte) time.Time {
	if len(change) < changeHead {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(change)))
}

// decodeChange copies a change out of the file's memory when its key has the prefix.
func decodeChange(logKey, change, prefix []byte) (c store.Change, match bool, err error) {
	if len(change) < changeHead {
		return c, false, damaged("change", logKey)
	}
	n := int(binary.BigEndian.Uint16(change[9:]))
	if len(change) < changeHead+n {
		return c, false, damaged("change", logKey)
	}
	key := change[changeHead : changeHead+n]
	if !bytes.HasPrefix(key, prefix) {
		return c, false, nil
	}
	c = store.Change{Key: string(key), Rev: revOfLogKey(logKey), Deleted: change[8] == 1}
	if c.Deleted {
		return c, true, nil
	}
	if len(change) < changeHead+n+revBytes {
		return c, false, damaged("change", logKey)
	}
	c.Value = bytes.Clone(change[changeHead+n+revBytes:])
	return c, true, nil
}
