package git

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/towpath-dev/towpath/internal/errs"
)

// EmbeddedScheme is the URL scheme of embedded repositories: embedded:///name.
const EmbeddedScheme = "embedded"

// NormaliseURL gives the one spelling of a repository's URL, by which lanes are told apart: lower-case scheme and host, no
// default port, no slash at the end. git@host:path and ssh://git@host/path have the same. Errors: errs.Invalid; credentials in the URL are refused, and never repeated in the error.
func NormaliseURL(raw string) (string, error) {
	if a, ok, err := parseSSH(raw); ok {
		if err != nil {
			return "", err
		}
		return a.String(), nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return "", errs.InvalidField("repository", "is not a URL; use embedded:///name, https://host/path, ssh://git@host/path or git@host:path")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errs.InvalidField("repository", "must not hold credentials, a query or a fragment; give credentials separately")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch u.Scheme {
	case EmbeddedScheme:
		name := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
		if u.Host != "" {
			return "", errs.InvalidField("repository", "an embedded URL has three slashes: embedded:///name")
		}
		if err := ValidateRepo(name); err != nil {
			return "", err
		}
		return EmbeddedScheme + ":///" + name, nil
	case "http", "https":
		host := strings.ToLower(u.Host)
		if u.Scheme == "http" {
			host = strings.TrimSuffix(host, ":80")
		} else {
			host = strings.TrimSuffix(host, ":443")
		}
		if u.Hostname() == "" {
			return "", errs.InvalidField("repository", "has no host")
		}
		u.Host = host
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
		return u.String(), nil
	default:
		return "", errs.InvalidField("repository", "has the scheme %q; use embedded, http, https or ssh", u.Scheme)
	}
}

// Open opens a repository without talking to it: an embedded one is created on first use, an HTTP(S) or SSH one is reached by the
// first Fetch. Errors: errs.Invalid for the URL.
func Open(ctx context.Context, cfg Config) (Remote, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	u, err := NormaliseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	cfg.ssh, _, _ = parseSSH(cfg.URL) // the path as it was given
	cfg.URL = u
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.MaxPush <= 0 {
		cfg.MaxPush = MaxPush
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if name, ok := strings.CutPrefix(u, EmbeddedScheme+":///"); ok {
		return openLocal(cfg, name)
	}
	return openMirror(cfg)
}
