package drift

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// An environment of a target whose engine is Argo CD or Flux is brought to the cluster by that engine. Towpath writes the engine's
// objects and keeps them, asks the engine to look at Git right after a commit, and follows what it tells. Everything else is as with
// the native engine: the inventory with its baselines, the comparison, findings, health. The objects of an environment are never
// applied by both: what was changed is put right by a sync of the engine, and only what was added is taken away by us (docs/adr/0041).

// engine brings one environment to the cluster. It writes its own objects (an Application, a Kustomization) and no other.
type engine interface {
	// info names it.
	info() engineInfo
	// ensure makes its objects what they should be under the policy, and writes only where they are not. It may be called at any time.
	ensure(ctx context.Context, p policy, keep []objectKey) error
	// look tells how far it is.
	look(ctx context.Context) (engineReport, error)
	// ask has it look at Git, or apply, and gives a token by which the report tells that it has done so; "" where it tells nothing.
	ask(ctx context.Context, what engineRequest) (token string, err error)
	// remove takes its objects away, and with them what it applied, unless there is something to keep: then it leaves all of it, and
	// Towpath removes the rest. It gives what is still there and may be called again until that is nothing.
	remove(ctx context.Context, keep []objectKey) (left []string, err error)
}

// engineInfo names an engine's share in an environment.
type engineInfo struct {
	name    string // as targets call it: argocd, flux
	title   string // for people: Argo CD
	object  string // what it calls the environment: Application argocd/shop.dev
	manager string // owns the fields that it applies
	// follows are its objects of the environment, whose changes matter to us.
	follows []engineObject
	// tracks reports whether it applied the object for this environment.
	tracks func(u *unstructured.Unstructured) bool
}

// engineObject is one of an engine's own objects.
type engineObject struct {
	gvr             schema.GroupVersionResource
	namespace, name string
}

// engineRequest is what an engine is asked to do.
type engineRequest struct {
	// apply what Git says, else only look at it. Where syncs are automatic, looking leads to applying.
	apply bool
	// prune removes objects, which are then named; nothing else is done. release names objects that it applied and that are kept: they
	// are no longer its own.
	prune   bool
	release []objectKey
	// objects are the only ones to be applied or removed; all when empty.
	objects []objectKey
}

// engineReport is how far an engine is.
type engineReport struct {
	// revisions are the commits that the cluster was brought to, in the order of the environment's places; nil for none.
	revisions []string
	// running tells that it is applying something now.
	running bool
	// failed is why its last attempt ended, on the commits of attempted.
	failed    string
	attempted []string
	// waits is why it cannot go on now and may by itself, such as a repository that cannot be read.
	waits string
	// degraded is what it says about the objects' health, where that is bad.
	degraded string
	// extra are objects that it applied before and Git no longer has; they are removed by being asked for.
	extra []objectKey
	// handled is the token of the last request that it has dealt with.
	handled string
	// idle tells that it finds the cluster behind Git and does nothing about it, as after somebody undid its last sync.
	idle bool
	// doing says in its own words what it does or finds, for a person.
	doing string
}

// engineState is what an environment remembers of its engine. It is guarded by the environment's mutex.
type engineState struct {
	info engineInfo // of the engine in use; the zero value is the native one
	// due says that the engine's objects have moved or that the policy has.
	due bool
	// flight is the generation that is on its way through the engine; 0 for none. since tells when it set out, told what was told of it.
	flight int64
	since  time.Time
	told   string
	// failed is the generation whose sync by hand failed: it stays so until a person asks again.
	failed int64
	// degraded and doing are of the last report.
	degraded, doing string
	// trees are what stands at the environment's places in commits that were asked for.
	trees map[string]string
	// passed is the generation that was told as synced because a later one was.
	passed int64
	// reached is the generation that was seen in the cluster whole, and may be followed by pruning. pushed is the one for which an idle
	// engine was asked to apply.
	reached, pushed int64
	// pruned is the generation for which the engine was asked to remove what Git no longer has.
	pruned int64
	// written are the server's answers to what we wrote last, by object: what it made of ours beyond what we said.
	written map[string]string
}

const (
	// engineQuiet is how long an engine may take before it is told what it does.
	engineQuiet = 10 * time.Second
	// engineLook is how often an engine is asked how far it is while nothing moves; its objects are watched beside that.
	engineLook = 5 * time.Second
	// enginePoll and enginePatience are for a caller who waits.
	enginePoll     = 200 * time.Millisecond
	enginePatience = 2 * time.Minute
)

// errUnderWay says that the engine is at work and that all is well.
var errUnderWay = errors.New("the engine is at work")

// byEngine reports whether another engine than ours syncs the target.
func byEngine(t *eventsv1.TargetRef) bool {
	return t.GetEngine() == engineArgoCD || t.GetEngine() == engineFlux
}

// enginePlace is one folder of an environment as an engine reads it.
type enginePlace struct {
	repository *committerv1.RepositoryRef
	url        string // as the engine reaches it
	path       string
	tree       string
	part       string
}

// enginePlaces gives where the engine finds the environment's files.
func (s *Service) enginePlaces(d *eventsv1.DesiredState) ([]enginePlace, error) {
	var out []enginePlace
	add := func(part string, r *committerv1.RepositoryRef, path, tree string) error {
		url, err := s.engineURL(d.GetTarget(), r)
		if err == nil {
			out = append(out, enginePlace{repository: r, url: url, path: path, tree: tree, part: part})
		}
		return err
	}
	for _, p := range d.GetParts() {
		if p.GetTree() == "" {
			continue
		}
		if err := add(p.GetId(), p.GetRepository(), p.GetPath(), p.GetTree()); err != nil {
			return nil, err
		}
	}
	tree := d.GetTree()
	if len(d.GetParts()) > 0 {
		tree = d.GetMainTree()
	}
	if tree != "" || d.GetRemoved() {
		if err := add("", d.GetRepository(), d.GetPath(), tree); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// engineURL gives the address under which the engine reaches a repository.
func (s *Service) engineURL(t *eventsv1.TargetRef, r *committerv1.RepositoryRef) (string, error) {
	name, embedded := strings.CutPrefix(r.GetUrl(), "embedded:///")
	if !embedded {
		return r.GetUrl(), nil
	}
	base := t.GetEngineGitUrl()
	if base == "" && s.cfg.PublicURL != "" {
		base = strings.TrimSuffix(s.cfg.PublicURL, "/") + "/git"
	}
	if base == "" {
		return "", errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
			"%s is kept by towpathd, and %s does not know how to reach it; start towpathd with --public-url, or give its address with `tow target update %s --engine-git-url https://towpath.example.com/git`",
			r.GetName(), engineTitle(t.GetEngine()), strings.TrimPrefix(t.GetName(), "targets/")).With("resource", r.GetName())
	}
	return strings.TrimSuffix(base, "/") + "/" + name, nil
}

func engineTitle(name string) string {
	switch name {
	case engineArgoCD:
		return "Argo CD"
	case engineFlux:
		return "Flux"
	default:
		return "Towpath"
	}
}

// engineOf makes the engine of a desired state.
func (e *environment) engineOf(c *cluster, d *eventsv1.DesiredState) (engine, error) {
	places, err := e.svc.enginePlaces(d)
	if err != nil {
		return nil, err
	}
	var eng engine
	switch d.GetTarget().GetEngine() {
	case engineArgoCD:
		eng, err = newArgoCD(e, c, d, places)
	default:
		eng, err = newFlux(e, c, d, places)
	}
	if err != nil {
		return nil, err
	}
	info := eng.info()
	c.followEngine(e, info.follows)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.engine.info = info
	if e.engine.written == nil {
		e.engine.written, e.engine.trees = map[string]string{}, map[string]string{}
	}
	return eng, nil
}

// self is the field manager that owns what was applied for the environment. It needs the mutex.
func (e *environment) self() string {
	if m := e.engine.info.manager; m != "" {
		return m
	}
	return FieldManager
}

// made reports whether an object was applied as a manifest of the environment, by its engine. It must not be called with the mutex.
func (e *environment) made(u *unstructured.Unstructured) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.madeIt(u)
}

// madeIt is made; it needs the mutex.
func (e *environment) madeIt(u *unstructured.Unstructured) bool {
	if f := e.engine.info.tracks; f != nil {
		return f(u)
	}
	return appliedByUs(u)
}

// engineDue reports, once, that the engine's objects are to be looked at. It needs the mutex.
func (e *environment) engineDue() bool {
	due := e.engine.due
	e.engine.due = false
	return due && byEngine(e.desired.GetTarget())
}

// engineMoved hears that one of the engine's objects has changed.
func (e *environment) engineMoved() {
	e.mu.Lock()
	e.engine.due = true
	e.mu.Unlock()
	poke(e.wake)
}

// engineResource finds the API of one of an engine's kinds.
func engineResource(c *cluster, title, group, kind string, versions ...string) (schema.GroupVersionResource, string, error) {
	for _, v := range versions {
		gvr, _, err := c.resource(schema.GroupVersionKind{Group: group, Version: v, Kind: kind})
		if err == nil {
			return gvr, group + "/" + v, nil
		}
		if !meta.IsNoMatchError(err) {
			return gvr, "", clusterError(err, "ask for the kinds that the cluster knows")
		}
	}
	return schema.GroupVersionResource{}, "", errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
		"%s: the cluster has no %s (it does not know the kind %s of %s); install it, or use a target whose engine is native", c.name, title, kind, group)
}

// noteUnderWay tells what an engine does that takes its time, each thing once.
func (e *environment) noteUnderWay(d *eventsv1.DesiredState) {
	e.mu.Lock()
	now := e.svc.cfg.Now()
	e.failed = nil
	reason := e.engine.doing
	tell := now.Sub(e.engine.since) >= engineQuiet && reason != "" && reason != e.engine.told
	if tell {
		e.engine.told = reason
	}
	e.mu.Unlock()
	e.tell()
	if !tell {
		return
	}
	e.svc.out.send(announcement{
		env: e.name, typ: "deployment.waiting", resource: d.GetDeployment(), time: now,
		id:   d.GetDeployment() + "/waiting@" + strconv.FormatInt(now.UnixNano(), 10),
		body: &eventsv1.DeploymentWaiting{Deployment: d.GetDeployment(), Stage: "sync", Reason: reason, Attempts: 1},
	})
}
