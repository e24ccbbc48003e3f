package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
)

// The words of flags that choose one of several, in the order of help and completion.
var (
	writeModes   = []string{"direct", "pull-request", "direct-or-pull-request"}
	forgeKinds   = []string{"github", "gitlab", "gitea", "none"}
	mergeMethods = []string{"merge", "squash", "rebase"}
)

// chosen makes a field of a flag that takes one of a few words. The word's place, counted from 1, is its number in the API.
func chosen[T any](fs *pflag.FlagSet, flag, path, usage string, words []string, set func(m T, number int32)) field[T] {
	v := fs.String(flag, "", usage+": "+strings.Join(words, ", "))
	return field[T]{flag, path, func(m T) error {
		if *v == "" {
			return nil // not given
		}
		n := slices.Index(words, *v)
		if n < 0 {
			return usagef("--%s: %q is none of %s", flag, *v, strings.Join(words, ", "))
		}
		set(m, int32(n+1))
		return nil
	}}
}

func several[T any](fs *pflag.FlagSet, flag, path, usage string, set func(m T, v []string)) field[T] {
	v := fs.StringSlice(flag, nil, usage)
	return field[T]{flag, path, func(m T) error {
		set(m, slices.DeleteFunc(slices.Clone(*v), func(s string) bool { return s == "" }))
		return nil
	}}
}

// pullFields are the flags of a repository that say how deployments reach it and what is around it.
func pullFields(fs *pflag.FlagSet) []field[repository] {
	// A repository without a service has none of its fields: flags that are not given must not make one.
	forge := func(m repository, given bool) *committerv1.Forge {
		if m.Forge == nil && given {
			m.Forge = &committerv1.Forge{}
		}
		if m.Forge == nil {
			return &committerv1.Forge{}
		}
		return m.Forge
	}
	return []field[repository]{
		chosen(fs, "write-mode", "write_mode", "how deployments reach the branch", writeModes,
			func(m repository, n int32) { m.WriteMode = committerv1.WriteMode(n) }),
		chosen(fs, "forge", "forge", "the service around the Git host, for pull requests", forgeKinds, func(m repository, n int32) {
			if int(n) == len(forgeKinds) {
				m.Forge = nil
				return
			}
			forge(m, true).Kind = committerv1.Forge_Kind(n)
		}),
		text(fs, "forge-url", "forge.url", "base URL of the service (default: that of the clone URL)", func(m repository, v string) { forge(m, v != "").Url = v }),
		text(fs, "forge-project", "forge.project", "project within the service, such as team/deployments (default: that of the clone URL)",
			func(m repository, v string) { forge(m, v != "").Project = v }),
		text(fs, "forge-credentials", "forge.credentials", "name of the API token's credentials on the server (default: the repository's)",
			func(m repository, v string) { forge(m, v != "").Credentials = v }),
		several(fs, "label", "forge.labels", "labels of pull requests besides towpath; they replace what there is",
			func(m repository, v []string) { forge(m, len(v) > 0).Labels = v }),
		several(fs, "reviewer", "forge.reviewers", "users, or teams as team:NAME, who are asked to review; they replace what there is",
			func(m repository, v []string) { forge(m, len(v) > 0).Reviewers = v }),
		choice(fs, "auto-merge", "forge.auto_merge", "merge pull requests as soon as the service allows it", false,
			func(m repository, v bool) { forge(m, v).AutoMerge = v }),
		chosen(fs, "merge-method", "forge.merge_method", "how they are merged then", mergeMethods,
			func(m repository, n int32) { forge(m, true).MergeMethod = committerv1.Forge_MergeMethod(n) }),
		text(fs, "webhook-credentials", "forge.webhook_credentials", "name of the credentials that hold the secret of the service's webhooks",
			func(m repository, v string) { forge(m, v != "").WebhookCredentials = v }),
	}
}

// typeWriteMode is the flag of an environment type; "inherit" leaves it to the repository.
func typeWriteMode(fs *pflag.FlagSet) field[environmentType] {
	words := append(slices.Clone(writeModes), "inherit")
	return chosen(fs, "write-mode", "write_mode", "how deployments reach their branch", words, func(m environmentType, n int32) {
		m.WriteMode = committerv1.WriteMode(n % int32(len(words)))
	})
}

// completePull adds the words of these flags to completion.
func completePull(cmds ...*cobra.Command) {
	for flag, words := range map[string][]string{"write-mode": writeModes, "forge": forgeKinds, "merge-method": mergeMethods} {
		completeFlag(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp), cmds...)
	}
}

// writeModeText is the word of a way to write.
func writeModeText(m committerv1.WriteMode) string {
	if m == committerv1.WriteMode_WRITE_MODE_UNSPECIFIED {
		return "-"
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(m.String(), "WRITE_MODE_")), "_", "-")
}

// forgeText tells what is around a repository, and how its pull requests are made.
func forgeText(m repository) string {
	f := m.GetForge()
	if f == nil {
		return "-"
	}
	parts := []string{strings.ToLower(strings.TrimPrefix(f.GetKind().String(), "KIND_"))}
	parts = append(parts, nonEmpty(f.GetUrl(), f.GetProject())...)
	if len(f.GetReviewers()) > 0 {
		parts = append(parts, "reviewers "+strings.Join(f.GetReviewers(), ","))
	}
	if f.GetAutoMerge() {
		parts = append(parts, "merges by itself")
	}
	return strings.Join(parts, " ")
}

// pullRequestText tells where a deployment's pull request is.
func pullRequestText(d *catalogv1.Deployment) string {
	pr := d.GetPullRequest()
	if pr == nil {
		return ""
	}
	state := strings.ToLower(strings.TrimPrefix(pr.GetState().String(), "STATE_"))
	if pr.GetActor() != "" {
		state += " by " + pr.GetActor()
	}
	return fmt.Sprintf("%s (%s)", pr.GetUrl(), state)
}

// openPullRequest is the address of a deployment's open pull request; "" when there is none.
func openPullRequest(d *catalogv1.Deployment) string {
	if d.GetPullRequest().GetState() != catalogv1.PullRequest_STATE_OPEN {
		return ""
	}
	return d.GetPullRequest().GetUrl()
}
