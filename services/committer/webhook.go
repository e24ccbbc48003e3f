package committer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/forge"
	"github.com/towpath-dev/towpath/internal/forge/webhook"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/internal/ratelimit"
)

// WebhookPath is where Webhooks is served; {repository} is the id of the catalog's repository.
const WebhookPath = "/hooks/git/{repository}"

// The limits of webhooks. A host that pushes more often is polled like any other.
var (
	hooksPerRepository = ratelimit.Limit{PerSecond: 20, Burst: 200}
	badHooksPerAddress = ratelimit.Limit{PerSecond: 1, Burst: 20}
)

const (
	// hooksAtOnce bounds how many bodies are in memory.
	hooksAtOnce = 8
	// hookPatience is how long a body may take; hosts give up after about the same time.
	hookPatience = 10 * time.Second
)

// forgeKinds are the kinds of services as internal/forge names them.
var forgeKinds = map[committerv1.Forge_Kind]forge.Kind{
	committerv1.Forge_KIND_GITHUB: forge.GitHub, committerv1.Forge_KIND_GITLAB: forge.GitLab, committerv1.Forge_KIND_GITEA: forge.Gitea,
}

// hooks is what the committer knows of repositories whose host tells when something happens. It has no database: it learns the
// repositories from the last desired state of every environment, which JetStream keeps, and from the commands and reads that
// name them. A webhook that comes before is answered and does nothing; the first look at a branch finds everything anyway.
type hooks struct {
	once    sync.Once
	limiter *ratelimit.Limiter
	turns   chan struct{}
	seen    webhook.Seen

	mu     sync.Mutex
	byName map[string]*hooked
}

// hooked is one repository of the catalog. Its URL may be a template, so that it stands for several at the host.
type hooked struct {
	forge *committerv1.Forge
	byKey map[string]*committerv1.RepositoryRef
	// pushed is the last commit that we pushed ourselves, by lane: its webhook is no news.
	pushed map[string]string
}

func (h *hooks) init() {
	h.once.Do(func() {
		h.limiter = ratelimit.New(ratelimit.Config{Writes: hooksPerRepository, Failures: badHooksPerAddress})
		h.turns = make(chan struct{}, hooksAtOnce)
	})
}

// learn keeps a repository's reference. It is called for every command and read, so it does nothing for those without a secret.
func (h *hooks) learn(key string, ref *committerv1.RepositoryRef) {
	if ref.GetForge().GetWebhookCredentials() == "" && !h.knows(ref.GetName()) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ref.GetForge().GetWebhookCredentials() == "" {
		delete(h.byName, ref.GetName()) // somebody has taken the secret away
		return
	}
	r := h.byName[ref.GetName()]
	if r == nil {
		r = &hooked{byKey: map[string]*committerv1.RepositoryRef{}, pushed: map[string]string{}}
		if h.byName == nil {
			h.byName = map[string]*hooked{}
		}
		h.byName[ref.GetName()] = r
	}
	r.forge, r.byKey[key] = ref.GetForge(), ref
}

func (h *hooks) knows(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byName[name] != nil
}

// pushed notes a commit of our own.
func (h *hooks) pushed(key string, ref *committerv1.RepositoryRef, tip git.Hash) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.byName[ref.GetName()]; r != nil {
		r.pushed[key] = tip.String()
	}
}

// settings gives whose webhooks a repository has, and by which secret.
func (h *hooks) settings(name string) (forge.Kind, string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.byName[name]
	if r == nil {
		return "", "", false
	}
	return forgeKinds[r.forge.GetKind()], r.forge.GetWebhookCredentials(), true
}

// meant gives one reference for each clone URL that an event is about: those whose URL the host names, or the only one where the
// host knows itself by another address than we do. Its branch is the given one where that has a lane.
func (h *hooks) meant(name string, e *webhook.Event, branch string) (refs []*committerv1.RepositoryRef, ours bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.byName[name]
	if r == nil {
		return nil, false
	}
	byURL := map[string]*committerv1.RepositoryRef{}
	for key, ref := range r.byKey {
		url := repositoryKey(ref.GetUrl())
		if byURL[url] == nil || ref.GetBranch() == branch {
			byURL[url] = ref
		}
		ours = ours || ref.GetBranch() == branch && e.After != "" && r.pushed[key] == e.After
	}
	for url, ref := range byURL {
		named := slices.ContainsFunc(e.URLs, func(u string) bool { return repositoryKey(u) == url })
		if named || len(byURL) == 1 {
			refs = append(refs, ref)
		}
	}
	return refs, ours
}

// Webhooks takes what Git hosts tell, at POST WebhookPath. It answers 202 to everything that is signed, and to what it knows
// nothing of: a host that gets other answers stops telling. It answers 401 to a wrong signature, 413 and 429 to too much.
func (s *Service) Webhooks() http.Handler {
	s.hooks.init()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.webhook(w, r); err != nil {
			refuseHook(w, err)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

func (s *Service) webhook(w http.ResponseWriter, r *http.Request) error {
	name := "repositories/" + r.PathValue("repository")
	kind, credentials, known := s.hooks.settings(name)
	if !known {
		return nil
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	if wait := s.hooks.limiter.Blocked(address); wait > 0 {
		return tooManyHooks(wait)
	}
	body, err := s.hookBody(w, r)
	if err != nil {
		s.hooks.limiter.Failed(address)
		return err
	}
	secret, err := s.credentials.webhookSecret(r.Context(), credentials)
	if err != nil {
		s.log.Warn("a webhook cannot be checked", "repository", name, "error", err)
		return err
	}
	e, err := webhook.Parse(kind, r.Header, body, []byte(secret))
	if err != nil {
		s.hooks.limiter.Failed(address)
		s.log.Warn("a webhook was refused", "repository", name, "error", err)
		return err
	}
	if err := s.hooks.seen.Check(name, body, time.Now()); err != nil {
		return nil //nolint:nilerr // it came before: nothing to do, and nothing that the host should hear of
	}
	if wait := s.hooks.limiter.Take(name, false); wait > 0 {
		return tooManyHooks(wait)
	}
	s.heed(name, e)
	return nil
}

// hookBody reads the body: not too much, not too slowly, and few at a time.
func (s *Service) hookBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	select {
	case s.hooks.turns <- struct{}{}:
		defer func() { <-s.hooks.turns }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	// A writer that knows no deadlines is a test's.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hookPatience))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, webhook.MaxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "the webhook is larger than %d bytes", large.Limit)
	}
	if err != nil {
		return nil, errs.InvalidField("body", "did not come whole within %v", hookPatience).Because(err)
	}
	return body, nil
}

// heed looks at what an event is about.
func (s *Service) heed(name string, e *webhook.Event) {
	switch e.Kind {
	case webhook.Push:
		refs, ours := s.hooks.meant(name, e, e.Branch)
		if e.Branch == "" || ours {
			return
		}
		for _, ref := range refs {
			s.news(ref, e.Branch)
		}
	case webhook.PullRequest:
		refs, _ := s.hooks.meant(name, e, e.Base)
		for _, ref := range refs {
			s.pulls.notice(repositoryKey(ref.GetUrl()))
			if e.State == forge.Merged {
				s.news(ref, e.Base)
			}
		}
	}
}

// news makes the branch's lane look at its tip, and opens one for a branch that deployments are written to: after a restart it
// has none until somebody deploys.
func (s *Service) news(ref *committerv1.RepositoryRef, branch string) {
	if ref.GetBranch() == branch {
		s.lanes.watch(ref)
	}
	s.Notice(ref.GetUrl(), branch)
}

// learnHooks follows the desired states of all environments until ctx ends, also those that other committers bring about: a
// webhook comes to any of them.
func (s *Service) learnHooks(ctx context.Context) {
	for d, err := range s.cfg.Bus.Tail(ctx, events.TailConfig{Stream: events.StreamDesired, LastPerSubject: true}) {
		want := new(eventsv1.DesiredState)
		if err == nil {
			err = d.Decode(want)
		}
		if err != nil {
			s.log.Warn("a desired state cannot be read; webhooks of its repository wait for a deployment", "resource", d.Resource, "error", err)
			continue
		}
		for _, ref := range desiredPlaces(want) {
			s.hooks.learn(laneKey(ref), ref)
		}
	}
}

// desiredPlaces gives the branches that an environment is written to.
func desiredPlaces(want *eventsv1.DesiredState) (refs []*committerv1.RepositoryRef) {
	if ref := want.GetRepository(); ref.GetUrl() != "" && !want.GetRemoved() {
		refs = append(refs, ref)
	}
	for _, p := range want.GetParts() {
		if p.GetRepository().GetUrl() != "" && !want.GetRemoved() {
			refs = append(refs, p.GetRepository())
		}
	}
	return refs
}

func refuseHook(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch kind := errs.KindOf(err); {
	case errs.ReasonOf(err) == errorsv1.Reason_REASON_TOO_LARGE:
		status = http.StatusRequestEntityTooLarge
	case kind == errs.Unauthenticated:
		status = http.StatusUnauthorized
	case kind == errs.Invalid:
		status = http.StatusBadRequest
	case kind == errs.Exhausted:
		status = http.StatusTooManyRequests
		var e *errs.Error
		if errors.As(err, &e) {
			w.Header().Set("Retry-After", e.Meta["retry_after"])
		}
	case kind == errs.Precondition, kind == errs.Unavailable:
		status = http.StatusServiceUnavailable
	}
	http.Error(w, errs.Message(err), status)
}

func tooManyHooks(wait time.Duration) error {
	seconds := strconv.Itoa(max(1, int(wait.Round(time.Second)/time.Second)))
	return errs.New(errs.Exhausted, errorsv1.Reason_REASON_RATE_LIMITED, "too many webhooks; come again in %s s", seconds).With("retry_after", seconds)
}
