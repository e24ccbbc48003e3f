package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

type draft = *catalogv1.Draft

const drafts = "drafts"

// draftService gives the API of drafts.
func (c *client) draftService() catalogv1.DraftServiceClient {
	return catalogv1.NewDraftServiceClient(c.conn)
}

// draftName makes a draft's full name of shop/next.
func draftName(arg string) (string, error) {
	p := strings.Split(arg, "/")
	if len(p) == 4 && p[0] == applications && p[2] == drafts {
		p = []string{p[1], p[3]}
	}
	if len(p) != 2 || p[0] == "" || p[1] == "" {
		return "", usagef("%q is no draft; give application and draft such as shop/next", arg)
	}
	return applications + "/" + p[0] + "/" + drafts + "/" + p[1], nil
}

func (t *tow) drafts() noun[draft] {
	return noun[draft]{
		use: "draft", title: "draft", plural: "drafts", arg: "APP/DRAFT", id: "shop/next",
		columns: []column[draft]{
			{"NAME", false, func(_ *printer, m draft) string { return short(m.GetName()) }},
			{"TITLE", true, func(_ *printer, m draft) string { return m.GetDisplayName() }},
			{"ENVIRONMENT", false, func(_ *printer, m draft) string {
				if m.GetEnvironment() == "" {
					return "-"
				}
				return short(m.GetEnvironment())
			}},
			{"CHANGES", false, func(_ *printer, m draft) string { return plural(draftSize(m), "operation") }},
			{"BASE", true, func(_ *printer, m draft) string { return shortHash(last(m.GetBaseSet())) }},
			{"RESULT", true, func(_ *printer, m draft) string { return shortHash(last(m.GetResultSet())) }},
			{"CHANGED", false, func(p *printer, m draft) string { return p.when(m.GetUpdateTime()) }},
			{"BY", false, func(_ *printer, m draft) string { return m.GetCreateActor() }},
		},
		fresh: func() draft { return &catalogv1.Draft{} },
		name:  draftName,
		get: func(ctx context.Context, c *client, name string) (draft, error) {
			return c.draftService().GetDraft(ctx, &catalogv1.GetDraftRequest{Name: name})
		},
		remove: func(ctx context.Context, c *client, name string) error {
			_, err := c.draftService().DeleteDraft(ctx, &catalogv1.DeleteDraftRequest{Name: name})
			return err
		},
		list: func(ctx context.Context, c *client, size int32, token string) ([]draft, string, error) {
			return listDraftsPage(ctx, c, applications+"/-", size, token)
		},
		listOf: func(items []draft) proto.Message { return &catalogv1.ListDraftsResponse{Drafts: items} },
	}
}

func listDraftsPage(ctx context.Context, c *client, app string, size int32, token string) ([]draft, string, error) {
	l, err := c.draftService().ListDrafts(ctx, &catalogv1.ListDraftsRequest{Parent: app, PageSize: size, PageToken: token})
	return l.GetDrafts(), l.GetNextPageToken(), err
}

func (t *tow) draftCmd() *cobra.Command {
	n := t.drafts()
	return n.groupOf(t, `A draft is a change in preparation: operations on the workloads of an environment, which are deployed together when they are
ready. A place is said by its path: /workloads/api/containers/main/image, where ~1 stands for a slash and ~0 for a tilde in a name.`,
		t.createDraftCmd(), t.getDraftCmd(), t.listDraftsCmd(), t.editDraftCmd(), t.rebaseDraftCmd(), t.deployDraftCmd(), n.deleteCmd(t))
}

func (t *tow) createDraftCmd() *cobra.Command {
	var ops operationFlags
	var env, base, title, format, request string
	cmd := &cobra.Command{
		Use: "create APP/DRAFT", Short: "Create a draft", Args: exactArgs("application and id of the new draft, such as shop/next"),
		Long: `Creates a draft. With -e it begins with what that environment is meant to run now, with --base with a set of a deployment,
else with nothing.`,
		Example: `  tow draft create shop/next -e shop/dev --set /workloads/api/containers/main/image=registry.example.com/shop/api:2
  tow draft create shop/less -e shop/dev --unset /workloads/worker`,
	}
	ops.bind(cmd)
	t.envFlagVar(cmd, &env, "the environment that it is for, such as shop/dev")
	cmd.Flags().StringVar(&base, "base", "", "the set that it begins with, sets/DIGEST")
	cmd.Flags().StringVar(&title, "display-name", "", "name for people")
	cmd.Flags().StringVar(&request, "request-id", "", "idempotency key: a second call with the same one gets the first call's answer")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := draftName(args[0])
		if err != nil {
			return err
		}
		app, id, _ := strings.Cut(name, "/"+drafts+"/")
		d := &catalogv1.Draft{DisplayName: title, BaseSet: base}
		if d.Environment, err = orEmpty(envName)(env); err != nil {
			return err
		}
		if d.Operations, err = ops.operations(); err != nil {
			return err
		}
		return t.draftCall(ctx, format, "created", func(ctx context.Context, api catalogv1.DraftServiceClient) (draft, error) {
			return api.CreateDraft(ctx, &catalogv1.CreateDraftRequest{
				Parent: app, DraftId: id, Draft: d, RequestId: requestID(withRequestID(ctx, request)),
			})
		})
	})
	return cmd
}

// draftCall makes a call that answers a draft and tells what was done.
func (t *tow) draftCall(ctx context.Context, format, verb string, call func(context.Context, catalogv1.DraftServiceClient) (draft, error)) error {
	p, err := t.printer(format)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	d, err := call(ctx, c.draftService())
	if err != nil {
		return err
	}
	if done, err := p.structured(d, d.GetName()); done {
		return err
	}
	t.printf("%s draft %s with %s\n", verb, short(d.GetName()), plural(draftSize(d), "operation"))
	return nil
}

func (t *tow) getDraftCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "get APP/DRAFT", Short: "Show a draft and what it changes", Args: exactArgs("application and id of a draft, such as shop/next"),
		Long:    "Shows a draft, its operations in order, and what they change of its base.",
		Example: "  tow draft get shop/next\n  tow draft get shop/next -o yaml",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.drafts().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		d, err := t.drafts().fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		if done, err := p.structured(d, d.GetName()); done {
			return err
		}
		diff, err := t.client.draftService().DiffSets(ctx, &catalogv1.DiffSetsRequest{From: d.GetBaseSet(), To: d.GetResultSet()})
		if err != nil {
			return err
		}
		return p.fields("Draft", short(d.GetName()), "Title", d.GetDisplayName(), "Environment", shortOrEmpty(d.GetEnvironment()),
			"Base", d.GetBaseSet(), "Result", d.GetResultSet(), "Changed", p.when(d.GetUpdateTime())+" by "+d.GetCreateActor(),
			"Operations", strings.Join(overlayLines(d.GetOperations()), "\n"), "Overlay", strings.Join(overlayLines(d.GetOverlayOperations()), "\n"),
			"Variables", strings.Join(variableLines(d.GetVariables()), "\n"), "Changes", strings.Join(diff.GetSummary(), "\n"))
	})
	return cmd
}

func shortOrEmpty(name string) string {
	if name == "" {
		return ""
	}
	return short(name)
}

// watchDrafts follows the drafts of an application, or of all with applications/-.
func watchDrafts(app string) follower[draft] {
	return func(ctx context.Context, c *client, token string) (func() (listChange[draft], error), error) {
		s, err := c.draftService().WatchDrafts(ctx, &catalogv1.WatchDraftsRequest{Parent: app, ResumeToken: token})
		return receiver(s, err, (*catalogv1.WatchDraftsResponse).GetDraft)
	}
}

func (t *tow) listDraftsCmd() *cobra.Command {
	return listOfApp(t, t.drafts(), &cobra.Command{
		Short: "List drafts", Long: "Lists the drafts of one application, or of all.",
		Example: "  tow draft list\n  tow draft list shop -o json\n  tow draft list shop --watch",
	}, listDraftsPage, watchDrafts)
}

func (t *tow) editDraftCmd() *cobra.Command {
	var ops operationFlags
	var drop []string
	var env, title, format string
	cmd := &cobra.Command{
		Use: "edit APP/DRAFT", Short: "Change what a draft changes", Args: exactArgs("application and id of a draft, such as shop/next"),
		Long: `Adds operations to a draft; one on the same path takes the earlier one's place. --drop takes the draft's own operation on a path
away again. A change that somebody else makes at the same moment is noticed and refused with exit code 7.`,
		Example: `  tow draft edit shop/next --set /workloads/api/containers/main/variables/LOG_LEVEL=debug
  tow draft edit shop/next --drop /workloads/api/containers/main/image --unset /workloads/worker`,
	}
	ops.bind(cmd)
	cmd.Flags().StringArrayVar(&drop, "drop", nil, "take the draft's operation on this path away")
	t.envFlagVar(cmd, &env, "the environment that it is for, such as shop/dev")
	cmd.Flags().StringVar(&title, "display-name", "", "name for people")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.drafts().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		added, err := ops.operations()
		if err != nil {
			return err
		}
		environment, err := orEmpty(envName)(env)
		if err != nil {
			return err
		}
		mask := &fieldmaskpb.FieldMask{}
		for path, asked := range map[string]bool{
			"operations": len(added)+len(drop) > 0, "environment": cmd.Flags().Changed("env"), "display_name": cmd.Flags().Changed("display-name"),
		} {
			if asked {
				mask.Paths = append(mask.Paths, path)
			}
		}
		if len(mask.GetPaths()) == 0 {
			return usagef("nothing to change; give at least one of --set, --set-json, --unset, --drop, --env, --display-name")
		}
		slices.Sort(mask.GetPaths())
		d, err := t.drafts().fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		d.Environment, d.DisplayName = environment, title
		if d.Operations, err = editOperations(d.GetOperations(), added, drop); err != nil {
			return err
		}
		return t.draftCall(ctx, format, "updated", func(ctx context.Context, api catalogv1.DraftServiceClient) (draft, error) {
			return api.UpdateDraft(ctx, &catalogv1.UpdateDraftRequest{Draft: d, UpdateMask: mask}) // with the etag of what was just read
		})
	})
	return cmd
}

func (t *tow) rebaseDraftCmd() *cobra.Command {
	var base, format string
	cmd := &cobra.Command{
		Use: "rebase APP/DRAFT", Short: "Move a draft to what its environment is meant to run now",
		Args: exactArgs("application and id of a draft, such as shop/next"),
		Long: `Moves a draft to the set of its environment, or to another one. What others changed meanwhile stays; where they changed the same
place it is refused with exit code 7 and the paths.`,
		Example: "  tow draft rebase shop/next",
	}
	cmd.Flags().StringVar(&base, "base", "", "move to this set, sets/DIGEST")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.drafts().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := draftName(args[0])
		if err != nil {
			return err
		}
		return t.draftCall(ctx, format, "rebased", func(ctx context.Context, api catalogv1.DraftServiceClient) (draft, error) {
			return api.RebaseDraft(ctx, &catalogv1.RebaseDraftRequest{Name: name, BaseSet: base})
		})
	})
	return cmd
}

func (t *tow) deployDraftCmd() *cobra.Command {
	var s shipment
	var remove bool
	cmd := &cobra.Command{
		Use: "deploy APP/DRAFT", Short: "Deploy a draft", Args: exactArgs("application and id of a draft, such as shop/next"),
		Long: `Deploys a draft to its environment, or with -e to another one of its application. It is rebased on what that is meant to run now;
where both changed the same place it is refused with exit code 7 and the paths.`,
		Example: `  tow draft deploy shop/next --plan
  tow draft deploy shop/next --delete -m "the new checkout" --wait`,
	}
	s.bind(t, cmd)
	cmd.Flags().BoolVar(&remove, "delete", false, "delete the draft when the deployment is accepted")
	cmd.MarkFlagsMutuallyExclusive("plan", "delete")
	cmd.ValidArgsFunction = completeOnce(t.drafts().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := draftName(args[0])
		if err != nil {
			return err
		}
		env, err := orEmpty(envName)(s.env)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if s.plan {
			return t.planDraft(ctx, c, &s, name, env)
		}
		if _, err := t.printer(s.output); err != nil {
			return err
		}
		d, err := c.draftService().DeployDraft(ctx, &catalogv1.DeployDraftRequest{
			Name: name, Environment: env, Message: s.message, RequestId: s.id(), PlanHash: s.planHash, Delete: remove,
		})
		if err != nil {
			return err
		}
		return t.shipped(ctx, &s, d)
	})
	return cmd
}

func (t *tow) planDraft(ctx context.Context, c *client, s *shipment, name, env string) error {
	d, err := c.draftService().GetDraft(ctx, &catalogv1.GetDraftRequest{Name: name})
	if err != nil {
		return err
	}
	if env == "" {
		env = d.GetEnvironment()
	}
	if env == "" {
		return usagef("which environment? the draft is for none; give -e, such as -e shop/dev")
	}
	return t.ship(ctx, s, env, &catalogv1.Change{
		BaseSet: d.GetBaseSet(), SetOperations: d.GetOperations(), OverlayOperations: d.GetOverlayOperations(), Variables: d.GetVariables(), Draft: d.GetName(),
	})
}
