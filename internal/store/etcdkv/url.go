package etcdkv

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
)

// DefaultPrefix is the key prefix of an installation whose URL has no path.
const DefaultPrefix = "towpath"

// parameters are what may follow the question mark of a store's URL.
var parameters = []string{"ca", "cert", "key", "server-name", "user", "password-file", "retain", "lease"}

// IsURL reports whether a store's name is one for this engine.
func IsURL(s string) bool { return strings.HasPrefix(s, "etcd://") || strings.HasPrefix(s, "etcds://") }

// ParseURL reads
//
//	etcd://host:2379,host2:2379/prefix?parameter=value&...
//
// etcds:// is the same over TLS. The path is the installation's key prefix, DefaultPrefix when empty. Parameters: ca, cert and
// key name PEM files, server-name is what the certificates are issued to when that is not the host; user and password-file
// are for etcd's own authentication; retain is Config.Retain, lease is Config.LeaseTTL. A password never stands in the URL,
// which is shown by process lists and logs. All problems are errs.Invalid for the field.
func ParseURL(field, raw string) (Config, error) {
	// The list of hosts is no host to package url.
	scheme, rest, _ := strings.Cut(raw, "://")
	hosts := rest[:len(rest)-len(strings.TrimLeftFunc(rest, func(r rune) bool { return !strings.ContainsRune("/?#", r) }))]
	u, err := url.Parse(scheme + "://hosts" + rest[len(hosts):])
	if err != nil {
		return Config{}, errs.InvalidField(field, "is no URL; write etcd://host:2379,host2:2379/prefix")
	}
	cfg := Config{Prefix: strings.Trim(u.Path, "/")}
	q := u.Query()
	switch {
	case !IsURL(raw):
		return Config{}, errs.InvalidField(field, "scheme %q is not etcd or etcds", u.Scheme)
	case strings.Contains(hosts, "@"):
		return Config{}, errs.InvalidField(field, "holds credentials; use ?user=NAME&password-file=FILE")
	case u.Fragment != "":
		return Config{}, errs.InvalidField(field, "ends in #%s, which means nothing", u.Fragment)
	case u.Scheme == "etcd" && (q.Has("ca") || q.Has("cert") || q.Has("key") || q.Has("server-name")):
		return Config{}, errs.InvalidField(field, "has parameters of TLS, but etcd:// is without; use etcds://")
	}
	for name, values := range q {
		if !slices.Contains(parameters, name) || len(values) != 1 {
			return Config{}, errs.InvalidField(field, "parameter %q is unknown or given twice; these can be given: %s", name, strings.Join(parameters, ", "))
		}
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if name, port, err := net.SplitHostPort(host); err != nil || name == "" || port == "" {
			return Config{}, errs.InvalidField(field, "%q is not host:port; write etcd://host:2379,host2:2379/prefix", host)
		}
		cfg.Endpoints = append(cfg.Endpoints, map[string]string{"etcd": "http://", "etcds": "https://"}[u.Scheme]+host)
	}
	for name, value := range map[string]*time.Duration{"retain": &cfg.Retain, "lease": &cfg.LeaseTTL} {
		if q.Has(name) {
			if *value, err = time.ParseDuration(q.Get(name)); err != nil {
				return Config{}, errs.InvalidField(field, "%s=%q is no duration, as 24h", name, q.Get(name))
			}
		}
	}
	if err := credentials(&cfg, field, q); err != nil {
		return Config{}, err
	}
	if u.Scheme == "etcds" {
		if cfg.TLS, err = tlsConfig(field, q); err != nil {
			return Config{}, err
		}
	}
	return cfg, cfg.validate(field)
}

func credentials(cfg *Config, field string, q url.Values) error {
	cfg.User = q.Get("user")
	file := q.Get("password-file")
	if (cfg.User == "") != (file == "") {
		return errs.InvalidField(field, "user and password-file belong together; give both or none")
	}
	if file == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return errs.InvalidField(field, "password-file: %v", err)
	}
	if cfg.Password = strings.TrimSpace(string(b)); cfg.Password == "" {
		return errs.InvalidField(field, "password-file %s is empty", file)
	}
	return nil
}

func tlsConfig(field string, q url.Values) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: q.Get("server-name")}
	if file := q.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, errs.InvalidField(field, "ca: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errs.InvalidField(field, "ca: %s holds no certificate in PEM", file)
		}
	}
	if (q.Get("cert") == "") != (q.Get("key") == "") {
		return nil, errs.InvalidField(field, "cert and key belong together; give both or none")
	}
	if q.Get("cert") == "" {
		return c, nil
	}
	if _, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key")); err != nil {
		return nil, errs.InvalidField(field, "cert and key: %v", err)
	}
	// Read at each handshake, so that a renewed certificate is used without a restart.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
		if err != nil {
			return nil, fmt.Errorf("client certificate for etcd: %w", err)
		}
		return &pair, nil
	}
	return c, nil
}
