package git

import (
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	sshScheme   = "ssh"
	sshPort     = "22"
	defaultUser = "git" // what every Git host calls the account of all its SSH users
)

// scpLike is the short form of an SSH address, user@host:path. The user is required: without one, any word with a colon
// would be an address.
var scpLike = regexp.MustCompile(`^([^@/:\s]+)@(\[[0-9A-Fa-f:.]+\]|[^:/@\[\]\s]+):([^\s].*)$`)

// sshAddress is where an SSH repository is.
type sshAddress struct {
	user, host, port string
	// path is what the host's command gets. Of the short form it is relative to the user's home, as git has it.
	path string
}

// parseSSH reads both forms of an SSH address; ok is false when raw is none of them. Errors name no part of raw, because
// somebody may have put a password there.
func parseSSH(raw string) (a sshAddress, ok bool, err error) {
	if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		a = sshAddress{user: m[1], host: strings.ToLower(strings.Trim(m[2], "[]")), port: sshPort, path: m[3]}
		return a, true, a.check()
	}
	scheme, _, found := strings.Cut(raw, "://")
	if !found || !strings.EqualFold(scheme, sshScheme) && !strings.EqualFold(scheme, "git+ssh") {
		return a, false, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return a, true, errs.InvalidField("repository", "is no SSH address; use ssh://git@host/path or git@host:path")
	}
	if _, set := u.User.Password(); set || u.RawQuery != "" || u.Fragment != "" {
		return a, true, errs.InvalidField("repository", "must not hold a password, a query or a fragment; give credentials separately")
	}
	a = sshAddress{user: u.User.Username(), host: strings.ToLower(u.Hostname()), port: u.Port(), path: u.Path}
	if a.user == "" {
		a.user = defaultUser
	}
	if a.port == "" {
		a.port = sshPort
	}
	if strings.HasPrefix(a.path, "/~") {
		a.path = a.path[1:] // a home folder
	}
	return a, true, a.check()
}

func (a *sshAddress) check() error {
	a.path = strings.TrimRight(a.path, "/")
	switch {
	case a.host == "" || strings.HasPrefix(a.host, "-") || strings.ContainsAny(a.host, "/ %"):
		return errs.InvalidField("repository", "has no host; use ssh://git@host/path or git@host:path")
	case strings.HasPrefix(a.user, "-") || strings.ContainsFunc(a.user, isControl):
		return errs.InvalidField("repository", "has a user that SSH cannot take; most hosts want git")
	case strings.Trim(a.path, "/~") == "":
		return errs.InvalidField("repository", "has no path; use ssh://git@host/path or git@host:path")
	case strings.HasPrefix(a.path, "-") || strings.ContainsFunc(a.path, isControl):
		return errs.InvalidField("repository", "has a path that a Git host cannot take")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// String is the one spelling of both forms. A relative path becomes one from the root: the hosts that people use take both for
// the same repository.
func (a sshAddress) String() string {
	u := url.URL{Scheme: sshScheme, User: url.User(a.user), Host: a.host, Path: a.path}
	if strings.Contains(a.host, ":") {
		u.Host = "[" + a.host + "]"
	}
	if a.port != sshPort {
		u.Host = net.JoinHostPort(a.host, a.port)
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	return u.String()
}

// command is what the host is asked to run, quoted as git quotes it.
func (a sshAddress) command(service string) string {
	quoted := strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(a.path)
	return service + " '" + quoted + "'"
}
