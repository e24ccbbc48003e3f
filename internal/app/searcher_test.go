package app_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// searcher looks for planted secrets in whatever comes out of the system, in every form that an output may give them.
type searcher struct {
	mu    sync.Mutex
	forms []form
	found []string
	// seen counts the bytes that were looked at, so that a search of nothing is noticed.
	seen int
}

type form struct {
	what string
	text []byte
}

// plant adds a secret. what says where it was put, so that a finding tells the way that it took.
func (s *searcher) plant(what, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(text string) {
		if !slices.ContainsFunc(s.forms, func(f form) bool { return f.what == what && string(f.text) == text }) {
			s.forms = append(s.forms, form{what, []byte(text)})
		}
	}
	add(secret)
	add(hex.EncodeToString([]byte(secret)))
	add(strings.ToUpper(hex.EncodeToString([]byte(secret))))
	add(url.QueryEscape(secret))
	add(url.PathEscape(secret))
	quoted, _ := json.Marshal(secret) // a string has a JSON form
	add(strings.Trim(string(quoted), `"`))
	add(strings.Trim(fmt.Sprintf("%q", secret), `"`))
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 { // where it stands in what was encoded; the characters at its ends depend on its neighbours
			text := enc.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			add(text[(shift*8+5)/6 : len(text)-2])
		}
	}
}

// look searches a text, and what is compressed in it.
func (s *searcher) look(where string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookInto(where, data, 0)
}

func (s *searcher) lookInto(where string, data []byte, depth int) {
	s.seen += len(data)
	for _, f := range s.forms {
		if i := bytes.Index(data, f.text); i >= 0 {
			s.found = append(s.found, fmt.Sprintf("%s holds %s: …%q…", where, f.what, data[max(i-60, 0):min(i+len(f.text)+20, len(data))]))
		}
	}
	if depth > 2 {
		return
	}
	for _, packed := range []struct {
		magic string
		open  func(io.Reader) (io.Reader, error)
	}{
		{"\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) }},
		{"\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"\x78\x9c", func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }},
	} {
		for at := 0; ; {
			i := bytes.Index(data[at:], []byte(packed.magic))
			if i < 0 {
				break
			}
			at += i
			if r, err := packed.open(bytes.NewReader(data[at:])); err == nil {
				if plain, _ := io.ReadAll(io.LimitReader(r, 64<<20)); len(plain) > 0 { // what follows the frame is no frame
					s.lookInto(where+" (unpacked)", plain, depth+1)
				}
				if z, ok := r.(*zstd.Decoder); ok {
					z.Close()
				}
			}
			at += len(packed.magic)
		}
	}
}

// lookInFolder searches every file below a folder, its name too.
func (s *searcher) lookInFolder(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name := strings.TrimPrefix(path, dir)
		s.look("file "+name, append([]byte(name+"\n"), data...))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Write makes a searcher the place that logs go to.
func (s *searcher) Write(p []byte) (int, error) {
	s.look("log", p)
	return len(p), nil
}

func TestTheSearcherFindsWhatIsWrittenOnPurpose(t *testing.T) {
	secret := `Pl4nted "q'uote" <&%/+ü` + "\\end-9137"
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	packed := func(w io.WriteCloser, b *bytes.Buffer) string {
		if _, err := w.Write([]byte("before " + secret + " behind")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return "header" + b.String() + "trailer"
	}
	var a, b, c bytes.Buffer
	z, err := zstd.NewWriter(&a)
	if err != nil {
		t.Fatal(err)
	}
	for how, text := range map[string]string{
		"raw":                        "x " + secret + " y",
		"base64 alone":               base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 in other text":       base64.StdEncoding.EncodeToString([]byte("a" + secret + "bcd")),
		"base64 further in":          base64.StdEncoding.EncodeToString([]byte("ab" + secret + "c")),
		"base64 for addresses":       base64.URLEncoding.EncodeToString([]byte("xyz" + secret)),
		"hex":                        hex.EncodeToString([]byte("q" + secret)),
		"upper-case hex":             fmt.Sprintf("%X", secret),
		"an address's query":         "?v=" + url.QueryEscape(secret),
		"an address's path":          "/v/" + url.PathEscape(secret),
		"JSON":                       string(quoted),
		"a quoted text of a message": fmt.Sprintf("is %q here", secret),
		"zstd":                       packed(z, &a),
		"gzip":                       packed(gzip.NewWriter(&b), &b),
		"zlib":                       packed(zlib.NewWriter(&c), &c),
	} {
		var s searcher
		s.plant("the secret", secret)
		s.look(how, []byte(text))
		if len(s.found) == 0 {
			t.Errorf("not found as %s in %q", how, text)
		}
		s.found = nil
		s.look(how, []byte(strings.Repeat("harmless text ", 100)))
		if len(s.found) > 0 {
			t.Errorf("found in harmless text: %v", s.found)
		}
	}
	var s searcher
	s.plant("the secret", secret)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "deep"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.lookInFolder(t, dir); len(s.found) == 0 {
		t.Error("not found in a folder")
	}
}
