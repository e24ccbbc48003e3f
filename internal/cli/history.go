package cli

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

func itoa[T int | int32 | int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// deploymentNumber gives "#7" of a deployment's name.
func deploymentNumber(name string) string {
	if name == "" {
		return "-"
	}
	return "#" + last(name)
}

var historyColumns = []column[*catalogv1.Deployment]{
	{"#", false, func(_ *printer, d *catalogv1.Deployment) string { return last(d.GetName()) }},
	{"STATE", false, func(_ *printer, d *catalogv1.Deployment) string { return stateName(d.GetState()) }},
	{"KIND", false, func(_ *printer, d *catalogv1.Deployment) string { return kindText(d) }},
	{"BY", false, func(_ *printer, d *catalogv1.Deployment) string { return d.GetActor() }},
	{"WHEN", false, func(p *printer, d *catalogv1.Deployment) string { return p.when(d.GetCreateTime()) }},
	{"TOOK", false, func(p *printer, d *catalogv1.Deployment) string { return duration(p.now, d) }},
	{"COMMIT", false, func(p *printer, d *catalogv1.Deployment) string {
		if p.format == "wide" {
			return d.GetCommit()
		}
		return shortHash(d.GetCommit())
	}},
	{"TREE", true, func(_ *printer, d *catalogv1.Deployment) string { return d.GetTree() }},
	{"MESSAGE", false, func(_ *printer, d *catalogv1.Deployment) string { return clip(saying(d), 60) }},
}

// kindText tells what a deployment did, and of a rollback where to.
func kindText(d *catalogv1.Deployment) string {
	if d.GetRollbackOf() != "" {
		return kindName(d.GetKind()) + " to #" + last(d.GetRollbackOf())
	}
	return kindName(d.GetKind())
}

// saying is what tells a deployment apart best: its author's words, else what it changed.
func saying(d *catalogv1.Deployment) string {
	if d.GetMessage() != "" {
		return d.GetMessage()
	}
	return strings.Join(d.GetSummary(), "; ")
}

// duration tells how long a deployment took, or has been going on for.
func duration(now time.Time, d *catalogv1.Deployment) string {
	if d.GetEndTime() != nil {
		return took(d.GetEndTime().AsTime().Sub(d.GetCreateTime().AsTime()))
	}
	return took(max(now.Sub(d.GetCreateTime().AsTime()), 0)) + " so far"
}

func (t *tow) historyCmd() *cobra.Command {
	var of scope
	var f historyFilter
	var format string
	var limit int32
	var watch bool
	cmd := &cobra.Command{
		Use: "history -e APP/ENV [NUMBER]", Short: "Show an environment's deployments, or one in detail", Args: rangeArgs(0, "the number of a deployment"),
		Long: `Lists the deployments of an environment, newest first, also of one that was removed, or those of an application or of all by
time. With a number it shows that deployment: what it changed, the time of each phase, its commit, and why it failed. "latest"
and "active" stand for a number.`,
		Example: `  tow history -e shop/dev
  tow history -e shop/dev 7
  tow history -e shop/dev --limit 100 -o wide
  tow history --all --state AWAITING_APPROVAL
  tow history --app shop --actor users/ada --since 7d
  tow history -e shop/dev --watch`,
	}
	of.bind(t, cmd)
	f.bind(t, cmd)
	cmd.Flags().Int32Var(&limit, "limit", 20, "show at most so many; 0 for all")
	t.outputFlag(cmd, &format)
	watchFlag(cmd, &watch)
	cmd.ValidArgsFunction = completeOnce(t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := of.parent()
		if err != nil {
			return err
		}
		if len(args) > 0 && of.env == "" {
			return usagef("a number belongs to one environment; give -e, such as -e shop/dev")
		}
		filter, err := f.text(t.Now())
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit is negative; give 0 for all, or more")
		}
		if watch && (len(args) > 0 || filter != "") {
			return usagef("--watch follows a whole list; `tow wait` follows one deployment, and there is no watch of a choice")
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if watch {
			w := &listWatch[*catalogv1.Deployment]{
				t: t, p: p, columns: historyColumnsOf(name), limit: int(limit), order: newestFirst, none: "no deployments yet",
			}
			return w.run(ctx, c, watchDeployments(name))
		}
		if len(args) > 0 {
			return showDeployment(ctx, p, c, name, args[0])
		}
		return t.listHistory(ctx, p, c, &catalogv1.ListDeploymentsRequest{Parent: name, Filter: filter}, int(limit))
	})
	return cmd
}

// historyFilter says which deployments to list.
type historyFilter struct{ state, kind, actor, origin, since, until string }

func (f *historyFilter) bind(t *tow, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.state, "state", "", "only those in this state, such as FAILED")
	cmd.Flags().StringVar(&f.kind, "kind", "", "only those of this kind, such as rollback")
	cmd.Flags().StringVar(&f.actor, "actor", "", "only those that this caller asked for, such as users/ada")
	cmd.Flags().StringVar(&f.origin, "origin", "", "only those that came this way, such as cli, portal or api")
	cmd.Flags().StringVar(&f.since, "since", "", "only those from so long ago (12h, 30d), or from this time on (2026-01-31)")
	cmd.Flags().StringVar(&f.until, "until", "", "only those until so long ago or this time")
	complete(cmd, "state", cobra.FixedCompletions(enumWords(catalogv1.Deployment_State_name, "STATE_"), cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "kind", cobra.FixedCompletions(enumWords(catalogv1.Deployment_Kind_name, "KIND_"), cobra.ShellCompDirectiveNoFileComp))
}

func enumWords(names map[int32]string, prefix string) []string {
	var out []string
	for n := int32(1); names[n] != ""; n++ {
		out = append(out, strings.TrimPrefix(names[n], prefix))
	}
	return out
}

// text gives the API's filter.
func (f *historyFilter) text(now time.Time) (string, error) {
	var terms []string
	for _, term := range []struct{ field, value string }{
		{"state", strings.ToUpper(f.state)}, {"kind", strings.ToUpper(f.kind)}, {"actor", f.actor}, {"origin", f.origin},
	} {
		if term.value != "" {
			terms = append(terms, term.field+" = "+strconv.Quote(term.value))
		}
	}
	times, err := timeTerms(now, "create_time", f.since, f.until)
	if err != nil {
		return "", err
	}
	return strings.Join(append(terms, times...), " AND "), nil
}

func (t *tow) listHistory(ctx context.Context, p *printer, c *client, req *catalogv1.ListDeploymentsRequest, limit int) error {
	var all []*catalogv1.Deployment
	more, token := true, ""
	for more {
		size := 1000
		if limit > 0 {
			size = min(limit-len(all), 1000)
		}
		req.PageSize, req.PageToken = int32(size), token
		l, err := c.ListDeployments(ctx, req)
		if err != nil {
			return err
		}
		all = append(all, l.GetDeployments()...)
		token = l.GetNextPageToken()
		more = token != "" && (limit == 0 || len(all) < limit)
	}
	many := strings.Contains(req.GetParent(), "/-")
	if !many && len(all) == 0 && req.GetFilter() == "" {
		t.notef("no deployments yet; make one: tow deploy -f score.yaml -e %s", short(req.GetParent()))
	}
	if len(all) == 0 && (many || req.GetFilter() != "") {
		t.notef("no deployments like that")
	}
	err := printList(p, &catalogv1.ListDeploymentsResponse{Deployments: all, NextPageToken: token}, all, historyColumnsOf(req.GetParent()))
	if err == nil && token != "" && p.format == "table" {
		t.notef("there are more; show them with --limit 0")
	}
	return err
}

// historyColumnsOf gives the columns of a history, with the environment where it is of several.
func historyColumnsOf(parent string) []column[*catalogv1.Deployment] {
	if !strings.Contains(parent, "/-") {
		return historyColumns
	}
	return append([]column[*catalogv1.Deployment]{
		{"ENVIRONMENT", false, func(_ *printer, d *catalogv1.Deployment) string { return short(envOf(d.GetName())) }},
	}, historyColumns...)
}

// watchDeployments follows the deployments of one environment or several.
func watchDeployments(parent string) follower[*catalogv1.Deployment] {
	return func(ctx context.Context, c *client, token string) (func() (listChange[*catalogv1.Deployment], error), error) {
		s, err := c.WatchDeployments(ctx, &catalogv1.WatchDeploymentsRequest{Parent: parent, ResumeToken: token})
		return receiver(s, err, (*catalogv1.WatchDeploymentsResponse).GetDeployment)
	}
}

// newestFirst orders a history as the API does.
func newestFirst(a, b *catalogv1.Deployment) int {
	return cmp.Or(b.GetCreateTime().AsTime().Compare(a.GetCreateTime().AsTime()), cmp.Compare(b.GetGeneration(), a.GetGeneration()), strings.Compare(a.GetName(), b.GetName()))
}

func showDeployment(ctx context.Context, p *printer, c *client, env, arg string) error {
	name, err := deploymentName(env, arg)
	if err != nil {
		return err
	}
	d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: name})
	if err != nil {
		return err
	}
	if done, err := p.structured(d, d.GetName()); done {
		return err
	}
	return p.deployment(d)
}

// deployment writes one deployment for a person.
func (p *printer) deployment(d *catalogv1.Deployment) error {
	var phases []string
	for _, ph := range d.GetPhases() {
		switch {
		case isFinal(ph.GetState()):
			phases = append(phases, stateName(ph.GetState())+" at "+stamp(ph.GetStartTime()))
		case ph.GetEndTime() != nil:
			phases = append(phases, stateName(ph.GetState())+" "+took(ph.GetEndTime().AsTime().Sub(ph.GetStartTime().AsTime())))
		default:
			phases = append(phases, stateName(ph.GetState())+" "+took(max(p.now.Sub(ph.GetStartTime().AsTime()), 0))+" so far")
		}
	}
	active := ""
	if d.GetActiveFrom() != nil {
		active = stamp(d.GetActiveFrom()) + " until "
		if d.GetActiveUntil() != nil {
			active += stamp(d.GetActiveUntil())
		} else {
			active += "now"
		}
	}
	failure := ""
	if f := d.GetError(); f != nil {
		failure = f.GetMessage()
		if f.GetReason() != "" {
			failure += " (" + f.GetReason() + ")"
		}
		if f.GetStage() != "" {
			failure = "at " + f.GetStage() + ": " + failure
		}
		if f.GetRemedy() != "" {
			failure += "\n" + f.GetRemedy()
		}
	}
	files := ""
	if d.GetFilesChanged() > 0 {
		files = plural(int(d.GetFilesChanged()), "file")
	}
	return p.fields(
		"Deployment", short(d.GetName()), "State", stateName(d.GetState()), "Kind", kindText(d),
		"By", d.GetActor(), "When", stamp(d.GetCreateTime())+" ("+ago(p.now, d.GetCreateTime().AsTime())+")", "Took", duration(p.now, d),
		"Message", d.GetMessage(), "Changes", strings.Join(d.GetSummary(), "\n"), "Phases", strings.Join(phases, "\n"),
		"Waits", d.GetWaitingReason(), "Pull request", pullRequestText(d), "Ended", endedBy(d), "Failure", failure, "Ran", active,
		"Approvals", strings.Join(voteLines(p, d), "\n"), "Plan hash", d.GetPlanHash(), "Tries again", short(d.GetRetryOf()), "Origin", d.GetOrigin(),
		"Comments", strings.Join(commentLines(p, d), "\n"),
		"Repository", strings.Join(nonEmpty(short(d.GetRepository()), d.GetBranch(), d.GetPath()), " "),
		"Commit", d.GetCommit(), "Tree", d.GetTree(), "Changed", files, "Set", d.GetIntent().GetSet(), "Request id", d.GetRequestId())
}

func voteLines(p *printer, d *catalogv1.Deployment) []string {
	var out []string
	for _, a := range d.GetApprovals() {
		what := "rejected"
		if a.GetApproved() {
			what = "approved"
		}
		if a.GetPlanHash() != d.GetPlanHash() {
			what += " a plan that has moved"
		}
		out = append(out, said(p, a.GetActor()+" "+what, a.GetTime(), a.GetComment()))
	}
	return out
}

func commentLines(p *printer, d *catalogv1.Deployment) []string {
	var out []string
	for _, c := range d.GetComments() {
		out = append(out, said(p, c.GetActor(), c.GetTime(), c.GetText()))
	}
	return out
}

func said(p *printer, who string, at *timestamppb.Timestamp, what string) string {
	out := who + " " + p.when(at)
	if what != "" {
		out += ": " + what
	}
	return out
}

func nonEmpty(parts ...string) []string {
	var out []string
	for _, s := range parts {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
