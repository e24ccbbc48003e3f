package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

func (t *tow) getCmd() *cobra.Command {
	var env, format string
	var desired, events bool
	cmd := &cobra.Command{
		Use: "get -e APP/ENV [KIND/NAME]", Short: "Look at what is in the cluster", Args: cobra.MaximumNArgs(2),
		Long: `Without an object it shows the environment's objects as a tree: what Git declares, and what the cluster's controllers made of it, such as
Deployment, ReplicaSet and Pods. With an object it shows both sides, what Git says and what the cluster has, side by side, without
what the cluster adds by itself; lines that differ are marked. -o yaml gives the object as the cluster has it, with --desired as
Git has it, and -o json everything that is known. --events lists what the cluster tells about the object and what it owns.

Values of Secrets, and what looks like a credential, are shown as digests: equal values have equal digests.`,
		Example: `  tow get -e shop/dev
  tow get -e shop/dev deployment/api
  tow get -e shop/dev deployment/api -o yaml
  tow get -e shop/dev pod api-6d4cf56db6-x7k2p --events`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().BoolVar(&desired, "desired", false, "with an object: only what Git says, as YAML")
	cmd.Flags().BoolVar(&events, "events", false, "list the cluster's events instead")
	cmd.MarkFlagsMutuallyExclusive("desired", "events")
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = t.completeLive
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		object, err := objectArg(args)
		if err != nil {
			return err
		}
		if desired && object == nil {
			return usagef("--desired needs an object, such as deployment/api")
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		switch {
		case events:
			return t.showClusterEvents(ctx, c, p, name, object)
		case object == nil:
			return t.showTree(ctx, c, p, name)
		default:
			return t.showObject(ctx, c, p, name, object, desired)
		}
	})
	return cmd
}

// objectArg reads an object as kubectl takes it: KIND/NAME or KIND NAME, a kind of a group as KIND.GROUP.
func objectArg(args []string) (*driftv1.ObjectRef, error) {
	if len(args) == 0 {
		return nil, nil
	}
	kind, name, ok := strings.Cut(args[0], "/")
	switch {
	case len(args) == 2 && !ok:
		name = args[1]
	case len(args) == 2:
		return nil, usagef("%q names an object already, but %q is given too", args[0], args[1])
	}
	if kind == "" || name == "" || strings.Contains(name, "/") {
		return nil, usagef("%q is no object; give kind and name such as deployment/api", strings.Join(args, " "))
	}
	kind, group, _ := strings.Cut(kind, ".")
	ref := &driftv1.ObjectRef{Kind: kindWord(kind), Name: name}
	if group != "" {
		ref.ApiVersion = group + "/" // any version
	}
	return ref, nil
}

// kindWords are the short names and plurals that people know from kubectl, of the kinds that environments have most.
var kindWords = map[string]string{
	"deploy": "Deployment", "deployments": "Deployment", "sts": "StatefulSet", "statefulsets": "StatefulSet", "ds": "DaemonSet", "daemonsets": "DaemonSet",
	"rs": "ReplicaSet", "replicasets": "ReplicaSet", "po": "Pod", "pods": "Pod", "svc": "Service", "services": "Service", "cm": "ConfigMap",
	"configmaps": "ConfigMap", "secrets": "Secret", "sa": "ServiceAccount", "serviceaccounts": "ServiceAccount", "ing": "Ingress", "ingresses": "Ingress",
	"pvc": "PersistentVolumeClaim", "persistentvolumeclaims": "PersistentVolumeClaim", "hpa": "HorizontalPodAutoscaler",
	"horizontalpodautoscalers": "HorizontalPodAutoscaler", "pdb": "PodDisruptionBudget", "poddisruptionbudgets": "PodDisruptionBudget",
	"netpol": "NetworkPolicy", "networkpolicies": "NetworkPolicy", "jobs": "Job", "cj": "CronJob", "cronjobs": "CronJob",
}

func kindWord(kind string) string {
	if full := kindWords[strings.ToLower(kind)]; full != "" {
		return full
	}
	return kind
}

// node is an object of the tree with its place in it.
type node struct {
	*driftv1.ObjectNode
	depth int
}

var nodeColumns = []column[node]{
	{"OBJECT", false, func(_ *printer, n node) string {
		return strings.Repeat("  ", n.depth) + n.GetObject().GetKind() + "/" + n.GetObject().GetName()
	}},
	{"NAMESPACE", true, func(_ *printer, n node) string { return n.GetObject().GetNamespace() }},
	{"HEALTH", false, func(_ *printer, n node) string { return healthName(n.GetHealth()) }},
	{"READY", false, func(_ *printer, n node) string { return readyText(n.GetPod()) }},
	{"STATUS", false, func(_ *printer, n node) string { return n.GetPod().GetPhase() }},
	{"RESTARTS", false, func(_ *printer, n node) string { return restartsText(n.GetPod()) }},
	{"DRIFT", false, func(_ *printer, n node) string {
		if !n.GetDeclared() && n.GetFindings() == 0 {
			return ""
		}
		return itoa(n.GetFindings())
	}},
	{"AGE", false, func(p *printer, n node) string { return strings.TrimSuffix(p.when(n.GetCreateTime()), " ago") }},
	{"NODE", true, func(_ *printer, n node) string { return n.GetPod().GetNode() }},
	{"MESSAGE", false, func(p *printer, n node) string {
		if p.format == "wide" {
			return n.GetMessage()
		}
		return clip(n.GetMessage(), 60)
	}},
}

func readyText(p *driftv1.PodState) string {
	if p == nil {
		return ""
	}
	ready, all := 0, 0
	for _, c := range p.GetContainers() {
		if c.GetInit() {
			continue
		}
		if all++; c.GetReady() {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, all)
}

func restartsText(p *driftv1.PodState) string {
	if p == nil {
		return ""
	}
	var n int32
	for _, c := range p.GetContainers() {
		n += c.GetRestarts()
	}
	return itoa(n)
}

func (t *tow) showTree(ctx context.Context, c *client, p *printer, env string) error {
	tree, err := c.live.GetObjectTree(ctx, &driftv1.GetObjectTreeRequest{Parent: env})
	if err != nil {
		return err
	}
	depths := map[string]int{}
	nodes := make([]node, 0, len(tree.GetNodes()))
	names := make([]string, 0, len(tree.GetNodes()))
	for _, n := range tree.GetNodes() {
		depth := 0
		if d, owned := depths[n.GetOwnerUid()]; owned && n.GetOwnerUid() != "" {
			depth = d + 1
		}
		depths[n.GetUid()] = depth
		nodes = append(nodes, node{n, depth})
		names = append(names, n.GetObject().GetKind()+"/"+n.GetObject().GetName())
	}
	if done, err := p.structured(tree, names...); done {
		return err
	}
	if len(nodes) == 0 {
		t.notef("%s has no objects", short(env))
	}
	if err := printTable(p, nodes, nodeColumns); err != nil {
		return err
	}
	if tree.GetTruncated() {
		t.notef("there are more objects than are shown; name one to see it")
	}
	return nil
}

func (t *tow) showObject(ctx context.Context, c *client, p *printer, env string, ref *driftv1.ObjectRef, desired bool) error {
	o, err := c.live.GetLiveObject(ctx, &driftv1.GetLiveObjectRequest{Parent: env, Object: ref})
	if err != nil {
		return err
	}
	name := o.GetObject().GetKind() + "/" + o.GetObject().GetName()
	switch {
	case desired && o.GetDesired() == "":
		return usagef("Git does not declare %s: the cluster's controllers made it; leave --desired out", name)
	case desired && p.format != "json" && p.format != "name":
		t.printf("%s", clean(o.GetDesired()))
		return nil
	case p.format == "yaml" && o.GetLive() == "":
		return usagef("%s is not in the cluster; --desired shows what Git says", name)
	case p.format == "yaml":
		t.printf("%s", clean(o.GetLive()))
		return nil
	}
	if done, err := p.structured(o, name); done {
		return err
	}
	return p.liveObject(o)
}

// liveObject shows an object from both sides.
func (p *printer) liveObject(o *driftv1.LiveObject) error {
	ref := o.GetObject()
	var owners []string
	for _, w := range o.GetOwners() {
		owners = append(owners, strings.TrimSpace(fmt.Sprintf("%s (%s, %d fields) %s", w.GetManager(), w.GetOperation(), w.GetFields(), p.when(w.GetTime()))))
	}
	file := o.GetFile()
	if o.GetDesired() == "" {
		file = "not in Git"
	}
	if err := p.fields("Object", ref.GetKind()+"/"+ref.GetName(), "Version", ref.GetApiVersion(), "Namespace", ref.GetNamespace(), "File", file,
		"Health", strings.TrimSpace(healthName(o.GetStatus().GetHealth())+" "+o.GetStatus().GetMessage()), "Written by", strings.Join(owners, "\n"),
		"Findings", liveFindings(o.GetFindings())); err != nil {
		return err
	}
	right := o.GetComparable()
	switch {
	case o.GetDesired() == "":
		_, err := fmt.Fprintf(p.out, "\n%s", clean(o.GetLive()))
		return err
	case o.GetLive() == "":
		right = "(not in the cluster)\n"
	}
	if _, err := fmt.Fprintln(p.out); err != nil {
		return err
	}
	return p.sideBySide("GIT SAYS", "CLUSTER HAS", o.GetDesired(), right)
}

func liveFindings(all []finding) string {
	var lines []string
	for _, f := range all {
		line := findingKind(f.GetKind()) + " " + f.GetField()
		if f.GetStanding() == driftv1.Finding_STANDING_DELEGATED {
			line = "delegated " + f.GetField() + ": " + f.GetRule()
		}
		if f.GetStanding() == driftv1.Finding_STANDING_IGNORED {
			line = "ignored " + f.GetField()
		}
		lines = append(lines, line+" by "+f.GetManager())
	}
	return strings.Join(lines, "\n")
}

// objectEventColumns show the cluster's events, as kubectl does.
var objectEventColumns = []column[*driftv1.ObjectEvent]{
	{"LAST SEEN", false, func(p *printer, e *driftv1.ObjectEvent) string { return p.when(e.GetLastTime()) }},
	{"TYPE", false, func(_ *printer, e *driftv1.ObjectEvent) string { return e.GetType() }},
	{"REASON", false, func(_ *printer, e *driftv1.ObjectEvent) string { return e.GetReason() }},
	{"OBJECT", false, func(_ *printer, e *driftv1.ObjectEvent) string {
		return e.GetObject().GetKind() + "/" + e.GetObject().GetName()
	}},
	{"COUNT", false, func(_ *printer, e *driftv1.ObjectEvent) string { return itoa(e.GetCount()) }},
	{"FIRST SEEN", true, func(p *printer, e *driftv1.ObjectEvent) string { return p.when(e.GetFirstTime()) }},
	{"BY", true, func(_ *printer, e *driftv1.ObjectEvent) string { return e.GetSource() }},
	{"MESSAGE", false, func(p *printer, e *driftv1.ObjectEvent) string { return e.GetMessage() }},
}

func (t *tow) showClusterEvents(ctx context.Context, c *client, p *printer, env string, ref *driftv1.ObjectRef) error {
	l, err := c.live.ListObjectEvents(ctx, &driftv1.ListObjectEventsRequest{Parent: env, Object: ref, PageSize: 1000})
	if err != nil {
		return err
	}
	var names []string
	for _, e := range l.GetEvents() {
		names = append(names, e.GetObject().GetKind()+"/"+e.GetObject().GetName())
	}
	if done, err := p.structured(l, slices.Compact(names)...); done {
		return err
	}
	if len(l.GetEvents()) == 0 {
		t.notef("the cluster tells nothing; it forgets events after a while, an hour by default")
	}
	return printTable(p, l.GetEvents(), objectEventColumns)
}

// completeLive gives the objects of the environment in --env.
func (t *tow) completeLive(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		env, err := envOfFlag(cmd)
		if err != nil {
			return nil, err
		}
		tree, err := c.live.GetObjectTree(ctx, &driftv1.GetObjectTreeRequest{Parent: env})
		var out []string
		for _, n := range tree.GetNodes() {
			out = append(out, cobra.CompletionWithDesc(strings.ToLower(n.GetObject().GetKind())+"/"+n.GetObject().GetName(), healthName(n.GetHealth())))
		}
		return out, err
	})
}
