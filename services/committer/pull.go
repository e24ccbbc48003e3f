package committer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

const typePullRequest = "deployment.pull_request"

// proposer brings pull requests into being. Create gives the one that is open already for that head.
type proposer interface {
	Find(ctx context.Context, head, base string) (*forge.PullRequest, error)
	Create(ctx context.Context, p forge.Proposal) (*forge.PullRequest, []string, error)
	Update(ctx context.Context, number int64, p forge.Proposal) ([]string, error)
}

// ender follows pull requests to their end. What is merged, closed or deleted already is no error.
type ender interface {
	Get(ctx context.Context, number int64) (*forge.PullRequest, error)
	Merge(ctx context.Context, number int64, m forge.Merge) error
	Close(ctx context.Context, number int64, comment string) error
	DeleteBranch(ctx context.Context, branch string) error
}

// PullRequests is what the committer asks of the service around a Git host.
type PullRequests interface {
	proposer
	ender
}

var _ PullRequests = (*forge.Client)(nil)

// records are the records of open pull requests, in JetStream: the committer has no database, and any of its processes must be
// able to go on with one.
type records interface {
	LastPull(ctx context.Context, subject string) (events.Delivery, bool, error)
	DropPull(ctx context.Context, subject string, sequence uint64) error
}

// record is the record of an environment's pull request, with its place in the stream.
type record struct {
	*eventsv1.OpenPullRequest
	dep      rules.Deployment
	subject  string
	sequence uint64
}

// proposal is what a lane says of a task that goes by pull request.
type proposal struct {
	// commit is at the head, on the base's tip base; zero when the head is gone.
	commit, base git.Hash
	state        rules.State
	// before and after are the trees at the environment's folder, in the base and at the head.
	before, after git.Hash
	// foreign is a commit of somebody else at the head: one that was replaced when the task proposes, one that is left alone when
	// it looks.
	foreign *git.Commit
	// unchanged tells that the base has it all already; there is nothing to propose.
	unchanged bool
	// taken tells that another request has the head.
	taken bool
}

// pullTask is what a lane needs to know of a task that goes by pull request.
type pullTask struct {
	head string
	// look tells only to look for the outcome, and to keep an open one on top of its base.
	look bool
	// known is the commit that we put at the head last; zero when nobody knows.
	known git.Hash
}

// keyed is a set of locks by name.
type keyed struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits for the name's lock and gives what unlocks it; nil when ctx ends first.
func (k *keyed) lock(ctx context.Context, name string) func() {
	for {
		k.mu.Lock()
		if k.held == nil {
			k.held = map[string]chan struct{}{}
		}
		busy, ok := k.held[name]
		if !ok {
			free := make(chan struct{})
			k.held[name] = free
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, name)
				k.mu.Unlock()
				close(free)
			}
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil
		}
	}
}

// errBranchRefused wraps the host's no to a push that may go by pull request instead.
type errBranchRefused struct{ error }

// Unwrap gives the host's no.
func (e errBranchRefused) Unwrap() error { return e.error }

// write brings a task into Git the way that its environment wants.
func (s *Service) write(ctx context.Context, t *task) (outcome, error) {
	switch t.cmd.GetWriteMode() {
	case committerv1.WriteMode_WRITE_MODE_PULL_REQUEST:
		return s.propose(ctx, t)
	case committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST:
		o, err := s.lanes.submit(ctx, t)
		var no errBranchRefused
		if !errors.As(err, &no) {
			return o, err
		}
		s.log.Info("the host refuses the branch; the deployment goes by pull request", "deployment", t.cmd.GetDeployment(), "error", no.error)
		return s.propose(ctx, t)
	default:
		return s.lanes.submit(ctx, t)
	}
}

// reviewsPlaces tells that a command asks for what one pull request cannot have: several places, or one that is left.
func reviewsPlaces(cmd *eventsv1.DeploymentRequested) bool {
	return cmd.GetWriteMode() == committerv1.WriteMode_WRITE_MODE_PULL_REQUEST && len(cmd.GetParts())+len(cmd.GetLeaves()) > 0
}

// passOn gives those tasks of a refused push that may go by pull request their way; true when that is all of them. Only a no to
// the branch itself counts, which the host says after it took the objects: no pull request helps against wrong credentials.
func (l *lane) passOn(ctx context.Context, f *fold, err error) bool {
	if !branchRefuses(err) {
		return false
	}
	all := true
	for _, t := range f.tasks() {
		if t.cmd.GetWriteMode() != committerv1.WriteMode_WRITE_MODE_DIRECT_OR_PULL_REQUEST {
			all = false
			continue
		}
		t.fail(errBranchRefused{hostError(ctx, l.ref.GetBranch(), err, l.svc.credentials.secrets(l.ref.GetCredentials()))})
	}
	return all
}

// propose brings a task to the head of its pull request, has that opened or brought up to date, and notes all of it. Doing it again
// changes nothing.
func (s *Service) propose(ctx context.Context, t *task) (outcome, error) {
	client, err := s.forge(t.cmd.GetRepository())
	if err != nil {
		return outcome{}, err
	}
	unlock := s.pulls.locks.lock(ctx, t.dep.EnvironmentName())
	if unlock == nil {
		return outcome{}, context.Cause(ctx)
	}
	defer unlock()
	rec, err := s.lastRecord(ctx, t.dep)
	if err != nil {
		return outcome{}, err
	}
	if rec != nil && overtakes(rec, t) {
		return outcome{}, rules.SupersededBy(rules.State{Deployment: rec.GetCommand().GetDeployment(), Generation: rec.GetCommand().GetGeneration()})
	}
	mine := *t
	mine.pull = &pullTask{head: t.dep.HeadBranch()}
	if rec != nil {
		mine.pull.known = git.NewHash(rec.GetPullRequest().GetCommit())
	}
	o, err := s.lanes.submit(ctx, &mine)
	switch {
	case err != nil:
		return outcome{}, err
	case o.pull == nil: // it is in the base already
		if rec.of(t) {
			t.pullRequest = s.mergedRequest(ctx, client, rec)
		}
		return o, nil
	case o.pull.unchanged:
		return o, s.withdrawOlder(ctx, client, rec, t)
	}
	s.failpoint("head_pushed")
	return o, s.openPull(ctx, client, t, rec, o.pull)
}

// overtakes tells whether the record is of a later deployment than the task. An environment that was removed and made anew counts
// its generations from the beginning; then the times tell.
func overtakes(rec *record, t *task) bool {
	return rec.GetCommand().GetGeneration() > t.cmd.GetGeneration() &&
		rec.GetCommand().GetRequestTime().AsTime().After(t.request.RequestTime)
}

// of tells whether the record is of the task's very request.
func (r *record) of(t *task) bool {
	return r != nil && r.GetCommand().GetDeployment() == t.cmd.GetDeployment() && r.GetCommand().GetRequestId() == t.cmd.GetRequestId()
}

// openPull opens the pull request of what stands at the head, or brings it up to date, ends what was proposed there before, and
// stores the record and the event.
func (s *Service) openPull(ctx context.Context, client PullRequests, t *task, rec *record, p *proposal) error {
	text := forge.Proposal{
		Head: t.dep.HeadBranch(), Base: t.cmd.GetRepository().GetBranch(),
		Labels: t.cmd.GetRepository().GetForge().GetLabels(), Reviewers: t.cmd.GetRepository().GetForge().GetReviewers(),
	}
	words := s.pullText(ctx, t, p)
	text.Title, text.Body = words.Title(), words.Body()
	pr, warnings, err := client.Create(ctx, text)
	if err != nil {
		return forgeError(err)
	}
	s.failpoint("pull_created")
	if !hasMarker(pr, t.cmd.GetDeployment()) || pr.Title != text.Title || !rec.of(t) && rec != nil {
		if warnings, err = client.Update(ctx, pr.Number, text); err != nil {
			return forgeError(err)
		}
	}
	for _, w := range warnings {
		s.log.Warn("something of a pull request did not work", "pull_request", pr.URL, "warning", w)
	}
	if rec != nil && !rec.of(t) {
		if err := s.endOlder(ctx, client, rec, t, pr.Number); err != nil {
			return err
		}
	}
	next := s.newRecord(ctx, t, p, pr)
	if err := s.putRecord(ctx, t.dep, next); err != nil {
		return err
	}
	s.failpoint("pull_recorded")
	if err := s.tellPull(ctx, t.dep, next.GetPullRequest()); err != nil {
		return err
	}
	s.waiting.forget(t.cmd.GetDeployment())
	s.metrics.finished.WithLabelValues("pull_request").Inc()
	s.failpoint("pull_told")
	return nil
}

// hasMarker tells whether a pull request is that of a deployment.
func hasMarker(pr *forge.PullRequest, deployment string) bool {
	return strings.Contains(pr.Body, rules.Marker(deployment))
}

// newRecord is the record of a pull request that was just opened or brought up to date.
func (s *Service) newRecord(ctx context.Context, t *task, p *proposal, pr *forge.PullRequest) *eventsv1.OpenPullRequest {
	cmd := proto.CloneOf(t.cmd)
	cmd.Input = nil
	claims := s.withClaims(ctx, t, &eventsv1.DesiredState{}).GetClaims()
	return &eventsv1.OpenPullRequest{
		Command: cmd, Base: p.base.String(), Claims: claims,
		PullRequest: &eventsv1.DeploymentPullRequest{
			Deployment: cmd.GetDeployment(), Generation: cmd.GetGeneration(), Repository: cmd.GetRepository().GetName(),
			Branch: cmd.GetRepository().GetBranch(), Head: t.dep.HeadBranch(), Commit: p.commit.String(), Url: pr.URL, Number: pr.Number,
			State: eventsv1.DeploymentPullRequest_STATE_OPEN, Time: timestamppb.Now(), WaitsFor: pr.WaitsFor,
			RenderStartTime: timestamppb.New(t.renderStart), CommitStartTime: timestamppb.New(t.commitStart),
		},
	}
}

// lastRecord gives the environment's record; nil when there is none.
func (s *Service) lastRecord(ctx context.Context, dep rules.Deployment) (*record, error) {
	subject, err := events.PullSubject(dep.Application, dep.Environment)
	if err != nil {
		return nil, err
	}
	d, found, err := s.cfg.Bus.LastPull(ctx, subject)
	if err != nil || !found {
		return nil, err
	}
	return readRecord(d)
}

func readRecord(d events.Delivery) (*record, error) {
	rec := &record{OpenPullRequest: &eventsv1.OpenPullRequest{}, subject: d.Subject, sequence: d.Sequence}
	if err := d.Decode(rec.OpenPullRequest); err != nil {
		return nil, err
	}
	var err error
	rec.dep, err = rules.ParseDeployment(rec.GetCommand().GetDeployment())
	return rec, err
}

// putRecord stores a record in the place of the one before. Each has an id of its own: a later one that says the same as an
// earlier must be stored too.
func (s *Service) putRecord(ctx context.Context, dep rules.Deployment, rec *eventsv1.OpenPullRequest) error {
	subject, err := events.PullSubject(dep.Application, dep.Environment)
	if err != nil {
		return err
	}
	name := rec.GetCommand().GetDeployment()
	return s.cfg.Bus.Publish(ctx, events.Message{
		Subject: subject, ID: name + "/pull/" + time.Now().UTC().Format(time.RFC3339Nano), Type: typePrefix + "pull_request.record", Source: source,
		Resource: name, Body: rec,
	})
}

// tellPull publishes where a pull request is. The id has all that is told, so that nothing is told twice.
func (s *Service) tellPull(ctx context.Context, dep rules.Deployment, pr *eventsv1.DeploymentPullRequest) error {
	id := strings.Join([]string{pr.GetDeployment(), "pull", pr.GetState().String(), pr.GetCommit(), shortDigest(pr.GetUrl() + "\n" + pr.GetWaitsFor())}, "/")
	return s.publish(ctx, dep, typePullRequest, id, pr.GetDeployment(), pr)
}

// forge gives the client of the service around a repository's host.
func (s *Service) forge(ref *committerv1.RepositoryRef) (PullRequests, error) {
	f := ref.GetForge()
	cfg := forge.Config{
		Kind: map[committerv1.Forge_Kind]forge.Kind{
			committerv1.Forge_KIND_GITHUB: forge.GitHub, committerv1.Forge_KIND_GITLAB: forge.GitLab, committerv1.Forge_KIND_GITEA: forge.Gitea,
		}[f.GetKind()],
		URL: f.GetUrl(), Project: f.GetProject(), HTTPClient: s.cfg.HTTPClient,
		Token: func(ctx context.Context) (string, error) { return s.forgeToken(ctx, ref) },
	}
	if cfg.Kind == "" {
		return nil, errs.InvalidField("repository.forge.kind", "is missing; pull requests need github, gitlab or gitea")
	}
	base, project := forge.Address(ref.GetUrl())
	if cfg.URL == "" {
		cfg.URL = base
	}
	if cfg.Project == "" {
		cfg.Project = project
	}
	return s.cfg.Forges(cfg)
}

// forgeToken gives the API token: that of the service's own credentials, else the password of the repository's.
func (s *Service) forgeToken(ctx context.Context, ref *committerv1.RepositoryRef) (string, error) {
	name := ref.GetForge().GetCredentials()
	if name == "" {
		name = ref.GetCredentials()
	}
	if name == "" {
		return "", nil
	}
	return s.credentials.token(ctx, name)
}

// forgeError turns the answer of a service into what the deployment says. What the service does not let us do is final, like a
// refused push; a pull request that cannot be changed just now is tried again.
func forgeError(err error) error {
	switch errs.KindOf(err) {
	case errs.Unauthenticated, errs.Denied, errs.NotFound:
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_PUSH_REFUSED, "no pull request: %s", errs.Message(err)).Because(err)
	default:
		return err
	}
}
