package forge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The most that is read of an answer, and of one that says no.
const (
	maxAnswer  = 16 << 20
	maxRefusal = 64 << 10
	maxWords   = 600
)

// exchange is one call's token and the last refusal, for the error. The SDKs keep different parts of a refusal, some of them
// none at all; so it is noted where it comes in.
type exchange struct {
	token   string
	host    string // of the first request: the token goes to no other one
	refusal *refusal
}

// refusal is an answer of 400 and above.
type refusal struct {
	status int
	header http.Header
	words  string
}

type exchangeKey struct{}

// call runs one method of Client: with a deadline and the current token, and gives its error as one of ours.
func (c *Client) call(ctx context.Context, doing string, do func(context.Context, service) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var token string
	if c.cfg.Token != nil {
		var err error
		if token, err = c.cfg.Token(ctx); err != nil {
			return err
		}
	}
	x := &exchange{token: token}
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	s, err := c.dial(ctx, c)
	if err == nil {
		err = do(ctx, s)
	}
	return c.failure(ctx, err, x, doing)
}

// lastRefusal gives the status of the last refusal in this call; 0 for none.
func lastRefusal(ctx context.Context) int {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok && x.refusal != nil {
		return x.refusal.status
	}
	return 0
}

// excuse forgets a refusal that is no failure of the call, and gives the service's words.
func excuse(ctx context.Context, err error) string {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok || x.refusal == nil {
		return err.Error()
	}
	words := x.refusal.words
	x.refusal = nil
	return words
}

// transport adds the token, bounds answers and notes refusals.
type transport struct{ next http.RoundTripper }

func newHTTPClient(given *http.Client) *http.Client {
	var c http.Client
	if given != nil {
		c = *given
	}
	c.Timeout = cmp.Or(c.Timeout, callTimeout)
	c.Transport = transport{next: cmp.Or(c.Transport, http.DefaultTransport)}
	c.Jar = nil
	c.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		if len(via) >= 5 {
			return errors.New("the service redirects in a circle")
		}
		return nil // the transport sees to where
	}
	return &c
}

// RoundTrip is http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("forge: a request outside of a call")
	}
	if x.host == "" {
		x.host = req.URL.Scheme + "://" + req.URL.Host
	} else if x.host != req.URL.Scheme+"://"+req.URL.Host {
		return nil, fmt.Errorf("%s redirects to %s://%s; give that as its URL", x.host, req.URL.Scheme, req.URL.Host)
	}
	req = req.Clone(req.Context())
	for _, h := range []string{"Private-Token", "Job-Token", "Authorization"} {
		req.Header.Del(h)
	}
	if x.token != "" {
		req.Header.Set("Authorization", "Bearer "+x.token)
	}
	x.refusal = nil
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 400 {
		resp.Body = &bounded{rest: maxAnswer, ReadCloser: resp.Body}
		return resp, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	x.refusal = &refusal{status: resp.StatusCode, header: resp.Header.Clone(), words: wordsOf(resp, body)}
	return resp, nil
}

// bounded fails where an answer is too long, instead of cutting it.
type bounded struct {
	io.ReadCloser

	rest int
}

// Read is io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.rest <= 0 {
		return 0, fmt.Errorf("the service's answer is longer than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.rest)])
	b.rest -= n
	return n, err
}

// wordsOf gives what a refusal says, in one line. Pages for browsers say nothing.
func wordsOf(resp *http.Response, body []byte) string {
	var v any
	text := ""
	switch err := json.Unmarshal(body, &v); {
	case err == nil:
		text = strings.Join(unique(flatten(v, 0)), "; ")
	case !strings.Contains(resp.Header.Get("Content-Type"), "html"):
		text = string(body)
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	return cmp.Or(cut(text, maxWords, "..."), resp.Status)
}

// flatten gives the sentences in the forms in which the services say why: "message", "error", "errors" with texts, lists, or
// objects by field.
func flatten(v any, depth int) []string {
	var out []string
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case []any:
		for _, e := range v[:min(len(v), 10)] {
			out = append(out, flatten(e, depth+1)...)
		}
	case map[string]any:
		if depth > 3 {
			return nil
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			switch key {
			case "message", "error", "errors", "error_description":
				out = append(out, flatten(v[key], depth+1)...)
			default:
				if _, isText := v[key].(string); depth > 0 && !isText {
					out = append(out, flatten(v[key], depth+1)...)
				}
			}
		}
	}
	return out
}

// retryAfter says in how many seconds a service that limits us wants to be asked again; 0 when it does not limit us.
func (r *refusal) retryAfter(now time.Time) int {
	var seconds int
	if _, err := fmt.Sscanf(r.header.Get("Retry-After"), "%d", &seconds); err == nil && (r.status == 429 || r.status == 403 || r.status == 503) {
		return max(1, seconds)
	}
	spent := r.header.Get("X-Ratelimit-Remaining") == "0" || r.header.Get("Ratelimit-Remaining") == "0"
	if r.status != 429 && !(r.status == 403 && (spent || strings.Contains(strings.ToLower(r.words), "rate limit"))) {
		return 0
	}
	var reset int64
	if _, err := fmt.Sscanf(cmp.Or(r.header.Get("X-Ratelimit-Reset"), r.header.Get("Ratelimit-Reset")), "%d", &reset); err == nil && spent {
		return max(1, min(3600, int(reset-now.Unix())))
	}
	return 60
}

// onlyRefused is nil when the service refused with one of these: then the question just has no answer for this token.
func onlyRefused(ctx context.Context, err error, statuses ...int) error {
	if err != nil && slices.Contains(statuses, lastRefusal(ctx)) {
		excuse(ctx, err)
		return nil
	}
	return err
}
