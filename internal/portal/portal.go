// Package portal is the web portal of towpathd: static files embedded in the binary, and the browser session that keeps the
// caller's token out of JavaScript's reach. The pages are a client of the REST API alone, so nothing here knows a service.
// What belongs here: the pages, how they are served, and the session. What the pages show comes from /v1.
package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// contentSecurityPolicy allows the portal's own files and nothing else: no inline script or style, no other host, no frame
// around it. The pages keep to it; loosening it would let injected text run.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Handler is Gate.Handler of a Gate without identity providers.
func Handler(openAPI []byte) http.Handler { return New(Config{}).Handler(openAPI) }

// Handler serves the portal: / (the pages, routed by the address's fragment), /assets/, /docs (the API page), /openapi.json (the
// document given, an OpenAPI 2 description of /v1) and /session (see WithSession). Files are for GET and HEAD, are
// revalidated by ETag on each use, and so need no version in their addresses.
func (g *Gate) Handler(openAPI []byte) http.Handler {
	mux := http.NewServeMux()
	for name, body := range files() {
		mux.Handle(name, newFile(name, body))
	}
	mux.Handle("/openapi.json", newFile("/openapi.json", openAPI))
	mux.HandleFunc("/session", g.serveSession)
	mux.HandleFunc(startPath, g.start)
	mux.HandleFunc(callbackPath, g.callback)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "There is no page here. The portal begins at /, its API page is /docs.", http.StatusNotFound)
	})
	return withHeaders(mux)
}

// files gives the pages and their parts by the pattern they are served at.
func files() map[string][]byte {
	out := map[string][]byte{}
	err := fs.WalkDir(assets, "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assets.ReadFile(p)
		if err != nil {
			return err
		}
		switch p {
		case "assets/index.html":
			out["/{$}"] = body
		case "assets/docs.html":
			out["/docs"] = body
		default:
			out["/"+p] = body
		}
		return nil
	})
	if err != nil {
		// The files are part of the binary: reading them cannot fail in one that was built.
		panic(fmt.Sprintf("portal: embedded files: %v", err))
	}
	return out
}

// contentTypes are fixed, because the machine's own table of types could say something else and nosniff would then break the pages.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml", ".json": "application/json",
}

// file is one thing served, as it is and packed.
type file struct {
	body, packed      []byte
	etag, contentType string
}

func newFile(pattern string, body []byte) file {
	sum := sha256.Sum256(body)
	ext := path.Ext(pattern)
	if ext == "" || strings.HasSuffix(pattern, "{$}") {
		ext = ".html"
	}
	kind, ok := contentTypes[ext]
	if !ok {
		kind = mime.TypeByExtension(ext)
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is one
	_, _ = w.Write(body)                                       // memory takes everything
	_ = w.Close()
	return file{body: body, packed: packed.Bytes(), etag: `"` + hex.EncodeToString(sum[:16]), contentType: kind}
}

// ServeHTTP answers GET and HEAD, with 304 for what the browser has already.
func (f file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Vary", "Accept-Encoding")
	body, mark := f.body, `"`
	if acceptsGzip(r) && len(f.packed) < len(f.body) {
		body, mark = f.packed, `-gzip"`
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Header().Set("ETag", f.etag+mark)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip reports whether the caller can unpack. Nothing of what is packed is secret, so its length tells nothing.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(coding, "gzip") {
			return strings.Trim(strings.TrimPrefix(strings.ReplaceAll(weight, " ", ""), "q="), "0.") != "" || weight == ""
		}
	}
	return false
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "This address takes "+allow+".", http.StatusMethodNotAllowed)
}

func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers older than frame-ancestors
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
