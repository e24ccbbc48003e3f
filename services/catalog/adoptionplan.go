package catalog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	committerv1 "github.com/towpath-dev/towpath/gen/towpath/committer/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/manifest"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// found is what a source has.
type found struct {
	objects  []*driftv1.InspectedObject
	truth    *driftv1.SourceOfTruth
	folder   []manifest.Object // of a folder, what it declares
	warnings []string
	problems []string
	// stand puts the environment to where a folder is; nil for where its layout puts it.
	stand func(*site)
}

// adopt works out what adopting comes to.
func (s *Service) adopt(ctx context.Context, r *catalogv1.PlanAdoptionRequest) (*adopted, error) {
	env, err := rules.ParseEnv("environment", r.GetEnvironment())
	if err != nil {
		return nil, err
	}
	if s.cfg.Drift == nil {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
			"this catalog has no connection to drift, which reads clusters; give its address to towpathd (--drift-address)")
	}
	a := &adopted{env: env, asked: r}
	if err := s.adoptee(ctx, a); err != nil {
		return nil, err
	}
	if e := a.c.site.target.GetEngine(); e != catalogv1.Target_ENGINE_NATIVE && e != catalogv1.Target_ENGINE_UNSPECIFIED {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ADOPT,
			"%s is synced by %s, which would apply the objects as its own; adopt with an environment type whose target is native", a.c.site.target.GetName(), engineNames[e])
	}
	if r.GetSource().GetFolder() != nil {
		err = s.findFolder(ctx, a)
	} else {
		err = s.findLive(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	if err := s.collect(a); err != nil {
		return nil, err
	}
	if err := s.renderAdoption(ctx, a); err != nil {
		return nil, err
	}
	return a, s.describeAdoption(ctx, a)
}

// access is a target as drift reaches it.
func access(t *catalogv1.Target) *driftv1.TargetAccess {
	ref := targetRef(t)
	return &driftv1.TargetAccess{
		Name: ref.GetName(), Engine: ref.GetEngine(), Kubeconfig: ref.GetKubeconfig(), Context: ref.GetContext(), Server: ref.GetServer(),
		Credentials: ref.GetCredentials(), RequestLimit: ref.GetRequestLimit(),
	}
}

func (s *Service) inspect(ctx context.Context, a *adopted, req *driftv1.InspectObjectsRequest) (*driftv1.InspectObjectsResponse, error) {
	req.Target = access(a.c.site.target)
	resp, err := s.cfg.Drift.InspectObjects(ctx, req)
	return resp, rpc.FromStatus(err)
}

// findLive reads what a cluster has.
func (s *Service) findLive(ctx context.Context, a *adopted) error {
	src, row := a.asked.GetSource(), a.c.row.Msg
	req := &driftv1.InspectObjectsRequest{ArgocdApplication: src.GetArgocdApplication(), FluxKustomization: src.GetFluxKustomization()}
	if src.GetNamespace() != nil {
		if row.GetNamespace() == "" {
			row.Namespace = a.env.App + "-" + a.env.ID
		}
		req.Namespace, req.Selector = row.GetNamespace(), src.GetNamespace().GetSelector()
	}
	resp, err := s.inspect(ctx, a, req)
	if err != nil {
		return err
	}
	a.found.objects, a.found.truth = resp.GetObjects(), resp.GetSource()
	if row.GetNamespace() != "" {
		return nil
	}
	names := map[string]bool{}
	for _, o := range resp.GetObjects() {
		if ns := o.GetObject().GetNamespace(); ns != "" {
			names[ns] = true
		}
	}
	row.Namespace, err = oneNamespace(names, a.env)
	return err
}

// oneNamespace is the namespace of an environment that does not say: the one that all objects are in.
func oneNamespace(names map[string]bool, env rules.Env) (string, error) {
	var all []string
	for ns := range names {
		all = append(all, ns)
	}
	slices.Sort(all)
	switch len(all) {
	case 0:
		return env.App + "-" + env.ID, nil
	case 1:
		return all[0], nil
	}
	return "", errs.InvalidField("namespace", "is empty, and the objects are in several: %s; an environment has one, so name it", strings.Join(all, ", "))
}

// findFolder reads what a folder of a repository declares, and what the cluster has of it.
func (s *Service) findFolder(ctx context.Context, a *adopted) error {
	src := a.asked.GetSource().GetFolder()
	repo, err := repositoryKind.get(ctx, s, "source.folder.repository", src.GetRepository())
	if err != nil {
		return err
	}
	if hasPlaceholders(repo.Msg) {
		return errs.InvalidField("source.folder.repository", "%s stands for many repositories: its URL or branch has placeholders; name one without", src.GetRepository())
	}
	folder := strings.Trim(path.Clean("/"+src.GetPath()), "/")
	tree, err := s.cfg.Committer.GetTree(ctx, &committerv1.GetTreeRequest{Repository: repositoryRef(repo.Msg), Path: folder})
	if err != nil {
		return rpc.FromStatus(err)
	}
	if len(tree.GetFiles()) == 0 {
		return errs.InvalidField("source.folder.path", "%q is no folder with files on branch %s of %s", folder, repo.Msg.GetBranch(), src.GetRepository())
	}
	a.readFolder(tree)
	row := a.c.row.Msg
	if row.GetNamespace() == "" {
		names := map[string]bool{}
		for _, o := range a.found.folder {
			if meta, _ := o.Value["metadata"].(map[string]any); meta["namespace"] != nil {
				names[fmt.Sprint(meta["namespace"])] = true
			}
		}
		if row.Namespace, err = oneNamespace(names, a.env); err != nil {
			return err
		}
	}
	a.standIn(repo.Msg, folder)
	resp, err := s.inspect(ctx, a, &driftv1.InspectObjectsRequest{Namespace: row.GetNamespace()})
	if err != nil {
		return err
	}
	a.found.objects = resp.GetObjects()
	return nil
}

// readFolder takes the objects out of a folder's files, and says what of it is none.
func (a *adopted) readFolder(tree *committerv1.Tree) {
	for _, f := range tree.GetFiles() {
		switch path.Base(f.GetPath()) {
		case "kustomization.yaml", "kustomization.yml", "Kustomization":
			a.found.problems = append(a.found.problems, f.GetPath()+" makes the folder a source of kustomize, not what is applied; adopt the namespace, or what kustomize build writes")
		case "Chart.yaml":
			a.found.problems = append(a.found.problems, f.GetPath()+" makes the folder a Helm chart, not what is applied; adopt the namespace, or what helm template writes")
		}
		objects := manifest.Read(map[string][]byte{f.GetPath(): f.GetContent()})
		if len(objects) == 0 && !strings.HasPrefix(path.Base(f.GetPath()), ".") {
			a.found.warnings = append(a.found.warnings, f.GetPath()+" holds no object; it is not in the environment's folder any more after adopting")
		}
		a.found.folder = append(a.found.folder, objects...)
	}
}

// standIn has the environment stand where the folder is, where that is possible: otherwise it stands where its layout puts it, and the
// folder stays as it is.
func (a *adopted) standIn(repo *catalogv1.Repository, folder string) {
	p := &a.c.site
	switch {
	case !a.unknown:
		a.found.warnings = append(a.found.warnings, fmt.Sprintf("%s exists and stands in %s; the adopted folder stays as it is, and nothing reads it any more: remove it", a.env.Name(), rules.PlaceLine(p.place)))
	case folder == "" || len(repo.GetSplits()) > 0:
		a.found.warnings = append(a.found.warnings, fmt.Sprintf("the environment is written to %s, where its layout puts it; the adopted folder stays as it is: remove it", rules.PlaceLine(p.place)))
	default:
		a.found.stand = func(p *site) {
			p.stand(&catalogv1.Place{Repository: repo.GetName(), Url: repo.GetUrl(), Branch: repo.GetBranch(), Path: folder}, []*catalogv1.Repository{repo})
		}
		a.found.stand(p)
		a.c.row.Msg.Place = p.place
	}
}

// collect makes the list of what is adopted and what is left out.
func (s *Service) collect(a *adopted) error {
	namespace := a.c.row.Msg.GetNamespace()
	live := map[string]*driftv1.InspectedObject{}
	for _, o := range a.found.objects {
		live[adopteeKey(o.GetObject())] = o
		if a.asked.GetSource().GetFolder() != nil {
			continue
		}
		value, err := objectOf(o)
		if err != nil {
			return err
		}
		next := rules.MakeAdoptee(value, namespace)
		next.Live, next.UID = value, o.GetUid()
		if o.GetProblem() != "" {
			next.LeftOut = o.GetProblem()
		}
		a.all = append(a.all, next)
	}
	for _, o := range a.found.folder {
		next := rules.MakeAdoptee(o.Value, namespace)
		if there := live[adopteeKey(next.Ref)]; there != nil {
			var err error
			if next.Live, err = objectOf(there); err != nil {
				return err
			}
			next.UID = there.GetUid()
		}
		a.all = append(a.all, next)
	}
	return nil
}

func adopteeKey(r *driftv1.ObjectRef) string {
	group, _, grouped := strings.Cut(r.GetApiVersion(), "/")
	if !grouped {
		group = ""
	}
	return strings.Join([]string{group, r.GetKind(), r.GetNamespace(), r.GetName()}, "/")
}

func objectOf(o *driftv1.InspectedObject) (map[string]any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(o.GetDeclared()), &v); err != nil {
		return nil, errs.New(errs.Internal, errorsv1.Reason_REASON_INTERNAL, "what drift says of %s %s is no YAML", o.GetObject().GetKind(), o.GetObject().GetName()).Because(err)
	}
	m, _ := manifest.Plain(v).(map[string]any)
	return m, nil
}

// renderAdoption renders what is adopted. What the renderer refuses is left out with its reason, one after the other.
func (s *Service) renderAdoption(ctx context.Context, a *adopted) error {
	for range len(a.all) + 1 {
		change, err := rules.AdoptionChange(a.all)
		if err != nil {
			return err
		}
		if len(change.GetOverlayOperations()) == 0 {
			a.found.problems = append(a.found.problems, "there is nothing that can be adopted")
			return nil
		}
		decide, err := s.change(ctx, change)
		if err != nil {
			return err
		}
		next, err := s.decided(ctx, a.c, decide)
		var resp *rendererv1.RenderResponse
		if err == nil {
			resp, err = s.render(ctx, a.c, next.state)
		}
		if err == nil {
			a.files = resp.GetBundle().GetFiles()
			a.found.warnings = append(a.found.warnings, resp.GetWarnings()...)
			return nil
		}
		if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) || errs.Is(err, errs.Cancelled) {
			return err
		}
		if !a.leaveOut(err) {
			a.found.problems = append(a.found.problems, errs.Message(err))
			return nil
		}
	}
	return nil
}

// leaveOut leaves out the objects that an error of the renderer names, and reports whether it named any.
func (a *adopted) leaveOut(err error) bool {
	var e *errs.Error
	if !errors.As(err, &e) {
		return false
	}
	left := false
	for i := range a.all {
		o := &a.all[i]
		if o.LeftOut != "" {
			continue
		}
		pointer := manifest.Target{APIVersion: o.Ref.GetApiVersion(), Kind: o.Ref.GetKind(), Name: o.Ref.GetName()}.Pointer()
		if e.Meta["object"] == o.File() {
			o.LeftOut, left = e.Msg, true
		}
		for _, f := range e.Fields {
			if strings.HasPrefix(f.Path, o.File()+" ") || strings.HasSuffix(f.Path, " "+pointer) {
				o.LeftOut, left = strings.TrimSpace(strings.TrimPrefix(f.Path, o.File())+" "+f.Problem), true
			}
		}
	}
	return left
}

// describeAdoption writes the plan.
func (s *Service) describeAdoption(ctx context.Context, a *adopted) error {
	p := &catalogv1.AdoptionPlan{Environment: a.env.Name(), Problems: a.found.problems, Warnings: a.found.warnings}
	for _, o := range a.all {
		var live []byte
		if o.Live != nil {
			var err error
			if live, err = yaml.Marshal(o.Live); err != nil {
				return fmt.Errorf("write %s: %w", o.Ref.GetName(), err)
			}
		}
		told, extra := rules.AdoptionDifferences(o, a.files, live)
		p.Objects = append(p.Objects, told)
		if told.GetRestarts() {
			p.Problems = append(p.Problems, fmt.Sprintf("%s/%s: its pods would be made anew (%s); bring the folder and the cluster together first",
				o.Ref.GetKind(), o.Ref.GetName(), strings.Join(firstLines(told.GetDifferences()), ", ")))
		}
		for _, line := range extra {
			p.Warnings = append(p.Warnings, line+" is in the cluster and not in the folder; it stays, and is told as drift")
		}
	}
	if a.unknown {
		var unused store.Tx
		for _, err := range []error{
			s.ownNamespace(ctx, &unused, a.env, a.c.site, a.c.row.Msg.GetNamespace()), s.own(ctx, &unused, a.env, rules.Locations(a.c.site.place)),
		} {
			if err != nil {
				p.Problems = append(p.Problems, errs.Message(err))
			}
		}
	}
	p.Owner, p.Handover = handover(a)
	place := rules.PlaceLine(a.c.site.place) + " " + a.c.row.Msg.GetNamespace() + " " + a.c.site.target.GetName()
	p.Plan = rules.AdoptionID(a.asked, place, a.all, a.files)
	a.plan = p
	return nil
}

// handover tells who applies the objects now and what becomes of that.
func handover(a *adopted) (owner, text string) {
	src := a.asked.GetSource()
	const order = "Towpath pauses it before it takes the first object over: "
	switch {
	case src.GetArgocdApplication() != "":
		return "Application " + src.GetArgocdApplication(), order + "automatic sync is switched off, and the finalizer is taken off by which deleting the Application would delete the objects. " +
			"When the environment is healthy, delete the Application: kubectl delete application.argoproj.io -n " + strings.ReplaceAll(src.GetArgocdApplication(), "/", " ") +
			". Where an ApplicationSet or an app of apps makes it, take it out there first"
	case src.GetFluxKustomization() != "":
		return "Kustomization " + src.GetFluxKustomization(), order + "it is suspended, and prune is switched off, so that deleting it deletes nothing. " +
			"When the environment is healthy, delete it: kubectl delete kustomization.kustomize.toolkit.fluxcd.io -n " + strings.ReplaceAll(src.GetFluxKustomization(), "/", " ") +
			". Where it stands in Git itself, take it out there first"
	}
	managers := map[string]bool{}
	for _, o := range a.found.objects {
		for _, m := range o.GetManagers() {
			managers[m] = true
		}
	}
	names := make([]string, 0, len(managers))
	for m := range managers {
		names = append(names, m)
	}
	slices.Sort(names)
	text = "the declared fields are handed over in managedFields; whoever ran these tools must not run them for these objects any more"
	if managers["argocd-controller"] || managers["kustomize-controller"] {
		text += "; an Application or Kustomization that lists the objects is paused first"
	}
	return strings.Join(names, ", "), text
}
