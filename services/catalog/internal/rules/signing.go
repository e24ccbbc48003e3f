package rules

import (
	"net/mail"
	"regexp"
	"strings"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// credentialsName is what the committer looks up: the name of a file, a folder or a Kubernetes Secret. It must not be a path.
var credentialsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// CheckCredentialsName checks the name of credentials; empty is none. The name is not repeated in the error, because people
// sometimes put the secret itself there.
func CheckCredentialsName(field, name string) error {
	if name == "" || credentialsName.MatchString(name) && !strings.Contains(name, "..") {
		return nil
	}
	return errs.InvalidField(field, "is no name of credentials; give the name of a file, a folder or a Kubernetes Secret that the "+
		"committer has, of letters, digits, \".\", \"_\" and \"-\", and never the secret itself")
}

// CheckSigning checks how commits are to be signed.
func CheckSigning(field string, s *committerv1.Signing) error {
	if s == nil {
		return nil
	}
	if err := CheckCredentialsName(field+".credentials", s.GetCredentials()); err != nil {
		return err
	}
	if name := s.GetCommitterName(); name != strings.TrimSpace(name) || strings.ContainsAny(name, "<>\n\r\x00") {
		return errs.InvalidField(field+".committer_name", "has an angle bracket, a line end or a space at its ends, which Git cannot store; leave it out")
	}
	if email := s.GetCommitterEmail(); email != "" {
		if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
			return errs.InvalidField(field+".committer_email", "%q is no mail address; give one such as towpath@example.com", email)
		}
	}
	switch {
	case s.GetFormat() == committerv1.Signing_FORMAT_UNSPECIFIED:
		return errs.InvalidField(field+".format", "is missing; say FORMAT_SSH or FORMAT_GPG, or leave the rest of the signing out")
	case s.GetCredentials() == "":
		return errs.InvalidField(field+".credentials", "is empty; name the credentials that hold the private key")
	}
	return nil
}
