package catalog

import (
	"errors"
	"regexp"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// checkRepositoryAccess checks by what the committer gets in and how it signs. Whether the credentials exist, only the
// committer can tell.
func checkRepositoryAccess(old, msg *catalogv1.Repository) error {
	for field, name := range map[string]string{
		"repository.credentials": msg.GetCredentials(), "repository.forge.credentials": msg.GetForge().GetCredentials(),
		"repository.forge.webhook_credentials": msg.GetForge().GetWebhookCredentials(),
	} {
		if err := rules.CheckCredentialsName(field, name); err != nil {
			return err
		}
	}
	if _, ssh, err := sshURL(rules.Sample(msg.GetUrl())); ssh && err == nil && msg.GetCredentials() == "" {
		return errs.InvalidField("repository.credentials",
			"is empty, and a repository over SSH needs a private key and the host's keys; name the credentials that hold identity and known_hosts")
	}
	s, none := msg.GetSigning(), committerv1.Signing_FORMAT_UNSPECIFIED
	ended := s.GetFormat() == none && old.GetSigning().GetFormat() != none
	if ended || s.GetFormat() == none && s.GetCredentials() == "" && s.GetCommitterName() == "" && s.GetCommitterEmail() == "" {
		msg.Signing = nil // who ends signing needs not take back the rest of it
	}
	return rules.CheckSigning("repository.signing", msg.GetSigning())
}

// sshForm are the two forms of an SSH address.
var sshForm = regexp.MustCompile(`(?i)^(?:(?:git\+)?ssh://|[^@/:\s]+(?::[^@/\s]*)?@[^:/@\s]+:[^/]?)`)

// sshURL gives the one spelling of an SSH address; ok is false when raw is none.
func sshURL(raw string) (normal string, ok bool, err error) {
	if !sshForm.MatchString(raw) {
		return "", false, nil
	}
	normal, err = git.NormaliseURL(raw)
	var invalid *errs.Error
	if errors.As(err, &invalid) && len(invalid.Fields) > 0 {
		err = errs.InvalidField("repository.url", "%s", invalid.Fields[0].Problem)
	}
	return normal, true, err
}
