package committer

import (
	"context"
	"slices"
	"strconv"
	"strings"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git"
)

func sortedUnique(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all)
}

// byPull tells that deployments go by pull request, always or when the branch refuses.
func (x *examination) byPull() bool {
	return x.mode == committerv1.WriteMode_WRITE_MODE_PULL_REQUEST || x.mode == committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST
}

// inspector is the look at a project, which changes nothing. internal/forge's client has it.
type inspector interface {
	Inspect(ctx context.Context, branch string) (*forge.Access, error)
}

// checkForge asks the service around the host what the token may do. Where deployments are pushed, it is a help only.
func (x *examination) checkForge(ctx context.Context) {
	bad := x.warn
	if x.byPull() {
		bad = x.fail
	}
	if x.ref.GetForge().GetKind() == committerv1.Forge_KIND_UNSPECIFIED {
		if x.byPull() {
			bad(stepForge, "deployments go by pull request, and the repository does not say at which service",
				"say so: "+x.update("--forge github, gitlab or gitea"))
			return
		}
		x.skip(stepForge, "the repository names none, and pushes need none")
		return
	}
	client, err := x.svc.forge(x.ref)
	if err != nil {
		finding, remedy := say(err)
		bad(stepForge, finding, remedy)
		return
	}
	asks, ok := client.(inspector)
	if !ok {
		x.skip(stepForge, "this client of the service cannot tell")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	a, err := asks.Inspect(ctx, x.ref.GetBranch())
	if err != nil {
		finding, remedy := say(err)
		if finding2, remedy2 := onTheWay(err); finding2 != "" {
			finding, remedy = finding2, remedy2
		}
		bad(stepForge, finding, orDefault(remedy, "check url, project and credentials of the repository's forge"))
		return
	}
	x.access = a
	who := "the token works"
	if a.Login != "" {
		who = "the token is that of " + a.Login
	}
	switch {
	case x.byPull() && !a.Pull:
		bad(stepForge, who+" and may not open pull requests", "give the token the right to write pull requests, and its user write access to the project")
	case a.Pull:
		x.ok(stepForge, "%s and may open pull requests", who)
	default:
		x.ok(stepForge, "%s", who)
	}
	x.judgePush(a)
}

// judgePush adds to what the host says of pushes in general what its service says of this project: a token may be let in, and be of
// somebody who may only read.
func (x *examination) judgePush(a *forge.Access) {
	own := x.ref.GetForge().GetCredentials()
	same := own == "" || own == x.ref.GetCredentials()
	if step := x.steps[stepPush]; same && !a.Push && step.GetOutcome() == committerv1.DiagnosisStep_OUTCOME_OK {
		x.warn(stepPush, "the host would take a push, but its service says that the token's user may not write to the project",
			"give the account write access to the project, or a token with that scope; an archived project takes no pushes")
	}
}

// checkProtection tells what the service demands of the branch.
func (x *examination) checkProtection() {
	a := x.access
	switch {
	case x.embedded != "":
		x.ok(stepProtection, "nothing protects it: towpathd keeps it itself")
	case x.ref.GetForge().GetKind() == committerv1.Forge_KIND_UNSPECIFIED:
		x.skip(stepProtection, "plain Git does not tell; only a push does. Name the repository's forge to have it looked at")
	case a == nil:
	case !a.Protected && a.Approvals == 0:
		x.ok(stepProtection, "the branch is not protected")
	case x.mode == committerv1.WriteMode_WRITE_MODE_PULL_REQUEST:
		why := orDefault(a.Why, "the branch is protected")
		if a.Approvals > 0 && !strings.Contains(why, strconv.Itoa(a.Approvals)) {
			why += "; pull requests need " + strconv.Itoa(a.Approvals) + " approvals"
		}
		x.ok(stepProtection, "%s; deployments go by pull request", why)
	case x.byPull():
		x.ok(stepProtection, "%s; where it refuses a push, the deployment goes by pull request", orDefault(a.Why, "the branch is protected"))
	default:
		remedy := "let Towpath's account push to the branch, or have deployments go by pull request: " + x.update("--write-mode pull-request")
		bad := x.warn
		if a.Barred {
			bad = x.fail
		}
		bad(stepProtection, "the branch is protected: "+orDefault(a.Why, "the service does not say by which rule"), remedy)
	}
}

// checkSigning signs something, as a commit would be.
func (x *examination) checkSigning(ctx context.Context) {
	how := x.ref.GetSigning()
	if how.GetFormat() == committerv1.Signing_FORMAT_UNSPECIFIED {
		x.skip(stepSigning, "the repository's commits are not signed")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	sign, err := x.svc.credentials.signer(ctx, how)
	if err == nil {
		_, err = sign([]byte("tree " + git.EmptyTree.String() + "\n\nThis is no commit.\n"))
	}
	var key string
	if err == nil {
		key, err = x.svc.credentials.fingerprint(ctx, how)
	}
	if err != nil {
		finding, remedy := say(err)
		x.fail(stepSigning, finding, remedy)
		return
	}
	x.ok(stepSigning, "with the key %s; the host must know its public part to show them as verified", key)
}

// checkWebhook looks for the secret, and whether the host has our address. Without webhooks commits of others are noticed later, and
// nothing else is different.
func (x *examination) checkWebhook(ctx context.Context) {
	name := x.ref.GetForge().GetWebhookCredentials()
	polled := "commits of others are noticed within " + x.svc.cfg.TipInterval.String()
	switch {
	case x.embedded != "":
		x.skip(stepWebhook, "towpathd keeps it itself and sees every push")
		return
	case name == "":
		x.skip(stepWebhook, "no secret for webhooks is named; %s", polled)
		return
	}
	if _, err := x.svc.credentials.webhookSecret(ctx, name); err != nil {
		finding, remedy := say(err)
		x.warn(stepWebhook, finding, remedy)
		return
	}
	path := strings.Replace(WebhookPath, "{repository}", strings.TrimPrefix(x.ref.GetName(), "repositories/"), 1)
	switch {
	case x.access == nil || x.access.Webhooks == nil:
		x.ok(stepWebhook, "the secret is there; whether the host calls POST %s cannot be told", path)
	case slices.ContainsFunc(x.access.Webhooks, func(u string) bool { return strings.HasSuffix(u, path) }):
		x.ok(stepWebhook, "the secret is there, and the host calls %s", path)
	default:
		x.warn(stepWebhook, "the secret is there, and the host has no webhook to "+path+"; "+polled,
			"add a webhook for pushes and pull requests at the host, to towpathd's address with that path, with the secret "+name)
	}
}

var _ inspector = (*forge.Client)(nil)
