package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// helperTime is how long a credential helper may take; a person may have to sign in meanwhile.
const helperTime = 2 * time.Minute

// withToken gives the context with its token, where that is not stored but got each time: from a file that somebody renews, or from a
// credential helper.
func (t *tow) withToken(to serverContext) (serverContext, error) {
	var err error
	switch {
	case to.Token != "":
	case to.TokenPath != "":
		var b []byte
		if b, err = os.ReadFile(to.TokenPath); err == nil {
			to.Token, err = oneWord(string(b), to.TokenPath)
		} else {
			err = noCredential("the token's file cannot be read: %v", err)
		}
	case len(to.TokenExec) > 0 && t.completing: // it may want to talk to a person
		err = noCredential("completions do not run the credential helper")
	case len(to.TokenExec) > 0:
		to.Token, err = t.runHelper(to.TokenExec)
	}
	return to, err
}

func noCredential(format string, args ...any) error {
	return errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, format, args...).
		With("tow_hint", "sign in with your identity provider, or `tow login` with another token")
}

func oneWord(token, from string) (string, error) {
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", noCredential("%s gives no token: it is to be one word", from)
	}
	return token, nil
}

// runHelper runs a credential helper. It writes the token to standard output, bare or as the ExecCredential that helpers of kubectl
// write, and talks to the person on standard error.
func (t *tow) runHelper(command []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), helperTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Stdin, cmd.Stderr = t.Stdin, t.Stderr
	if err := cmd.Run(); err != nil {
		return "", noCredential("the credential helper %s failed: %v", command[0], err)
	}
	if !strings.HasPrefix(strings.TrimSpace(out.String()), "{") {
		return oneWord(out.String(), "the credential helper "+command[0])
	}
	var cred struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
		Token   string `json:"token"`
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal(out.Bytes(), &cred); err != nil {
		return "", noCredential("the credential helper %s gives neither a token nor JSON", command[0])
	}
	return oneWord(firstOf(cred.Status.Token, cred.IDToken, cred.Token), "the credential helper "+command[0])
}

// source reads where login is to get the token from each time; false where it is to be stored.
func (f loginFlags) source() (serverContext, bool, error) {
	switch {
	case f.exec != "":
		command := strings.Fields(f.exec)
		if len(command) == 0 {
			return serverContext{}, false, usagef("--token-exec is empty; give a command that writes a token")
		}
		return serverContext{TokenExec: command}, true, nil
	case f.path != "":
		return serverContext{TokenPath: f.path}, true, nil
	}
	return serverContext{}, false, nil
}

// asWhom says how to sign in for a person.
func (c serverContext) asWhom() string {
	switch {
	case c.TokenPath != "":
		return fmt.Sprintf("; the token is read from %s each time", c.TokenPath)
	case len(c.TokenExec) > 0:
		return fmt.Sprintf("; %s is asked for the token each time", c.TokenExec[0])
	}
	return ""
}
