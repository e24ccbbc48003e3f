package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// adoptFlags say what is adopted as what.
type adoptFlags struct {
	folder, argocd, flux, namespace, selector string
	typ, repository, into                     string
	confirm, yes                              bool
}

func (t *tow) adoptCmd() *cobra.Command {
	var s shipment
	var f adoptFlags
	cmd := &cobra.Command{
		Use: "adopt -e APP/ENV {--from-folder REPO:PATH | --from-argocd NS/NAME | --from-flux NS/NAME | --from-namespace NS}", Short: "Take over what runs already", Args: noArgs,
		Long: `Makes an environment of objects that somebody else applied: those of a namespace, a folder of a deployment repository, an Argo CD
Application or a Flux Kustomization. The application and the environment are made where they are missing. No pod is restarted:
what is rendered is what is there, and a plan that would make pods anew is refused. Who applied the objects before is paused,
and their fields are handed over to Towpath.

Nothing is removed from the cluster until ` + "`tow adopt --confirm`" + ` says that it may be. Secrets with values stay where they are.
In a terminal it shows the plan, asks, and holds to what it has shown; without one it needs --yes.`,
		Example: `  tow adopt -e shop/prod --type production --from-namespace shop --plan
  tow adopt -e shop/prod --type production --from-argocd argocd/shop --wait --yes
  tow adopt -e shop/prod --type production --from-folder main:apps/shop/prod
  tow adopt -e shop/prod --confirm`,
	}
	s.bindEnv(t, cmd)
	cmd.Flags().StringVarP(&s.message, "message", "m", "", "why; shown in the history and in the commit")
	s.bindWait(t, cmd)
	cmd.Flags().BoolVar(&s.plan, "plan", false, "show what adopting would do, and do nothing")
	cmd.Flags().StringVar(&f.folder, "from-folder", "", "a folder of a deployment repository, REPOSITORY:PATH")
	cmd.Flags().StringVar(&f.argocd, "from-argocd", "", "an Argo CD Application, NAMESPACE/NAME")
	cmd.Flags().StringVar(&f.flux, "from-flux", "", "a Flux Kustomization, NAMESPACE/NAME")
	cmd.Flags().StringVar(&f.namespace, "from-namespace", "", "all objects of a namespace")
	cmd.Flags().StringVarP(&f.selector, "selector", "l", "", "with --from-namespace: only objects with these labels, such as app=shop")
	cmd.Flags().StringVar(&f.typ, "type", "", "environment type of an environment that is made")
	cmd.Flags().StringVar(&f.repository, "repository", "", "repository of an application that is made")
	cmd.Flags().StringVar(&f.into, "namespace", "", "the environment's namespace (default: that of the objects)")
	cmd.Flags().BoolVar(&f.confirm, "confirm", false, "end the time in which nothing is removed")
	yesFlag(cmd, &f.yes)
	cmd.MarkFlagsMutuallyExclusive("from-folder", "from-argocd", "from-flux", "from-namespace", "confirm")
	cmd.MarkFlagsMutuallyExclusive("plan", "wait")
	cmd.MarkFlagsMutuallyExclusive("plan", "confirm")
	complete(cmd, "type", t.environmentTypes().completer(t))
	complete(cmd, "repository", t.repositories().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		if f.confirm {
			return t.confirmAdoption(ctx, env, f.yes)
		}
		r, err := f.request(env)
		if err != nil {
			return err
		}
		return t.adopt(ctx, &s, r, f.yes)
	})
	return cmd
}

// request reads the flags.
func (f *adoptFlags) request(env string) (*catalogv1.PlanAdoptionRequest, error) {
	r := &catalogv1.PlanAdoptionRequest{Environment: env, Source: &catalogv1.AdoptionSource{}, Namespace: f.into}
	if f.typ != "" {
		r.Type = qualify("environmentTypes", f.typ)
	}
	if f.repository != "" {
		r.Repository = qualify("repositories", f.repository)
	}
	if f.selector != "" && f.namespace == "" {
		return nil, usagef("--selector goes with --from-namespace")
	}
	switch {
	case f.folder != "":
		repo, path, ok := strings.Cut(f.folder, ":")
		if !ok || repo == "" {
			return nil, usagef("--from-folder %q: give repository and folder such as main:apps/shop/prod", f.folder)
		}
		r.Source.Source = &catalogv1.AdoptionSource_Folder{Folder: &catalogv1.FolderSource{Repository: qualify("repositories", repo), Path: path}}
	case f.argocd != "":
		r.Source.Source = &catalogv1.AdoptionSource_ArgocdApplication{ArgocdApplication: f.argocd}
	case f.flux != "":
		r.Source.Source = &catalogv1.AdoptionSource_FluxKustomization{FluxKustomization: f.flux}
	case f.namespace != "":
		if f.into != "" && f.into != f.namespace {
			return nil, usagef("--namespace %s and --from-namespace %s differ: objects are adopted where they are", f.into, f.namespace)
		}
		r.Namespace = f.namespace
		r.Source.Source = &catalogv1.AdoptionSource_Namespace{Namespace: &catalogv1.NamespaceSource{Selector: f.selector}}
	default:
		return nil, usagef("adopt what? give --from-folder, --from-argocd, --from-flux or --from-namespace")
	}
	return r, nil
}

// qualify gives a full name for what may be an id.
func qualify(collection, id string) string {
	if strings.HasPrefix(id, collection+"/") {
		return id
	}
	return collection + "/" + id
}

func (t *tow) confirmAdoption(ctx context.Context, env string, yes bool) error {
	if err := t.confirm(yes, "have Towpath remove from the cluster what %s no longer declares", short(env)); err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	if _, err := c.adoption.ConfirmAdoption(ctx, &catalogv1.ConfirmAdoptionRequest{Environment: env}); err != nil {
		return err
	}
	t.printf("confirmed %s\n", short(env))
	return nil
}

func (t *tow) adopt(ctx context.Context, s *shipment, r *catalogv1.PlanAdoptionRequest, yes bool) error {
	if !s.plan && !yes && !t.InTerminal {
		return t.confirm(false, "adopt into %s", short(r.GetEnvironment()))
	}
	p, err := t.printer(s.output)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	plan, err := c.adoption.PlanAdoption(ctx, r)
	if err != nil {
		return err
	}
	if s.plan {
		if done, err := p.structured(plan, plan.GetPlan()); done {
			return err
		}
		return p.adoption(plan)
	}
	if !yes {
		asking := &printer{out: t.Stderr, format: "table", colour: p.colour, now: p.now}
		if err := asking.adoption(plan); err != nil {
			return err
		}
		if err := t.confirm(false, "adopt into %s", short(r.GetEnvironment())); err != nil {
			return err
		}
	}
	d, err := c.adoption.Adopt(ctx, &catalogv1.AdoptRequest{
		Environment: r.GetEnvironment(), Source: r.GetSource(), Type: r.GetType(), Namespace: r.GetNamespace(), Repository: r.GetRepository(),
		Plan: plan.GetPlan(), Message: s.message,
	})
	if err != nil {
		return err
	}
	if plan.GetHandover() != "" {
		t.notef("%s", clean(plan.GetHandover()))
	}
	return t.shipped(ctx, s, d)
}

var adoptionColumns = []column[*catalogv1.AdoptedObject]{
	{"OBJECT", false, func(_ *printer, o *catalogv1.AdoptedObject) string {
		return o.GetObject().GetKind() + "/" + o.GetObject().GetName()
	}},
	{"ADOPTED", false, func(_ *printer, o *catalogv1.AdoptedObject) string {
		if o.GetLeftOut() != "" {
			return "no"
		}
		return "yes"
	}},
	{"CHANGES", false, func(_ *printer, o *catalogv1.AdoptedObject) string {
		switch {
		case o.GetLeftOut() != "":
			return o.GetLeftOut()
		case len(o.GetDifferences()) == 0:
			return "nothing"
		default:
			return strings.Join(o.GetDifferences(), "; ") + " (" + o.GetExplanation() + ")"
		}
	}},
}

// adoption shows what adopting would do.
func (p *printer) adoption(plan *catalogv1.AdoptionPlan) error {
	if err := printTable(p, plan.GetObjects(), adoptionColumns); err != nil {
		return err
	}
	if _, err := p.out.Write([]byte("\n")); err != nil {
		return err
	}
	return p.fields("Environment", short(plan.GetEnvironment()), "Applied by", plan.GetOwner(), "Handover", plan.GetHandover(),
		"Problems", strings.Join(plan.GetProblems(), "\n"), "Warnings", strings.Join(plan.GetWarnings(), "\n"), "Plan", plan.GetPlan())
}
