package forge

import (
	"net/url"
	"strings"
)

// Address guesses a service's base URL and the path of a project in it from the address that the project is cloned from; both are
// empty where that cannot be told. A service that speaks SSH is taken to have its API on https at the same host.
func Address(clone string) (base, project string) {
	if before, path, ok := strings.Cut(clone, ":"); ok && before != "" && !strings.Contains(before, "/") && !strings.HasPrefix(path, "//") {
		_, host, found := strings.Cut(before, "@")
		if !found {
			host = before
		}
		return "https://" + host, projectOf(path)
	}
	u, err := url.Parse(clone)
	switch {
	case err != nil || u.Hostname() == "":
		return "", ""
	case u.Scheme == "https", u.Scheme == "http":
		return u.Scheme + "://" + u.Host, projectOf(u.Path)
	case u.Scheme == "ssh":
		return "https://" + u.Hostname(), projectOf(u.Path)
	default:
		return "", ""
	}
}

func projectOf(path string) string { return strings.TrimSuffix(strings.Trim(path, "/"), ".git") }
