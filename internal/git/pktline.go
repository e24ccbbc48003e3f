package git

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// pktKind tells Git's packet lines apart. go-git's scanner does not know the delimiter of protocol version 2.
type pktKind int

const (
	pktData pktKind = iota
	pktFlush
	pktDelim
	pktEnd // response end, of stateless connections
)

// maxPkt is the largest payload of one packet in bytes.
const maxPkt = 65516

func writePkt(b *bytes.Buffer, format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	fmt.Fprintf(b, "%04x%s", len(s)+4, s)
}

func writeFlush(b *bytes.Buffer) { b.WriteString("0000") }

func writeDelim(b *bytes.Buffer) { b.WriteString("0001") }

// remoteError is what the other side says with an ERR packet.
type remoteError struct{ words string }

func (e *remoteError) Error() string { return "the Git host says: " + e.words }

// pktReader reads packets. The payload is valid until the next call.
type pktReader struct {
	r   *bufio.Reader
	buf []byte
}

func newPktReader(r io.Reader) *pktReader {
	return &pktReader{r: bufio.NewReaderSize(r, 64<<10), buf: make([]byte, maxPkt+4)}
}

var errNotPkt = errors.New("the answer is not Git's protocol")

func (p *pktReader) next() (pktKind, []byte, error) {
	if _, err := io.ReadFull(p.r, p.buf[:4]); err != nil {
		return 0, nil, err
	}
	n, err := strconv.ParseUint(string(p.buf[:4]), 16, 17)
	if err != nil {
		return 0, nil, errNotPkt
	}
	switch {
	case n == 0:
		return pktFlush, nil, nil
	case n == 1:
		return pktDelim, nil, nil
	case n == 2:
		return pktEnd, nil, nil
	case n < 4 || int(n)-4 > len(p.buf):
		return 0, nil, errNotPkt
	}
	data := p.buf[:n-4]
	if _, err := io.ReadFull(p.r, data); err != nil {
		return 0, nil, fmt.Errorf("the answer ends early: %w", err)
	}
	if words, ok := bytes.CutPrefix(data, []byte("ERR ")); ok {
		return 0, nil, &remoteError{words: cleanWords(string(words))}
	}
	return pktData, data, nil
}

// line is next for text: without the line end.
func (p *pktReader) line() (pktKind, string, error) {
	kind, data, err := p.next()
	return kind, strings.TrimSuffix(string(data), "\n"), err
}

// bandReader gives the bytes of a side band's first channel and collects what the host prints on the second.
type bandReader struct {
	p     *pktReader
	rest  []byte
	words strings.Builder
	done  bool
}

func (b *bandReader) Read(out []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.done {
			return 0, io.EOF
		}
		kind, data, err := b.p.next()
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case kind != pktData:
			b.done = true
		case len(data) == 0:
		case data[0] == 1:
			b.rest = data[1:]
		case data[0] == 2:
			if b.words.Len() < maxWords {
				b.words.Write(data[1:])
			}
		case data[0] == 3:
			return 0, &remoteError{words: cleanWords(string(data[1:]))}
		default:
			return 0, errNotPkt
		}
	}
	n := copy(out, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// maxWords bounds what is kept of a host's words, in bytes.
const maxWords = 2000

// cleanWords makes a host's text fit for a message: one line, no control characters, bounded.
func cleanWords(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + " …"
	}
	return s
}
