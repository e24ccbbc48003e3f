package drift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/syncmark"
)

const (
	engineFlux = "flux"
	// fluxManager is the field manager of Flux's kustomize-controller.
	fluxManager     = "kustomize-controller"
	fluxSourceGroup = "source.toolkit.fluxcd.io"
	fluxGroup       = "kustomize.toolkit.fluxcd.io"
	fluxRequest     = "reconcile.fluxcd.io/requestedAt"
	fluxPrune       = "kustomize.toolkit.fluxcd.io/prune"
	fluxInterval    = "10m0s"
)

// flux is Flux for one environment: a Kustomization of its own, on a GitRepository that all environments of the branch share.
//
// Flux prunes by itself what it applied and no longer finds. What holds data is marked by a patch of the Kustomization as not to be
// pruned, so that the mark is there from the first apply on and stands in nobody's Git.
type flux struct {
	e               *environment
	c               *cluster
	d               *eventsv1.DesiredState
	place           enginePlace
	source, kust    schema.GroupVersionResource
	sourceV, kustV  string
	namespace, name string
}

func newFlux(e *environment, c *cluster, d *eventsv1.DesiredState, places []enginePlace) (*flux, error) {
	if len(places) > 1 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
			"%s stands in %d places of Git, and Flux has one source for an environment; use a repository without splits, or a target whose engine is native or argocd",
			e.name, len(places))
	}
	f := &flux{e: e, c: c, d: d, namespace: d.GetTarget().GetEngineNamespace(), name: labelValue(e.name)}
	if len(places) == 1 {
		f.place = places[0]
	}
	if f.namespace == "" {
		f.namespace = "flux-system"
	}
	var err error
	if f.source, f.sourceV, err = engineResource(c, "Flux", fluxSourceGroup, "GitRepository", "v1"); err != nil {
		return nil, err
	}
	f.kust, f.kustV, err = engineResource(c, "Flux", fluxGroup, "Kustomization", "v1")
	return f, err
}

func (f *flux) info() engineInfo {
	return engineInfo{
		name: engineFlux, title: "Flux", object: "Kustomization " + f.namespace + "/" + f.name, manager: fluxManager,
		follows: []engineObject{{f.kust, f.namespace, f.name}, {f.source, f.namespace, f.sourceName()}},
		tracks: func(u *unstructured.Unstructured) bool {
			l := u.GetLabels()
			return l[fluxGroup+"/name"] == f.name && l[fluxGroup+"/namespace"] == f.namespace
		},
	}
}

// sourceName follows from what the source is, so that environments of the same branch find the same one.
func (f *flux) sourceName() string {
	sum := sha256.Sum256([]byte(f.place.url + "\n" + f.place.repository.GetBranch()))
	return "towpath-" + hex.EncodeToString(sum[:8])
}

// fluxURL writes an address as Flux takes it, which does not know git@host:path.
func fluxURL(url string) string {
	if strings.Contains(url, "://") {
		return url
	}
	if host, path, ok := strings.Cut(url, ":"); ok {
		return "ssh://" + host + "/" + path
	}
	return url
}

// ensure is part of engine.
func (f *flux) ensure(ctx context.Context, p policy, keep []objectKey) error {
	spec := map[string]any{
		"url": fluxURL(f.place.url), "ref": map[string]any{"branch": f.place.repository.GetBranch()}, "interval": fluxInterval, "timeout": "60s",
	}
	if s := f.d.GetTarget().GetEngineGitSecret(); s != "" {
		spec["secretRef"] = map[string]any{"name": s}
	}
	source := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": f.sourceV, "kind": "GitRepository",
		"metadata": map[string]any{"name": f.sourceName(), "namespace": f.namespace}, "spec": spec,
	}}
	if err := f.e.ensureEngineObject(ctx, f.c, f.source, source, ""); err != nil {
		return err
	}
	k, err := f.kustomization(p, keep)
	if err != nil {
		return err
	}
	return f.e.ensureEngineObject(ctx, f.c, f.kust, k, f.e.name)
}

// kustomization is what the Kustomization should be.
func (f *flux) kustomization(p policy, keep []objectKey) (*unstructured.Unstructured, error) {
	timeout := "5m0s"
	if d := p.sync.GetWaveTimeout().AsDuration(); d > 0 {
		timeout = d.Round(time.Second).String()
	}
	spec := map[string]any{
		"interval": fluxInterval, "retryInterval": "1m0s", "timeout": timeout, "path": "./" + f.place.path,
		"prune": !p.pruneHeld && !p.sync.GetPruneDisabled(), "wait": true, "force": false, "suspend": !p.automatic,
		"sourceRef": map[string]any{"kind": "GitRepository", "name": f.sourceName()},
	}
	account, err := engineAccount(f.d, p)
	if err != nil {
		return nil, err
	}
	if account.name != "" {
		if account.namespace != "" && account.namespace != f.namespace {
			return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_ENGINE_FAILED,
				"the environment acts as ServiceAccount %s/%s, and Flux only as one of its Kustomization's namespace %s; make it there and name it without a namespace in sync_policy.service_account",
				account.namespace, account.name, f.namespace)
		}
		spec["serviceAccountName"] = account.name
	}
	spec["patches"] = fluxPatches(keep)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": f.kustV, "kind": "Kustomization",
		"metadata": map[string]any{"name": f.name, "namespace": f.namespace}, "spec": spec,
	}}, nil
}

// fluxPatches mark what holds data as not to be pruned: every volume claim that does not say otherwise, and the named objects.
func fluxPatches(keep []objectKey) []any {
	patch := func(kind string) string {
		return "apiVersion: v1\nkind: " + kind + "\nmetadata:\n  name: any\n  annotations:\n    " + fluxPrune + ": disabled\n"
	}
	out := []any{map[string]any{
		"target": map[string]any{"kind": "PersistentVolumeClaim", "annotationSelector": syncmark.OnRemoval + "!=delete"},
		"patch":  patch("PersistentVolumeClaim"),
	}}
	for _, k := range sortedKeys(keep) {
		if k.group == "" && k.kind == "PersistentVolumeClaim" {
			continue
		}
		target := map[string]any{"kind": k.kind, "name": k.name}
		if k.group != "" {
			target["group"] = k.group
		}
		out = append(out, map[string]any{"target": target, "patch": patch(k.kind)})
	}
	return out
}

// ask is part of engine.
func (f *flux) ask(ctx context.Context, what engineRequest) (string, error) {
	token := strconv.FormatInt(f.e.svc.cfg.Now().UnixNano(), 10)
	err := annotate(ctx, f.c, f.source, f.namespace, f.sourceName(), map[string]any{fluxRequest: token})
	if err != nil {
		return "", clusterError(err, "ask Flux to look at Git")
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{fluxRequest: token}}}
	if what.apply {
		patch["spec"] = map[string]any{"suspend": false} // one that is synced by hand is suspended again afterwards
	}
	b, err := json.Marshal(patch)
	if err != nil {
		return "", err
	}
	_, err = f.c.dyn.Resource(f.kust).Namespace(f.namespace).Patch(ctx, f.name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: engineManager})
	if err != nil {
		return "", clusterError(err, "ask Flux for a sync")
	}
	return token, nil
}

// look is part of engine.
func (f *flux) look(ctx context.Context) (engineReport, error) {
	k, err := f.c.dyn.Resource(f.kust).Namespace(f.namespace).Get(ctx, f.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return engineReport{doing: f.info().object + " is not there"}, nil
	}
	if err != nil {
		return engineReport{}, clusterError(err, "read "+f.info().object)
	}
	source, err := f.c.dyn.Resource(f.source).Namespace(f.namespace).Get(ctx, f.sourceName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return engineReport{}, clusterError(err, "read GitRepository "+f.sourceName())
	}
	return fluxReport(k, source), nil
}

// remove is part of engine. Flux removes what it applied when its Kustomization goes, if that prunes and is not suspended.
func (f *flux) remove(ctx context.Context, keep []objectKey) ([]string, error) {
	r := f.c.dyn.Resource(f.kust).Namespace(f.namespace)
	k, err := r.Get(ctx, f.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, f.leaveSource(ctx)
	}
	if err != nil {
		return nil, clusterError(err, "read "+f.info().object)
	}
	if err := engineOwner(k, f.e.name, f.info().object); err != nil {
		return nil, err
	}
	if k.GetDeletionTimestamp() != nil {
		return []string{whyThere(k)}, nil
	}
	next := k.DeepCopy()
	spec, _ := next.Object["spec"].(map[string]any)
	// Where something is to be kept, Flux removes nothing, and Towpath the rest.
	spec["prune"], spec["suspend"] = len(keep) == 0, len(keep) > 0
	if next, err = r.Update(ctx, next, metav1.UpdateOptions{FieldManager: engineManager}); err != nil {
		return nil, clusterError(err, "prepare the removal of "+f.info().object)
	}
	uid := next.GetUID()
	err = r.Delete(ctx, f.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, clusterError(err, "remove "+f.info().object)
	}
	return []string{f.info().object}, nil
}

// leaveSource removes the GitRepository when no environment reads it any more.
func (f *flux) leaveSource(ctx context.Context) error {
	list, err := f.c.dyn.Resource(f.kust).Namespace(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: managedByUs})
	if err != nil {
		return clusterError(err, "list Kustomizations")
	}
	for i := range list.Items {
		if text(list.Items[i].Object, "spec", "sourceRef", "name") == f.sourceName() {
			return nil
		}
	}
	err = f.c.dyn.Resource(f.source).Namespace(f.namespace).Delete(ctx, f.sourceName(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return clusterError(err, "remove GitRepository "+f.sourceName())
	}
	return nil
}
