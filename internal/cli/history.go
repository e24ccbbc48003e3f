package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
	var env, format string
	var limit int32
	cmd := &cobra.Command{
		Use: "history -e APP/ENV [NUMBER]", Short: "Show an environment's deployments, or one in detail", Args: rangeArgs(0, "the number of a deployment"),
		Long: `Lists the deployments of an environment, newest first, also of one that was removed. With a number it shows that deployment:
what it changed, the time of each phase, its commit, and why it failed. "latest" and "active" stand for a number.`,
		Example: `  tow history -e shop/dev
  tow history -e shop/dev 7
  tow history -e shop/dev --limit 100 -o wide`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().Int32Var(&limit, "limit", 20, "show at most so many; 0 for all")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.completeDeployments)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit is negative; give 0 for all, or more")
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			return showDeployment(ctx, p, c, name, args[0])
		}
		return t.listHistory(ctx, p, c, name, int(limit))
	})
	return cmd
}

func (t *tow) listHistory(ctx context.Context, p *printer, c *client, env string, limit int) error {
	var all []*catalogv1.Deployment
	more, token := true, ""
	for more {
		size := 1000
		if limit > 0 {
			size = min(limit-len(all), 1000)
		}
		l, err := c.ListDeployments(ctx, &catalogv1.ListDeploymentsRequest{Parent: env, PageSize: int32(size), PageToken: token})
		if err != nil {
			return err
		}
		all = append(all, l.GetDeployments()...)
		token = l.GetNextPageToken()
		more = token != "" && (limit == 0 || len(all) < limit)
	}
	if len(all) == 0 {
		t.notef("no deployments yet; make one: tow deploy -f score.yaml -e %s", short(env))
	}
	err := printList(p, &catalogv1.ListDeploymentsResponse{Deployments: all, NextPageToken: token}, all, historyColumns)
	if err == nil && token != "" && p.format == "table" {
		t.notef("there are more; show them with --limit 0")
	}
	return err
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
	}
	files := ""
	if d.GetFilesChanged() > 0 {
		files = plural(int(d.GetFilesChanged()), "file")
	}
	return p.fields(
		"Deployment", short(d.GetName()), "State", stateName(d.GetState()), "Kind", kindText(d),
		"By", d.GetActor(), "When", stamp(d.GetCreateTime())+" ("+ago(p.now, d.GetCreateTime().AsTime())+")", "Took", duration(p.now, d),
		"Message", d.GetMessage(), "Changes", strings.Join(d.GetSummary(), "\n"), "Phases", strings.Join(phases, "\n"),
		"Waits", d.GetWaitingReason(), "Failure", failure, "Ran", active,
		"Repository", strings.Join(nonEmpty(short(d.GetRepository()), d.GetBranch(), d.GetPath()), " "),
		"Commit", d.GetCommit(), "Tree", d.GetTree(), "Changed", files, "Set", d.GetIntent().GetSet(), "Request id", d.GetRequestId())
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
