package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
	agent       = "towpath/1"
)

// sharedClient keeps connections to Git hosts alive between pushes: a TLS handshake costs more than the push.
var sharedClient = sync.OnceValue(func() *http.Client {
	t, _ := http.DefaultTransport.(*http.Transport)
	t = t.Clone()
	t.MaxIdleConnsPerHost = 8
	t.IdleConnTimeout = 5 * time.Minute
	t.ResponseHeaderTimeout = 0 // the session's context has the deadline
	return &http.Client{Transport: t}
})

// wire carries requests to a host's upload-pack and receive-pack.
type wire interface {
	// advertise asks what a service can do, and for its references where it does not know version 2.
	advertise(ctx context.Context, service string) (io.ReadCloser, error)
	// request sends one request. sent says whether the host may have seen it. The caller closes the answer.
	request(ctx context.Context, service string, body []byte) (answer io.ReadCloser, sent bool, err error)
	close()
}

// httpWire is smart HTTP.
type httpWire struct {
	base  string
	http  *http.Client
	creds Credentials
}

// SharedClient is the HTTP client of repositories that are given none.
func SharedClient() *http.Client { return sharedClient() }

// client speaks Git's protocol with one repository: upload-pack by version 2, or 0 where the host knows no other,
// and receive-pack. Its methods are called by one goroutine at a time.
type client struct {
	base string // for the log
	wire wire

	upload  *uploadCaps      // after the first discovery
	receive *capability.List // after the first push
}

// uploadCaps is what a host's upload-pack can do.
type uploadCaps struct {
	v2      bool
	filter  bool
	shallow bool
	refs    map[string]Hash // version 0 only: what was advertised
}

func newClient(cfg Config) *client {
	if cfg.ssh.host != "" {
		return &client{base: cfg.URL, wire: newSSHWire(cfg)}
	}
	base := cfg.Client
	if base == nil {
		base = sharedClient()
	}
	c := *base
	// A redirected POST would become a GET, and a redirect to another host would carry the push there.
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if req.Method != http.MethodGet || len(via) > 5 || req.URL.Host != via[0].URL.Host {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &client{base: cfg.URL, wire: &httpWire{base: cfg.URL, http: &c, creds: cfg.Credentials}}
}

// statusError is an answer with another status than 200.
type statusError struct {
	status int
	words  string
	retry  string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the Git host answers %d: %s", e.status, e.words)
}

// do sends one request. sent says whether a connection was had, so that the host may have seen it. The caller closes the body.
func (c *httpWire) do(ctx context.Context, method, path, service string, body []byte) (res *http.Response, sent bool, err error) {
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, c.base+path, content)
	if err != nil {
		return nil, false, fmt.Errorf("build the request: %w", err)
	}
	req.Header.Set("User-Agent", "git/"+agent)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-"+service+"-request")
		req.Header.Set("Accept", "application/x-"+service+"-result")
	}
	if service == uploadPack {
		req.Header.Set("Git-Protocol", "version=2")
	}
	if c.creds != nil {
		user, password, err := c.creds(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("credentials: %w", err)
		}
		switch {
		case user != "":
			req.SetBasicAuth(user, password)
		case password != "":
			req.Header.Set("Authorization", "Bearer "+password)
		}
	}
	res, err = c.http.Do(req)
	if err != nil {
		return nil, sent, err
	}
	if res.StatusCode == http.StatusOK {
		return res, sent, nil
	}
	defer res.Body.Close()
	words, _ := io.ReadAll(io.LimitReader(res.Body, maxWords))
	text := cleanWords(string(words))
	if strings.HasPrefix(text, "<") || text == "" {
		text = http.StatusText(res.StatusCode)
	}
	return nil, sent, &statusError{status: res.StatusCode, words: text, retry: res.Header.Get("Retry-After")}
}

func (c *httpWire) advertise(ctx context.Context, service string) (io.ReadCloser, error) {
	res, _, err := c.do(ctx, http.MethodGet, "/info/refs?service="+service, service, nil)
	if err != nil {
		return nil, err
	}
	if err := c.follow(res, service); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res.Body, nil
}

func (c *httpWire) request(ctx context.Context, service string, body []byte) (io.ReadCloser, bool, error) {
	res, sent, err := c.do(ctx, http.MethodPost, "/"+service, service, body)
	if err != nil {
		return nil, sent, err
	}
	return res.Body, sent, nil
}

// close leaves the connections to the client, which others share.
func (c *httpWire) close() {}

// discover asks what the host's upload-pack can do, once; a version 0 host tells its references with it, so there it is
// asked every time.
func (c *client) discover(ctx context.Context) error {
	if c.upload != nil && c.upload.v2 {
		return nil
	}
	body, err := c.wire.advertise(ctx, uploadPack)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxAdvertisement))
	if err != nil {
		return err
	}
	c.upload, err = parseUploadCaps(data)
	return err
}

// follow takes over where a redirect of the discovery led to, on the same host.
func (c *httpWire) follow(res *http.Response, service string) error {
	if t := res.Header.Get("Content-Type"); t != "application/x-"+service+"-advertisement" {
		return fmt.Errorf("%w: the URL gives %q; is it a repository's?", errNotPkt, t)
	}
	u := *res.Request.URL
	u.RawQuery, u.User = "", nil
	base, ok := strings.CutSuffix(u.String(), "/info/refs")
	if !ok {
		return fmt.Errorf("%w: redirected to %s", errNotPkt, u.Redacted())
	}
	if was, err := url.Parse(c.base); err == nil && was.Scheme == "https" && u.Scheme != "https" {
		return fmt.Errorf("%w: redirected from https to http", errNotPkt)
	}
	c.base = base
	return nil
}

func parseUploadCaps(data []byte) (*uploadCaps, error) {
	p := newPktReader(bytes.NewReader(data))
	kind, line, err := p.line()
	if err == nil && strings.HasPrefix(line, "# service=") {
		if kind, line, err = p.line(); err == nil && kind == pktFlush {
			kind, line, err = p.line()
		}
	}
	if err != nil {
		return nil, err
	}
	if kind != pktData || line != "version 2" {
		return parseV0Caps(data)
	}
	caps := &uploadCaps{v2: true}
	for {
		kind, line, err := p.line()
		switch {
		case err != nil:
			return nil, err
		case kind == pktFlush:
			return caps, nil
		}
		if features, ok := strings.CutPrefix(line, "fetch="); ok {
			for f := range strings.FieldsSeq(features) {
				caps.filter = caps.filter || f == "filter"
				caps.shallow = caps.shallow || f == "shallow"
			}
		}
		if format, ok := strings.CutPrefix(line, "object-format="); ok && format != "sha1" {
			return nil, errs.InvalidField("repository", "uses the object format %s; only sha1 is supported", format)
		}
	}
}

func parseV0Caps(data []byte) (*uploadCaps, error) {
	adv := packp.NewAdvRefs()
	if err := adv.Decode(bytes.NewReader(data)); err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) {
		return nil, fmt.Errorf("%w: %w", errNotPkt, err)
	}
	return &uploadCaps{
		filter:  adv.Capabilities.Supports(capability.Filter),
		shallow: adv.Capabilities.Supports(capability.Shallow),
		refs:    adv.References,
	}, nil
}

// tip asks for a branch's tip; the zero Hash when there is none.
func (c *client) tip(ctx context.Context, branch string) (Hash, error) {
	if err := c.discover(ctx); err != nil {
		return ZeroHash, err
	}
	ref := branchPrefix + branch
	if !c.upload.v2 {
		return c.upload.refs[ref], nil
	}
	var b bytes.Buffer
	writePkt(&b, "command=ls-refs\n")
	writePkt(&b, "agent=%s\n", agent)
	writeDelim(&b)
	writePkt(&b, "ref-prefix %s\n", ref)
	writeFlush(&b)
	answer, _, err := c.wire.request(ctx, uploadPack, b.Bytes())
	if err != nil {
		return ZeroHash, err
	}
	defer answer.Close()
	p := newPktReader(answer)
	tip := ZeroHash
	for {
		kind, line, err := p.line()
		if err != nil {
			return ZeroHash, fmt.Errorf("the list of references ends early: %w", err)
		}
		if kind != pktData {
			return tip, drain(answer)
		}
		if id, name, _ := strings.Cut(line, " "); name == ref {
			tip = NewHash(id)
		}
	}
}

// drain reads a body to its end, so that the connection can be used again.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	return err
}

// want is what a fetch asks for.
type want struct {
	ids      []Hash
	haves    []Hash
	shallows []Hash
	depth    int  // zero: all history
	blobs    bool // false: without blobs, where the host can
}

// fetch asks for a pack and copies it to w. shallow are the commits whose parents do not come with it.
func (c *client) fetch(ctx context.Context, spec want, w io.Writer) (shallow []Hash, err error) {
	if c.upload == nil {
		if err := c.discover(ctx); err != nil {
			return nil, err
		}
	}
	body := c.fetchV0(spec)
	if c.upload.v2 {
		body = c.fetchV2(spec)
	}
	answer, _, err := c.wire.request(ctx, uploadPack, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	p := newPktReader(answer)
	if shallow, err = c.fetchHeader(p, spec); err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, &bandReader{p: p}); err != nil {
		return nil, fmt.Errorf("receive the pack: %w", err)
	}
	return shallow, drain(answer)
}

func (c *client) fetchV2(spec want) []byte {
	var b bytes.Buffer
	writePkt(&b, "command=fetch")
	writePkt(&b, "agent=%s", agent)
	writeDelim(&b)
	for _, arg := range []string{"no-progress", "ofs-delta"} {
		writePkt(&b, "%s\n", arg)
	}
	for _, h := range spec.ids {
		writePkt(&b, "want %s\n", h)
	}
	if c.upload.shallow {
		for _, h := range spec.shallows {
			writePkt(&b, "shallow %s\n", h)
		}
		if spec.depth > 0 {
			writePkt(&b, "deepen %d\n", spec.depth)
		}
	}
	if c.upload.filter && !spec.blobs {
		writePkt(&b, "filter %s\n", packp.FilterBlobNone())
	}
	for _, h := range spec.haves {
		writePkt(&b, "have %s\n", h)
	}
	writePkt(&b, "done\n")
	writeFlush(&b)
	return b.Bytes()
}

func (c *client) fetchV0(spec want) []byte {
	var b bytes.Buffer
	caps := " side-band-64k ofs-delta no-progress agent=" + agent
	if c.upload.shallow {
		caps += " shallow"
	}
	if c.upload.filter && !spec.blobs {
		caps += " filter"
	}
	for _, h := range spec.ids {
		writePkt(&b, "want %s%s\n", h, caps)
		caps = ""
	}
	if c.upload.shallow {
		for _, h := range spec.shallows {
			writePkt(&b, "shallow %s\n", h)
		}
		if spec.depth > 0 {
			writePkt(&b, "deepen %d\n", spec.depth)
		}
	}
	if c.upload.filter && !spec.blobs {
		writePkt(&b, "filter %s\n", packp.FilterBlobNone())
	}
	writeFlush(&b)
	for _, h := range spec.haves {
		writePkt(&b, "have %s\n", h)
	}
	writePkt(&b, "done\n")
	return b.Bytes()
}

// fetchHeader reads what comes before the pack.
func (c *client) fetchHeader(p *pktReader, spec want) (shallow []Hash, err error) {
	inShallow := !c.upload.v2 && c.upload.shallow && spec.depth > 0
	for {
		kind, line, err := p.line()
		if err != nil {
			return nil, err
		}
		if id, ok := strings.CutPrefix(line, "shallow "); ok && kind == pktData {
			shallow = append(shallow, NewHash(id))
			continue
		}
		switch {
		case c.upload.v2 && line == "packfile":
			return shallow, nil
		case !c.upload.v2 && !inShallow && (line == "NAK" || strings.HasPrefix(line, "ACK ")):
			// One line, because no multi_ack was asked for and "done" came with the haves.
			return shallow, nil
		case !c.upload.v2 && kind == pktFlush:
			inShallow = false
		}
	}
}

// hostError maps what a fetch met to the errors of Remote.Fetch.
func hostError(err error) error {
	var status *statusError
	var ours *errs.Error
	var no *sshRefusal
	switch {
	case errors.As(err, &ours) || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &no):
		return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
			"the Git host has no such repository for this key, or does not let it in: %s", no.words).Because(err)
	case errors.As(err, &status):
		switch status.status {
		case http.StatusUnauthorized:
			return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED,
				"the Git host does not accept the credentials; renew them").Because(err)
		case http.StatusForbidden:
			return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
				"the Git host does not let these credentials read the repository").Because(err)
		case http.StatusNotFound:
			return errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND,
				"the Git host has no such repository, or these credentials may not see it").Because(err)
		}
	}
	return unavailable(err, "the Git host cannot be reached or does not answer as it should")
}
