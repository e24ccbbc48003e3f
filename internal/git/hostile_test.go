package git_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

// liar is a Git host that answers a fetch with whatever a test wants.
func liar(t *testing.T, fetch func(w http.ResponseWriter)) string {
	t.Helper()
	pkt := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, pkt("# service=git-upload-pack\n")+"0000"+pkt("version 2\n")+pkt("ls-refs\n")+pkt("fetch=shallow filter\n")+"0000")
		case bytes.Contains(body, []byte("ls-refs")):
			fmt.Fprint(w, pkt(strings.Repeat("a", 40)+" refs/heads/main\n")+"0000")
		default:
			fmt.Fprint(w, pkt("packfile\n"))
			fetch(w)
		}
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL + "/x.git"
}

// band sends data on the first channel of the side band.
func band(w io.Writer, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), 60_000)
		if _, err := fmt.Fprintf(w, "%04x\x01%s", n+5, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// onePack is a pack with one object that says it has size bytes, and holds those of content.
func onePack(kind byte, size int, content io.Reader) []byte {
	var b bytes.Buffer
	b.WriteString("PACK")
	_ = binary.Write(&b, binary.BigEndian, [2]uint32{2, 1}) // a buffer takes everything
	first := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b.WriteByte(first | 0x80)
		first = byte(size & 0x7f)
	}
	b.WriteByte(first)
	z := zlib.NewWriter(&b)
	_, _ = io.Copy(z, content)
	_ = z.Close()
	sum := sha1.Sum(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

func TestAHostThatLiesHarmsNobody(t *testing.T) {
	const mega = 1 << 20
	honest := onePack(1, 5, strings.NewReader("hello"))
	for what, fetch := range map[string]func(w http.ResponseWriter){
		"without an end": func(w http.ResponseWriter) {
			junk := bytes.Repeat([]byte("x"), mega)
			for band(w, junk) == nil {
			}
		},
		"words without an end": func(w http.ResponseWriter) {
			words := fmt.Appendf(nil, "%04x\x02%s", 60_005, strings.Repeat("x", 60_000))
			for {
				if _, err := w.Write(words); err != nil {
					return
				}
			}
		},
		"a bomb":               func(w http.ResponseWriter) { _ = band(w, onePack(3, 600*mega, io.LimitReader(zeros{}, 600*mega))) },
		"a bomb that hides it": func(w http.ResponseWriter) { _ = band(w, onePack(3, 10, io.LimitReader(zeros{}, 600*mega))) },
		"another object":       func(w http.ResponseWriter) { _ = band(w, honest); fmt.Fprint(w, "0000") },
		"a wrong checksum": func(w http.ResponseWriter) {
			_ = band(w, append(honest[:len(honest)-1:len(honest)-1], 0))
			fmt.Fprint(w, "0000")
		},
		"half of it":               func(w http.ResponseWriter) { _ = band(w, honest[:len(honest)/2]) },
		"half of it, and the end":  func(w http.ResponseWriter) { _ = band(w, honest[:len(honest)/2]); fmt.Fprint(w, "0000") },
		"nothing":                  func(http.ResponseWriter) {},
		"something else":           func(w http.ResponseWriter) { fmt.Fprint(w, "<html>welcome to the hotel's network</html>") },
		"a packet of a wrong size": func(w http.ResponseWriter) { fmt.Fprint(w, "zzzz") },
		"more objects than bytes": func(w http.ResponseWriter) {
			_ = band(w, []byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff"+strings.Repeat("x", 40)))
			fmt.Fprint(w, "0000")
		},
	} {
		t.Run(what, func(t *testing.T) {
			r, err := git.Open(t.Context(), git.Config{URL: liar(t, fetch), Dir: t.TempDir(), Timeout: 5 * time.Second, MaxFetch: 64 * mega})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			tip, err := r.Fetch(t.Context(), "main")
			if err == nil {
				t.Fatalf("it gave %s", tip)
			}
			switch errs.KindOf(err) {
			case errs.Unavailable, errs.Timeout, errs.Invalid, errs.NotFound, errs.Internal:
			default:
				t.Errorf("the error is %v", err)
			}
			runtime.ReadMemStats(&after)
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 400 {
				t.Errorf("%d MB were allocated", grown)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
