package git

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/towpath-dev/towpath/internal/errs"
)

// Authorise decides about one request for an embedded repository; write means a push. nil lets it pass. An error of the kind
// errs.Unauthenticated makes git ask for a user and a password, which arrive as HTTP Basic authentication in the next request.
type Authorise = func(r *http.Request, repo string, write bool) error

// handler is Git's smart HTTP protocol for embedded repositories: version 2 for reading where the client speaks it, else version 0.
type handler struct {
	repos     *Repos
	authorise Authorise
}

// NewHTTPHandler serves the embedded repositories to real git: clone, fetch (also shallow) and push. The path is the
// repository's name with or without ".git"; a prefix is the caller's to strip. Pushes take the same lock and the same
// compare-and-swap as Remote.Push; branches move forward only.
func NewHTTPHandler(repos *Repos, authorise Authorise) http.Handler {
	return &handler{repos: repos, authorise: authorise}
}

// ServeHTTP answers the three requests of the protocol.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, action, ok := splitPath(r.URL.Path)
	service := action
	if action == "info/refs" {
		service = r.URL.Query().Get("service")
	}
	if !ok || (service != uploadPack && service != receivePack) {
		http.Error(w, "this is not a request of git; clone the repository's URL with git 1.6.6 or later", http.StatusNotFound)
		return
	}
	if method := map[bool]string{true: http.MethodGet, false: http.MethodPost}[action == "info/refs"]; r.Method != method {
		w.Header().Set("Allow", method)
		http.Error(w, "use "+method, http.StatusMethodNotAllowed)
		return
	}
	if err := h.authorise(r, name, service == receivePack); err != nil {
		refuseHTTP(w, err)
		return
	}
	repo, err := h.repos.repo(name, false)
	if err != nil {
		refuseHTTP(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	switch action {
	case "info/refs":
		if service == uploadPack && asksV2(r) {
			err = advertiseV2(w)
		} else {
			err = repo.advertise(w, service)
		}
	case uploadPack:
		err = repo.serveUpload(w, r)
	default:
		err = repo.serveReceive(w, r)
	}
	if err != nil {
		h.repos.opts.Log.Warn("a git request failed", "repository", name, "service", service, "error", err)
	}
}

func splitPath(path string) (name, action string, ok bool) {
	path = strings.TrimPrefix(path, "/")
	for _, action := range []string{"info/refs", uploadPack, receivePack} {
		if name, ok := strings.CutSuffix(path, "/"+action); ok {
			return strings.TrimSuffix(name, ".git"), action, true
		}
	}
	return "", "", false
}

func refuseHTTP(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch errs.KindOf(err) {
	case errs.Unauthenticated:
		w.Header().Set("WWW-Authenticate", `Basic realm="Towpath", charset="UTF-8"`)
		status = http.StatusUnauthorized
	case errs.Denied:
		status = http.StatusForbidden
	case errs.NotFound:
		status = http.StatusNotFound
	case errs.Invalid:
		status = http.StatusBadRequest
	case errs.Unavailable:
		status = http.StatusServiceUnavailable
	default: // 500
	}
	http.Error(w, errs.Message(err), status)
}

// requestBody gives the body as git sent it: git compresses long requests.
func requestBody(w http.ResponseWriter, r *http.Request, limit int64) (io.Reader, error) {
	body := io.Reader(http.MaxBytesReader(w, r.Body, limit))
	if r.Header.Get("Content-Encoding") != "gzip" {
		return body, nil
	}
	z, err := gzip.NewReader(body)
	if err != nil {
		return nil, err
	}
	return io.LimitReader(z, limit), nil
}

const (
	uploadFeatures  = "multi_ack_detailed side-band-64k ofs-delta shallow no-progress filter allow-tip-sha1-in-want allow-reachable-sha1-in-want"
	receiveFeatures = "report-status delete-refs ofs-delta side-band-64k no-thin"
)

// advertise tells the references and what the service can do.
func (r *repo) advertise(w http.ResponseWriter, service string) error {
	refs, err := r.refs.list()
	if err != nil {
		refuseHTTP(w, err)
		return fmt.Errorf("list references: %w", err)
	}
	features := receiveFeatures
	head, err := r.refs.head()
	if err != nil {
		refuseHTTP(w, err)
		return fmt.Errorf("read HEAD: %w", err)
	}
	lines := make([]string, 0, len(refs)+2)
	if service == uploadPack {
		features = uploadFeatures
		if tip, ok := refs[head]; ok {
			features += " symref=HEAD:" + head
			lines = append(lines, tip.String()+" HEAD")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		lines = append(lines, refs[name].String()+" "+name)
		if target, ok := r.peel(refs[name]); ok && service == uploadPack {
			lines = append(lines, target.String()+" "+name+"^{}")
		}
	}
	if len(lines) == 0 {
		lines = []string{ZeroHash.String() + " capabilities^{}"}
	}
	lines[0] += "\x00" + features + " object-format=sha1 agent=" + agent
	var b bytes.Buffer
	writePkt(&b, "# service=%s\n", service)
	writeFlush(&b)
	for _, line := range lines {
		writePkt(&b, "%s\n", line)
	}
	writeFlush(&b)
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	_, err = w.Write(b.Bytes())
	return err
}

// peel gives what an annotated tag names in the end.
func (r *repo) peel(h Hash) (Hash, bool) {
	typ, ok := r.store.typeOf(h)
	if !ok || typ != plumbing.TagObject {
		return ZeroHash, false
	}
	for range 10 {
		o, err := r.store.get(h)
		if err != nil {
			return ZeroHash, false
		}
		if o.typ != plumbing.TagObject {
			return h, true
		}
		line, _, _ := bytes.Cut(o.data, []byte("\n"))
		h = NewHash(string(bytes.TrimPrefix(line, []byte("object "))))
	}
	return ZeroHash, false
}

// bandWriter sends bytes on the first channel of a side band.
type bandWriter struct {
	w   io.Writer
	buf bytes.Buffer
}

// maxBand is the largest payload of one side-band packet in bytes.
const maxBand = maxPkt - 1

// Write collects bytes and sends full packets.
func (b *bandWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxBand-b.buf.Len())
		b.buf.Write(rest[:n])
		rest = rest[n:]
		if b.buf.Len() == maxBand {
			if err := b.send(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (b *bandWriter) send() error {
	if b.buf.Len() == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(b.w, "%04x\x01", b.buf.Len()+5); err != nil {
		return err
	}
	_, err := b.buf.WriteTo(b.w)
	return err
}

// end sends what is left and closes the channels.
func (b *bandWriter) end() error {
	if err := b.send(); err != nil {
		return err
	}
	_, err := io.WriteString(b.w, "0000")
	return err
}
