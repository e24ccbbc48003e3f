package drift_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/events"
)

// hosts stands before a Git and notes who is asked for what; a repository in down does not answer.
type hosts struct {
	*git
	mu    sync.Mutex
	down  map[string]bool
	reads []string // repository and tree
}

func (h *hosts) GetTree(ctx context.Context, in *committerv1.GetTreeRequest, opts ...grpc.CallOption) (*committerv1.Tree, error) {
	h.mu.Lock()
	h.reads = append(h.reads, in.GetRepository().GetName()+" "+in.GetTree())
	down := h.down[in.GetRepository().GetName()]
	h.mu.Unlock()
	if down {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "the Git host does not answer")
	}
	return h.git.GetTree(ctx, in, opts...)
}

func (h *hosts) set(repository string, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down[repository] = down
	h.reads = nil
}

func (h *hosts) count(read string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.reads {
		if r == read {
			n++
		}
	}
	return n
}

// onHosts gives a world whose repositories can fail one by one.
func onHosts(t *testing.T) (*world, *hosts) {
	w := newWorld(t, nil)
	h := &hosts{git: w.git, down: map[string]bool{}}
	w.stop()
	w.cfg.Committer = h
	w.start()
	return w, h
}

func repository(name string) *committerv1.RepositoryRef {
	return &committerv1.RepositoryRef{Name: "repositories/" + name, Url: "embedded:///" + name, Branch: "main"}
}

// stand publishes a desired state that mods change.
func (e *env) stand(whole string, mods ...func(*eventsv1.DesiredState)) {
	e.t.Helper()
	e.generation++
	e.tree = whole
	d := &eventsv1.DesiredState{
		Environment: e.name, Deployment: e.deployment(), Generation: e.generation, Tree: whole, Commit: "commit", Repository: repository("main"),
		Path: "environments/dev", Target: &eventsv1.TargetRef{Name: "targets/local", Engine: "native"}, Namespace: e.ns,
		SyncPolicy: e.policy, AutomaticSync: !e.manual, SelfHeal: e.selfHeal,
	}
	for _, m := range mods {
		m(d)
	}
	subject, err := events.DesiredSubject(strings.Split(e.name, "/")[1], "dev")
	if err == nil {
		err = e.publish.Publish(e.t.Context(), events.Message{
			Subject: subject, ID: e.deployment() + "/desired", Type: "dev.towpath.environment.desired", Source: "//towpath.dev/committer", Body: d,
		})
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func at(repo, path string) func(*eventsv1.DesiredState) {
	return func(d *eventsv1.DesiredState) { d.Repository, d.Path = repository(repo), path }
}

// over says what stands at the main place and in parts, each "id repository tree".
func over(main string, parts ...string) func(*eventsv1.DesiredState) {
	return func(d *eventsv1.DesiredState) {
		d.MainTree = main
		for _, p := range parts {
			f := strings.SplitN(p+" ", " ", 4)
			d.Parts = append(d.Parts, &committerv1.CommittedPart{
				Id: f[0], Repository: repository(f[1]), Path: "environments/dev/" + f[0], Commit: "commit", Tree: strings.TrimSpace(f[2]),
			})
		}
	}
}

// identities are kind, name, uid and generation of all that an environment has, replica sets and pods included.
func (e *env) identities() string {
	e.t.Helper()
	return devclustertest.Kubectl(e.t, "-n", e.ns, "get", "configmap,service,deployment,replicaset,pod", "--sort-by=.metadata.uid", "-o",
		`jsonpath={range .items[?(@.metadata.name!="towpath-inventory")]}{.kind}/{.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}`)
}

func TestAMoveToOtherPlacesTouchesNoObject(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	all := web + configMap("second", "x")
	e.deploy(all)
	before, whole := e.identities(), e.tree
	if strings.Count(before, "\n") < 3 {
		t.Fatalf("there is too little to compare: %s", before)
	}
	rest, second := e.git.put(web), e.git.put(configMap("second", "x"))
	for _, c := range []struct {
		name string
		mods []func(*eventsv1.DesiredState)
	}{
		{"to another repository", []func(*eventsv1.DesiredState){at("new", "environments/dev")}},
		{"to another folder", []func(*eventsv1.DesiredState){at("new", "apps/shop/dev")}},
		{"to several repositories", []func(*eventsv1.DesiredState){at("new", "apps/shop/dev"), over(rest, "config config "+second, "none third")}},
		{"to another split", []func(*eventsv1.DesiredState){at("main", "dev"), over("", "web third "+rest, "config config "+second)}},
		{"together again", []func(*eventsv1.DesiredState){at("main", "environments/dev")}},
	} {
		e.stand(whole, c.mods...)
		synced := e.awaitSynced()
		if n := synced.GetCreated() + synced.GetChanged() + synced.GetPruned(); n != 0 {
			t.Errorf("%s: %v", c.name, synced)
		}
		if now := e.identities(); now != before {
			t.Errorf("%s: was\n%s\nis\n%s", c.name, before, now)
		}
	}
	e.staysClean("configmap/second", "deployment/web")
}

func TestAChangeOfTheSplitWithAChangeOfContentPrunesOnlyWhatIsGone(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web + configMap("second", "x") + configMap("third", "x"))
	uid := func(name string) string {
		return devclustertest.Kubectl(t, "-n", e.ns, "get", name, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
	}
	deployment, second := uid("deployment/web"), uid("configmap/second")
	e.stand("1111111111111111111111111111111111111111",
		over(e.git.put(web), "config config "+e.git.put(configMap("second", "z"))))
	synced := e.awaitSynced()
	if synced.GetCreated() != 0 || synced.GetChanged() != 1 || synced.GetPruned() != 1 {
		t.Errorf("synced as %v", synced)
	}
	if uid("deployment/web") != deployment || uid("configmap/second") != second || uid("configmap/third") != "" {
		t.Error("an object that only moved to another place was made anew, or one that went is still there")
	}
}

func TestNothingIsPrunedOnHalfAView(t *testing.T) {
	t.Parallel()
	w, h := onHosts(t)
	e := w.newEnv(t)
	e.policy = &driftv1.SyncPolicy{MaxPrunePercent: 100} // most of it is to go
	first, second := e.git.put(web), e.git.put(configMap("second", "x"))
	e.stand("1111111111111111111111111111111111111111", over(first, "config config "+second))
	e.awaitSynced()

	h.set("repositories/config", true)
	changed := e.git.put(configMap("second", "z"))
	e.stand("2222222222222222222222222222222222222222", over(e.git.put(configMap("only", "x")), "config config "+changed))
	waits := await(e, "deployment.waiting", func(d *eventsv1.DeploymentWaiting) bool { return d.GetDeployment() == e.deployment() })
	if !strings.Contains(waits.GetReason(), "part config in repositories/config") {
		t.Errorf("it is not told which place is away: %v", waits)
	}
	eventually(t, func() string {
		if n := h.count("repositories/config " + changed); n < 3 {
			return fmt.Sprintf("the place was tried %d times", n)
		}
		return ""
	})
	if n := h.count("repositories/main " + e.git.put(configMap("only", "x"))); n > 1 {
		t.Errorf("the place that can be read was read %d times", n)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "get", "deployment/web", "configmap/second")
	if out := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "only", "--ignore-not-found"); out != "" {
		t.Errorf("half of the environment was applied: %s", out)
	}
	h.set("repositories/config", false)
	if synced := e.awaitSynced(); synced.GetPruned() == 0 || synced.GetChanged() != 1 {
		t.Errorf("synced as %v", synced)
	}
}

func TestTheSameObjectInTwoPlacesIsRefused(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.stand("1111111111111111111111111111111111111111", over(e.git.put(config), "config config "+e.git.put(config)))
	f := await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if !strings.Contains(f.GetMessage(), "declared twice") || f.GetReason() != "APPLY_REFUSED" {
		t.Errorf("it ended as %v", f)
	}
	// Files without a place are no reason to remove anything.
	e.stand("2222222222222222222222222222222222222222", over("", "config config"))
	f = await(e, "deployment.failed", func(f *eventsv1.DeploymentFailed) bool { return f.GetDeployment() == e.deployment() })
	if !strings.Contains(f.GetMessage(), "no place") {
		t.Errorf("it ended as %v", f)
	}
}

func TestWhatWasAppliedLastIsReadWhereItStood(t *testing.T) {
	t.Parallel()
	w, h := onHosts(t)
	e := w.newEnv(t)
	e.manual = true
	main, second := e.git.put(web), e.git.put(configMap("second", "x"))
	e.stand("1111111111111111111111111111111111111111", at("old", "dev"), over(main, "config config "+second))
	eventually(t, func() string {
		if e.status() == nil {
			return "no status"
		}
		return ""
	})
	e.sync()
	e.awaitSynced()
	w.stop()
	e.stand(e.git.put(configMap("other", "z")), at("new", "dev"))
	h.set("", false)
	w.start()
	eventually(t, func() string {
		if h.count("repositories/old "+main) == 0 || h.count("repositories/config "+second) == 0 {
			return "what was applied last is not read where it stood"
		}
		return ""
	})
	e.staysClean("configmap/second")
}
