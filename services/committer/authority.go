package committer

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/towpath-dev/towpath/internal/git"
)

// client gives an HTTP client that trusts the certificate authorities of the credentials (caFile) in addition to the system's.
// A nil base means internal/git's. What it trusts is read at each request, so that authorities can be changed at any time.
func (c *credentials) client(name string, base *http.Client) *http.Client {
	if base == nil {
		base = git.SharedClient()
	}
	if name == "" {
		return base
	}
	with := *base
	with.Transport = &trusting{credentials: c, name: name, base: base.Transport}
	return &with
}

// trusting picks the transport for what the credentials say at the moment.
type trusting struct {
	credentials *credentials
	name        string
	base        http.RoundTripper
}

// RoundTrip sends one request.
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	m, err := t.credentials.load(r.Context(), t.name, secretAge)
	if err == nil && m.has(keyCA) {
		base, err = t.credentials.trust(m, base)
	}
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return base.RoundTrip(r)
}

// trust gives a transport for the authorities of the credentials; it is kept, so that connections are.
func (c *credentials) trust(m *material, base http.RoundTripper) (http.RoundTripper, error) {
	key := m.of(keyCA)
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.pools[key]; t != nil {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(m.get(keyCA))) {
		return nil, m.wrong("have a %q without certificates; give them in PEM form", keyCA)
	}
	t, ok := base.(*http.Transport)
	if !ok {
		return nil, m.wrong("have a %q, which this process cannot use beside an HTTP transport of its own", keyCA)
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = pool
	if len(c.pools) >= maxParsed {
		clear(c.pools)
	}
	c.pools[key] = t
	return t, nil
}
