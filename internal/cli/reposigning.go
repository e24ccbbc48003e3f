package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// signingFormats are the words of --signing-format in the order of the API's enum.
var signingFormats = []string{"none", "ssh", "gpg"}

func signing(m repository) *committerv1.Signing {
	if m.Signing == nil {
		m.Signing = &committerv1.Signing{}
	}
	return m.Signing
}

func signingFormat(fs *pflag.FlagSet) field[repository] {
	v := fs.String("signing-format", "", "whose signatures commits carry: "+strings.Join(signingFormats, ", ")+" (default none)")
	return field[repository]{"signing-format", "signing.format", func(m repository) error {
		i := slices.Index(signingFormats, *v)
		if *v != "" && i < 0 {
			return usagef("--signing-format %q is none; give %s", *v, strings.Join(signingFormats, ", "))
		}
		signing(m).Format = committerv1.Signing_Format(max(i, 0)) //nolint:gosec // the enum's values are the list's indexes
		return nil
	}}
}

func signingCredentials(fs *pflag.FlagSet) field[repository] {
	return text(fs, "signing-credentials", "signing.credentials", "name of the credentials on the server that hold the signing key",
		func(m repository, v string) { signing(m).Credentials = v })
}

func committerName(fs *pflag.FlagSet) field[repository] {
	return text(fs, "committer-name", "signing.committer_name", "committer of signed commits (default Towpath)",
		func(m repository, v string) { signing(m).CommitterName = v })
}

func committerEmail(fs *pflag.FlagSet) field[repository] {
	return text(fs, "committer-email", "signing.committer_email", "mail address of that committer, which Git hosts compare with the key's",
		func(m repository, v string) { signing(m).CommitterEmail = v })
}

// completeSigning completes the words of the flags.
func completeSigning(repo *cobra.Command) *cobra.Command {
	completeFlag("signing-format", cobra.FixedCompletions(signingFormats, cobra.ShellCompDirectiveNoFileComp), repo.Commands()...)
	return repo
}

// signingSummary says in a few words how commits are signed.
func signingSummary(m repository) string {
	s := m.GetSigning()
	if s.GetFormat() == committerv1.Signing_FORMAT_UNSPECIFIED {
		return "none"
	}
	out := signingFormats[min(int(s.GetFormat()), len(signingFormats)-1)] + " by " + s.GetCredentials()
	if who := strings.TrimSpace(s.GetCommitterName() + " " + s.GetCommitterEmail()); who != "" {
		out += ", as " + who
	}
	return out
}
