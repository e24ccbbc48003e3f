package committer

import (
	"errors"
	"strings"
	"time"

	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// errNeedsBundle is a lane's answer to a task that it cannot do without the rendered files: render, and submit it again.
var errNeedsBundle = errors.New("the deployment has to be rendered")

// bundle is what the renderer made.
type bundle struct {
	files   map[string][]byte
	tree    git.Hash
	sha256  string
	version string
	// claims are those that the objects are, for drift to watch.
	claims []*rendererv1.ClaimRef
	// objects tell what the files hold, for sharing them out to several places.
	objects []*rendererv1.ObjectRef
}

// task is one deployment on its way through a lane.
type task struct {
	cmd     *eventsv1.DeploymentRequested
	dep     rules.Deployment
	request rules.Request
	// bundle is nil for a removal, for a restored tree that Git still has, and for a mere look at the outcome.
	bundle *bundle
	// renderStart and commitStart are the times of the event.
	renderStart, commitStart time.Time
	// done takes exactly one result; finished tells the lane that it has it.
	done     chan result
	finished bool
	// decision is set for what is no deployment but a decision about a foreign change.
	decision *eventsv1.ForeignDecision
	// union is the tree with the claims beside what stood there, once it was made.
	union git.Hash
	// group is what one lane does of a deployment with several places; nil for a deployment that has one.
	group *group
}

// outcome is a deployment that is in Git.
type outcome struct {
	commit git.Hash
	state  rules.State
	// end is when the commit was durable, or was found to be.
	end time.Time
	// overtaken tells that a newer generation is in Git as well: the desired state is no longer this deployment's.
	overtaken bool
	// placed, parts, whole and warnings are of a deployment with several places: what stands where, without and with the main place,
	// the tree of all files together, and what a person should see to.
	placed   []placed
	parts    []*committerv1.CommittedPart
	whole    string
	warnings []string
	// later are the places to be left when all of this is told.
	later []*task
	// how says what became of a decision that needed no commit.
	how string
}

type result struct {
	outcome outcome
	err     error
}

// newTask admits a command: everything that can be known to be wrong without looking at Git or rendering.
func newTask(cmd *eventsv1.DeploymentRequested, now time.Time) (*task, error) {
	dep, err := rules.ParseDeployment(cmd.GetDeployment())
	if err != nil {
		return nil, err
	}
	t := &task{cmd: cmd, dep: dep, renderStart: now, commitStart: now}
	if err := t.check(); err != nil {
		return t, err
	}
	t.request = rules.Request{
		Deployment: cmd.GetDeployment(), RequestID: cmd.GetRequestId(), Generation: cmd.GetGeneration(),
		RequestTime: cmd.GetRequestTime().AsTime(), ExpectBaseTree: cmd.GetExpectBaseTree(),
		Claims: t.claims(),
	}
	return t, nil
}

func (t *task) check() error {
	var fields []errs.Field
	wrong := func(bad bool, path, problem string) {
		if bad {
			fields = append(fields, errs.Field{Path: path, Problem: problem})
		}
	}
	cmd := t.cmd
	wrong(cmd.GetRequestId() == "", "request_id", "is missing")
	wrong(cmd.GetGeneration() <= 0, "generation", "must be 1 or more")
	wrong(!cmd.GetRequestTime().IsValid(), "request_time", "is missing")
	wrong(cmd.GetRepository().GetUrl() == "", "repository.url", "is missing")
	switch cmd.GetMode() {
	case eventsv1.DeploymentRequested_MODE_RENDER, eventsv1.DeploymentRequested_MODE_CLAIMS:
		wrong(cmd.GetInput() == nil, "input", "is missing")
	case eventsv1.DeploymentRequested_MODE_RESTORE:
		wrong(!isTreeID(cmd.GetRestoreTree()) && (len(cmd.GetParts()) == 0 || cmd.GetRestoreTree() != ""), "restore_tree", "is not a tree id of 40 hexadecimal digits")
	case eventsv1.DeploymentRequested_MODE_REMOVE:
	default:
		wrong(true, "mode", "is unknown")
	}
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	if _, err := git.NormaliseURL(cmd.GetRepository().GetUrl()); err != nil {
		return err
	}
	if err := git.ValidateBranch(cmd.GetRepository().GetBranch()); err != nil {
		return err
	}
	if err := git.ValidatePath(cmd.GetPath()); err != nil {
		return err
	}
	// The folders of nobody: whoever owns .towpath could forge state files.
	if err := new(rules.Owners).Check(t.dep.EnvironmentName(), cmd.GetPath()); err != nil {
		return err
	}
	return t.checkPlaces()
}

// isTreeID accepts an object id in the only spelling that Git itself writes, so that ids can be compared as text.
func isTreeID(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

func (t *task) removes() bool { return t.cmd.GetMode() == eventsv1.DeploymentRequested_MODE_REMOVE }

func (t *task) restores() bool { return t.cmd.GetMode() == eventsv1.DeploymentRequested_MODE_RESTORE }

func (t *task) claims() bool { return t.cmd.GetMode() == eventsv1.DeploymentRequested_MODE_CLAIMS }

// key names the request: a redelivery has the same one.
func (t *task) key() string { return t.cmd.GetDeployment() + "\n" + t.cmd.GetRequestId() }

// newTree is the tree id that the task puts at its path; the zero Hash when nothing will be there.
func (t *task) newTree() git.Hash {
	h := git.ZeroHash
	switch {
	case t.removes():
	case t.claims():
		h = t.union
	case t.bundle != nil:
		h = t.bundle.tree
	default:
		h = git.NewHash(t.cmd.GetRestoreTree())
	}
	if h == git.EmptyTree {
		return git.ZeroHash
	}
	return h
}

// checkPromises holds the result against what a plan, or the deployment to go back to, promised.
func (t *task) checkPromises() error {
	found := treeText(t.newTree())
	if want := t.cmd.GetExpectTree(); want != "" && !rules.SameTree(want, found) {
		return rules.PlanMoved("result", want, found)
	}
	if want := t.cmd.GetRestoreTree(); t.restores() && t.bundle != nil && !rules.SameTree(want, found) {
		return errRestore(want, found)
	}
	return nil
}

// finish gives the task its result. Only the first counts.
func (t *task) finish(r result) {
	if !t.finished {
		t.finished = true
		t.done <- r
	}
}

func (t *task) fail(err error) { t.finish(result{err: err}) }

// treeText is a tree id in events and state files: empty when there is nothing.
func treeText(h git.Hash) string {
	if h.IsZero() {
		return ""
	}
	return h.String()
}
