package committer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// The bounds of a diagnosis: somebody waits for it.
const (
	diagnosisTime = 30 * time.Second
	stepTime      = 10 * time.Second
	readTime      = 15 * time.Second // the first time, all folders come
)

// The steps of a diagnosis.
const (
	stepURL         = "url"
	stepConnect     = "connect"
	stepCredentials = "credentials"
	stepRead        = "read"
	stepBranch      = "branch"
	stepPush        = "push"
	stepProtection  = "protection"
	stepSigning     = "signing"
	stepForge       = "forge"
	stepWebhook     = "webhook"
	stepOwners      = "owners"
)

// diagnosisSteps are the steps in their order, with their titles.
var diagnosisSteps = [][2]string{
	{stepURL, "The URL can be used"},
	{stepConnect, "The host answers"},
	{stepCredentials, "The host knows the credentials"},
	{stepRead, "The repository can be read"},
	{stepBranch, "The branch is there"},
	{stepPush, "The credentials may push"},
	{stepProtection, "The branch takes pushes"},
	{stepSigning, "Commits can be signed"},
	{stepForge, "The service's API can be used"},
	{stepWebhook, "The host tells of pushes"},
	{stepOwners, "The folders are as Towpath wrote them"},
}

// examination is one diagnosis under way.
type examination struct {
	svc    *Service
	ref    *committerv1.RepositoryRef
	mode   committerv1.WriteMode
	steps  map[string]*committerv1.DiagnosisStep
	remote git.Remote
	tip    git.Hash
	// embedded is the name of a repository that this process keeps, "" for one at a host.
	embedded string
	access   *forge.Access
}

// DiagnoseRepository tries everything that a deployment to the branch needs, and tells what is wrong and how to mend it. It changes
// nothing in the repository, and needs no lane: it works where deployments do not. Errors: INVALID_ARGUMENT without a reference.
func (s *Service) DiagnoseRepository(ctx context.Context, r *committerv1.DiagnoseRepositoryRequest) (*committerv1.Diagnosis, error) {
	if r.GetRepository().GetUrl() == "" {
		return nil, errs.InvalidField("repository.url", "is missing; give the repository's clone URL")
	}
	ctx, cancel := context.WithTimeout(ctx, diagnosisTime)
	defer cancel()
	x := &examination{svc: s, ref: r.GetRepository(), mode: r.GetWriteMode(), steps: map[string]*committerv1.DiagnosisStep{}}
	defer x.close()
	if x.checkURL() {
		// What does not need the host first: a key that cannot be read is the reason for what comes after.
		if login := x.checkCredentials(ctx); x.embedded != "" {
			x.checkEmbedded(ctx)
		} else {
			x.checkHost(ctx, login)
		}
		x.checkForge(ctx)
		x.checkProtection()
		x.checkWebhook(ctx)
	}
	x.checkSigning(ctx)
	return x.diagnosis(), nil
}

func (x *examination) close() {
	if x.remote == nil {
		return
	}
	if err := x.remote.Close(); err != nil {
		x.svc.log.Warn("a repository was not closed properly", "error", err)
	}
}

// diagnosis puts the steps into their order. No text of it holds a credential, whatever a host repeats.
func (x *examination) diagnosis() *committerv1.Diagnosis {
	out := &committerv1.Diagnosis{Healthy: true}
	for _, s := range diagnosisSteps {
		id, title := s[0], s[1]
		step := x.steps[id]
		if step == nil {
			step = &committerv1.DiagnosisStep{Outcome: committerv1.DiagnosisStep_OUTCOME_SKIPPED, Finding: "not tried, because of what failed before"}
		}
		step.Id, step.Title = id, title
		step.Finding, step.Remedy = x.svc.credentials.redact(step.GetFinding()), x.svc.credentials.redact(step.GetRemedy())
		out.Healthy = out.GetHealthy() && step.GetOutcome() != committerv1.DiagnosisStep_OUTCOME_FAILED
		out.Steps = append(out.Steps, step)
	}
	return out
}

func (x *examination) note(id string, how committerv1.DiagnosisStep_Outcome, finding, remedy string) {
	x.steps[id] = &committerv1.DiagnosisStep{Outcome: how, Finding: finding, Remedy: remedy}
}

func (x *examination) ok(id, format string, args ...any) {
	x.note(id, committerv1.DiagnosisStep_OUTCOME_OK, fmt.Sprintf(format, args...), "")
}

func (x *examination) skip(id, format string, args ...any) {
	x.note(id, committerv1.DiagnosisStep_OUTCOME_SKIPPED, fmt.Sprintf(format, args...), "")
}

func (x *examination) warn(id, finding, remedy string) {
	x.note(id, committerv1.DiagnosisStep_OUTCOME_WARNING, finding, remedy)
}

func (x *examination) fail(id, finding, remedy string) {
	x.note(id, committerv1.DiagnosisStep_OUTCOME_FAILED, finding, remedy)
}

// update is the command that changes the repository.
func (x *examination) update(flags string) string {
	return "tow repo update " + strings.TrimPrefix(x.ref.GetName(), "repositories/") + " " + flags
}

// say splits an error of ours, which says what is wrong and behind a semicolon what to do.
func say(err error) (finding, remedy string) {
	var e *errs.Error
	if errors.As(err, &e) && len(e.Fields) > 0 {
		finding, remedy, _ = strings.Cut(e.Fields[0].Problem, "; ")
		return finding, remedy
	}
	finding, remedy, _ = strings.Cut(errs.Message(err), "; ")
	return finding, remedy
}

// checkURL looks at the address alone; false when nothing else can be tried.
func (x *examination) checkURL() bool {
	url, err := git.NormaliseURL(x.ref.GetUrl())
	if err != nil {
		finding, remedy := say(err)
		x.fail(stepURL, "the URL "+finding, orDefault(remedy, "correct url of the repository"))
		return false
	}
	if err := git.ValidateBranch(x.ref.GetBranch()); err != nil {
		finding, remedy := say(err)
		x.ok(stepURL, "%s", url)
		x.fail(stepBranch, "the branch's name "+finding, orDefault(remedy, "correct branch of the repository"))
		return false
	}
	if name, ok := strings.CutPrefix(url, git.EmbeddedScheme+":///"); ok {
		x.embedded = name
	}
	if strings.HasPrefix(url, "http://") && x.ref.GetCredentials() != "" && !loopback(url) {
		x.warn(stepURL, url+" sends the credentials so that everybody on the way can read them", "use the host's https or ssh address")
		return true
	}
	x.ok(stepURL, "%s", url)
	return true
}

func loopback(url string) bool {
	host := strings.TrimPrefix(url, "http://")
	return strings.HasPrefix(host, "localhost") || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "[::1]")
}

// checkCredentials resolves the credentials; false when there is nothing to log in with that should be there. Whether the host
// knows them, it says when it is read.
func (x *examination) checkCredentials(ctx context.Context) bool {
	name := x.ref.GetCredentials()
	overSSH := strings.HasPrefix(repositoryKey(x.ref.GetUrl()), "ssh://")
	switch {
	case x.embedded != "":
		x.skip(stepCredentials, "towpathd keeps the repository itself and needs none")
		return true
	case name == "" && overSSH:
		x.fail(stepCredentials, "the repository is reached over SSH and names no credentials",
			"name credentials that hold a private key ("+keyIdentity+") and the host's keys ("+keyKnownHosts+"): "+x.update("--credentials ..."))
		return false
	case name == "":
		x.skip(stepCredentials, "the repository names none")
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	what := "a user and a password, or a token"
	var err error
	if overSSH {
		var login git.SSHLogin
		if login, err = x.svc.credentials.ssh(name)(ctx); err == nil {
			what = "the SSH key " + fingerprints(login)
		}
	} else {
		_, _, err = x.svc.credentials.basic(ctx, name)
	}
	if err != nil {
		finding, remedy := say(err)
		x.fail(stepCredentials, finding, remedy)
		return false
	}
	x.ok(stepCredentials, "%s holds %s", name, what)
	return true
}

// hostRefused tells a definite no of the host apart by what it refused, and puts it at the step that it is about.
func (x *examination) hostRefused(step string, what rules.Refusal, words string) {
	remedy := what.Remedy()
	if what == rules.RefusedCredentials {
		step, remedy = stepCredentials, "renew the credentials "+x.ref.GetCredentials()+": the host does not accept them"
		if x.ref.GetCredentials() == "" {
			remedy = "name credentials that the host knows: " + x.update("--credentials ...")
		}
	}
	x.fail(step, "the host says: "+orDefault(words, errorsv1.Reason_REASON_PUSH_REFUSED.String()), remedy)
}
