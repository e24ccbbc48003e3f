package drift

import (
	"context"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"

	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// busyClaims is what the environment is busy with while claims are applied. Its deployment is not what changes, so it is not shown
// as syncing.
const busyClaims = "claims"

// claimed is one claim whose outputs are watched.
type claimed struct {
	ref *rendererv1.ClaimRef
	key objectKey
	gvr schema.GroupVersionResource
	// told is what was told last, nil for nothing.
	told *rendererv1.ResourceOutputs
	// due says that the object moved since it was looked at.
	due bool
}

// claimWork is what an environment has to do with claims. It is guarded by the environment's mutex.
type claimWork struct {
	// want is a deployment's claims that are to be applied before the deployment itself; nil when there are none.
	want *eventsv1.DesiredState
	// applied is the tree whose claims were applied last.
	applied string
	watched map[objectKey]*claimed
	// cluster is where they are; an environment that has claims only has no other.
	cluster *cluster
	// look is when claims that are not complete are looked at again; zero for never.
	look    time.Time
	step    time.Duration
	waiting string // the reason that was told last
}

const (
	firstClaimLook = 250 * time.Millisecond
	lastClaimLook  = 15 * time.Second
)

// wantClaims takes a deployment's claims, unless the environment is further than that already.
func (e *environment) wantClaims(d *eventsv1.DesiredState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.GetGeneration() <= e.desired.GetGeneration() || d.GetGeneration() < e.claims.want.GetGeneration() {
		return
	}
	if d.GetGeneration() != e.claims.want.GetGeneration() {
		e.claims.waiting = ""
	}
	e.claims.want = d
	for _, c := range e.claims.watched {
		c.due, c.told = true, nil // whoever asks again has not heard
	}
	poke(e.wake)
	poke(e.look)
}

// overtakeClaims forgets claims whose deployment has come itself. It needs the mutex.
func (e *environment) overtakeClaims() {
	if w := e.claims.want; w != nil && w.GetGeneration() <= e.desired.GetGeneration() {
		e.claims.want, e.claims.applied = nil, ""
	}
}

// settleClaims applies the claims that are wanted and not there. by hand says that a person asked for it.
func (e *environment) settleClaims(ctx context.Context, byHand bool) error {
	e.mu.Lock()
	want, applied := e.claims.want, e.claims.applied
	e.mu.Unlock()
	if want == nil || applied == want.GetTree() {
		return nil
	}
	var err error
	if e.automatic() || byHand {
		err = e.applyClaims(ctx, want)
	} else {
		e.tellClaims(want, "the environment is synced by hand, and claims of the deployment wait for it; sync it", nil)
		return nil
	}
	if err != nil && ctx.Err() == nil {
		e.log.Warn("claims could not be applied", "deployment", want.GetDeployment(), "error", err)
		e.tellClaims(want, errs.Message(err), err)
	}
	return err
}

// tellClaims tells why a deployment's claims wait, or that they were refused, once per reason.
func (e *environment) tellClaims(want *eventsv1.DesiredState, reason string, err error) {
	e.mu.Lock()
	repeated := e.claims.waiting == reason
	e.claims.waiting = reason
	e.mu.Unlock()
	if repeated {
		return
	}
	now := e.svc.cfg.Now()
	x := announcement{env: e.name, resource: want.GetDeployment(), time: now}
	if err == nil || passes(err) {
		x.typ, x.id = "deployment.waiting", want.GetDeployment()+"/waiting/claims@"+stampOf(now)
		x.body = &eventsv1.DeploymentWaiting{Deployment: want.GetDeployment(), Stage: "provision", Reason: reason, Attempts: 1}
	} else {
		x.typ, x.id = "deployment.failed", want.GetDeployment()+"/failed/claims@"+stampOf(now)
		x.body = &eventsv1.DeploymentFailed{
			Deployment: want.GetDeployment(), Stage: "provision", Reason: rpc.ReasonName(errs.ReasonOf(err)), Message: reason,
		}
	}
	e.svc.out.send(x)
}

// applyClaims applies the claims of a tree and nothing else: what the environment's deployment is stays, and nothing is pruned.
func (e *environment) applyClaims(ctx context.Context, want *eventsv1.DesiredState) error {
	c, err := e.svc.cluster(want.GetTarget())
	if err != nil {
		return err
	}
	inv, err := e.readInventory(ctx, c, want.GetNamespace())
	if err != nil {
		return err
	}
	if err := e.recallDesired(ctx, want, inv); err != nil {
		return err
	}
	objs, err := e.load(ctx, c, want)
	if err != nil {
		return err
	}
	maps.DeleteFunc(objs, func(k objectKey, _ *tracked) bool { return claimOf(want, k) == nil })
	if byEngine(want.GetTarget()) {
		return e.claimsByEngine(ctx, c, want, objs, inv)
	}
	if err := e.own(ctx, c, want.GetNamespace(), objs); err != nil {
		return err
	}
	if err := e.ensureNamespace(ctx, c, want.GetNamespace()); err != nil {
		return err
	}
	e.begin(busyClaims)
	defer e.end()
	e.watchClaims(c, want, objs) // before they are applied: an object of ours that is not declared would be told as left over
	if err := e.rememberClaims(ctx, c, want, objs, inv); err != nil {
		return err
	}
	for _, stage := range stages(objs) {
		for _, t := range stage {
			if t.applied, err = e.applyOne(ctx, c, t); err != nil {
				return err
			}
		}
	}
	e.redeclare(c, objs)
	e.mu.Lock()
	e.claims.applied, e.claims.waiting = want.GetTree(), ""
	e.mu.Unlock()
	e.log.Info("claims applied", "deployment", want.GetDeployment(), "claims", len(objs))
	return nil
}

// recallDesired learns from the inventory what the environment's deployment is, where claims are the first that is heard of it:
// the stream keeps only the last desired state.
func (e *environment) recallDesired(ctx context.Context, want *eventsv1.DesiredState, inv *inventory) error {
	e.mu.Lock()
	known := e.desired != nil
	e.mu.Unlock()
	if known || inv.tree == "" {
		return nil
	}
	older := inv.older(want)
	older.ClaimsOnly, older.Claims = false, nil
	e.mu.Lock()
	e.desired = older
	e.mu.Unlock()
	err := e.sync(ctx, older, false)
	if err != nil && passes(err) {
		return err
	}
	e.note(ctx, older, err)
	return nil
}

func claimOf(want *eventsv1.DesiredState, k objectKey) *rendererv1.ClaimRef {
	for _, ref := range want.GetClaims() {
		gv, err := schema.ParseGroupVersion(ref.GetObject().GetApiVersion())
		if err == nil && gv.Group == k.group && ref.GetObject().GetKind() == k.kind && ref.GetObject().GetName() == k.name {
			return ref
		}
	}
	return nil
}

// rememberClaims notes the claims in the inventory, so that they are removed when the deployment never comes and a later one does
// not want them. What it says of the deployment stays.
func (e *environment) rememberClaims(ctx context.Context, c *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked, inv *inventory) error {
	items := inv.items
	known := map[objectKey]bool{}
	for _, it := range items {
		known[it.key()] = true
	}
	for k, t := range objs {
		if !known[k] {
			items = append(items, itemOf(t))
		}
	}
	as := inv.older(&eventsv1.DesiredState{Namespace: want.GetNamespace()})
	return e.putInventory(ctx, c, as, inv.tree, items)
}

// redeclare lets claims that the running deployment has too count as they are now.
func (e *environment) redeclare(c *cluster, objs map[objectKey]*tracked) {
	e.mu.Lock()
	mixed, some := maps.Clone(e.objects), false
	for k, t := range objs {
		if mixed[k] != nil {
			mixed[k], some = t, true
		}
	}
	e.mu.Unlock()
	if some {
		e.replace(c, mixed)
	}
}

// watchClaims watches the claims of a desired state from now on. What was told of them before stays told.
func (e *environment) watchClaims(in *cluster, want *eventsv1.DesiredState, objs map[objectKey]*tracked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.claims.watched
	e.claims.watched, e.claims.cluster = map[objectKey]*claimed{}, in
	for k, t := range objs {
		ref := claimOf(want, k)
		if ref == nil {
			continue
		}
		c := &claimed{ref: ref, key: k, gvr: t.gvr, due: true}
		if old := before[k]; old != nil && proto.Equal(old.ref, ref) {
			c.told = old.told
		}
		e.claims.watched[k] = c
	}
	e.claims.step = 0
	poke(e.look)
}

// sawClaim notes that a claim moved. It needs the mutex.
func (e *environment) sawClaim(k objectKey) {
	if c := e.claims.watched[k]; c != nil {
		c.due, e.claims.step = true, 0
		poke(e.look)
	}
}

func (e *environment) tellOutputs(c *claimed, out *rendererv1.ResourceOutputs, version string) {
	now := e.svc.cfg.Now()
	e.svc.out.send(announcement{
		env: e.name, typ: "resource.outputs", resource: e.name, time: now,
		// The same word about the same version of the object is told once, also over restarts.
		id: e.name + "/outputs/" + out.GetResource() + "@" + version + "-" + digestOf(out),
		body: &eventsv1.ResourceOutputsReported{
			Environment: e.name, Outputs: out, Object: c.ref.GetObject(), Time: timestamppb.New(now),
		},
	})
}
