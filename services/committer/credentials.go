package committer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
)

// tokenUser is the user name sent with a bare token. Git hosts look at the token only, but want some name.
const tokenUser = "x-access-token"

var credentialsName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// credentials are files in a folder, read at each use.
type credentials struct{ dir string }

// source gives the function that internal/git asks before each session.
func (c credentials) source(name string) git.Credentials {
	if name == "" {
		return nil
	}
	return func(context.Context) (string, string, error) { return c.read(name) }
}

// read gives user and password. No error of it holds anything of the file's content.
func (c credentials) read(name string) (user, password string, err error) {
	if c.dir == "" || !credentialsName.MatchString(name) {
		return "", "", missingCredentials(name)
	}
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", missingCredentials(name)
	case err != nil:
		return "", "", errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the credentials %q cannot be read; give the committer access to their file", name).Because(err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", "", missingCredentials(name)
	}
	if user, password, ok := strings.Cut(text, ":"); ok {
		return user, password, nil
	}
	return tokenUser, text, nil
}

func missingCredentials(name string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED,
		"the credentials %q are not in the committer's credentials folder; put a file of that name there, with "+
			"\"username:password\" or a token", name)
}

// secrets gives what must not be seen in a message about these credentials.
func (c credentials) secrets(name string) []string {
	if name == "" {
		return nil
	}
	_, password, err := c.read(name)
	if err != nil || password == "" {
		return nil
	}
	return []string{password}
}
