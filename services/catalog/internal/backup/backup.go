// Package backup is the file that a catalog is backed up to: a magic line with the version of the format, then a zstd stream of
// records, the last of which has a checksum over all before it. A file that was cut short or changed anywhere is told from a whole
// one before anything of it is used.
//
// What belongs here: the format. What does not: which rows are in it and what they mean.
package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Version is the format that this package writes. It reads this one only.
const Version = 1

// magic begins every file, so that `file` and people see what it is.
const magic = "TOWPATH BACKUP "

// Kind says what a record is.
type Kind byte

// The kinds of records.
const (
	header Kind = 1
	// Put is a row: key, value, revision. A later record of the same key counts.
	Put Kind = 2
	// Delete is a row that is not there after all: it went while the backup was made.
	Delete Kind = 3
	// Block is a block of old rows: the key of its index row, and its bytes.
	Block Kind = 4
	end   Kind = 5
)

// Header tells what the file is of.
type Header struct {
	// Schema is the version of the rows.
	Schema string `json:"schema"`
	// Time is when it was made.
	Time time.Time `json:"time"`
}

// Record is one piece of a backup.
type Record struct {
	Kind  Kind
	Key   string
	Value []byte
	Rev   int64
}

// maxPart bounds a key or value that a file says it has, so that a damaged one cannot ask for all memory.
const maxPart = 64 << 20

// Writer writes a backup.
type Writer struct {
	zstd *zstd.Encoder
	out  *bufio.Writer
	sum  hash.Hash
	rows int64
}

// NewWriter begins a file.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if _, err := fmt.Fprintf(w, "%s%d\n", magic, Version); err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	out := &Writer{zstd: z, sum: sha256.New()}
	out.out = bufio.NewWriterSize(io.MultiWriter(z, out.sum), 64<<10)
	value, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	return out, out.write(Record{Kind: header, Value: value})
}

// Write adds a record.
func (w *Writer) Write(r Record) error {
	if r.Kind == Put {
		w.rows++
	}
	return w.write(r)
}

// Rows is how many rows were written.
func (w *Writer) Rows() int64 { return w.rows }

func (w *Writer) write(r Record) error {
	b := []byte{byte(r.Kind)}
	b = binary.AppendUvarint(b, uint64(r.Rev))
	b = binary.AppendUvarint(b, uint64(len(r.Key)))
	b = append(b, r.Key...)
	b = binary.AppendUvarint(b, uint64(len(r.Value)))
	if _, err := w.out.Write(b); err != nil {
		return err
	}
	_, err := w.out.Write(r.Value)
	return err
}

// Close ends the file. Without it the file is not whole.
func (w *Writer) Close() error {
	if err := w.out.Flush(); err != nil {
		return err
	}
	if err := w.write(Record{Kind: end, Value: w.sum.Sum(nil)}); err != nil {
		return err
	}
	return errors.Join(w.out.Flush(), w.zstd.Close())
}

// Reader reads a backup.
type Reader struct {
	zstd   *zstd.Decoder
	in     *bufio.Reader
	sum    hash.Hash
	header Header
}

// NewReader reads the beginning of a file. The error says what the file is when it is no backup that this version can read.
func NewReader(r io.Reader) (*Reader, error) {
	first := make([]byte, len(magic)+2)
	if _, err := io.ReadFull(r, first); err != nil || !bytes.HasPrefix(first, []byte(magic)) {
		return nil, bad("it does not begin as a backup does; give a file that `tow backup` has written", err)
	}
	if want := fmt.Sprintf("%s%d\n", magic, Version); string(first) != want {
		return nil, bad("it is of another version of the format; restore it with the version of towpathd that made it", nil)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, err
	}
	out := &Reader{zstd: z, in: bufio.NewReaderSize(z, 64<<10), sum: sha256.New()}
	rec, err := out.read()
	if err == nil && rec.Kind != header {
		err = errors.New("the first record is not the header")
	}
	if err == nil {
		err = json.Unmarshal(rec.Value, &out.header)
	}
	if err != nil {
		z.Close()
		return nil, damaged(err)
	}
	return out, nil
}

// Header tells what the file is of.
func (r *Reader) Header() Header { return r.header }

// Close frees the reader.
func (r *Reader) Close() { r.zstd.Close() }

// Next gives the next record; io.EOF behind the last, when the file was whole. Until then nothing in it is certain.
func (r *Reader) Next() (Record, error) {
	so := r.sum.Sum(nil)
	rec, err := r.read()
	switch {
	case err != nil:
		return rec, damaged(err)
	case rec.Kind == Put || rec.Kind == Delete || rec.Kind == Block:
		return rec, nil
	case rec.Kind != end || !bytes.Equal(rec.Value, so):
		return rec, damaged(errors.New("the checksum is another"))
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return rec, damaged(errors.Join(errors.New("there is more behind the end"), err))
	}
	return Record{}, io.EOF
}

func (r *Reader) read() (Record, error) {
	var rec Record
	kind, err := r.byte()
	if err != nil {
		return rec, err
	}
	rev, err := r.number()
	if err != nil {
		return rec, err
	}
	key, err := r.part()
	if err != nil {
		return rec, err
	}
	value, err := r.part()
	return Record{Kind: Kind(kind), Rev: int64(rev), Key: string(key), Value: value}, err
}

func (r *Reader) byte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.sum.Write([]byte{b})
	}
	return b, err
}

// ReadByte is byte, for binary.ReadUvarint.
func (r *Reader) ReadByte() (byte, error) { return r.byte() }

func (r *Reader) number() (uint64, error) { return binary.ReadUvarint(r) }

func (r *Reader) part() ([]byte, error) {
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	if n > maxPart {
		return nil, fmt.Errorf("a part has %d bytes, at most %d are possible", n, maxPart)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return nil, err
	}
	r.sum.Write(b)
	return b, nil
}

func bad(problem string, err error) error {
	return errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the file cannot be restored: %s", problem).Because(err)
}

func damaged(err error) error {
	return bad("it is damaged or was cut short; use another copy of it", err)
}
