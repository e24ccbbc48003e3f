package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

// maxRequestLimit is the most that --request-limit takes.
const maxRequestLimit = 10000

// accessText says how a target's cluster is reached, in one cell.
func accessText(m target) string {
	switch {
	case m.GetServer() != "":
		return m.GetServer() + " by " + m.GetCredentials()
	case m.GetCredentials() != "":
		return "credentials " + m.GetCredentials()
	default:
		return m.GetKubeconfig()
	}
}

func (t *tow) targetStatusCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "status NAME", Short: "Show whether a target's cluster answers, and who watches it", Args: exactArgs("the id of a target"),
		Long: `Shows whether the cluster answers, since when, its version, and the drift processes that watch it with their shares:
environments, objects, watches, and the requests that each has made since its start. What is wrong is told with how to
mend it. The exit code is 3 while the cluster cannot be reached.`,
		Example: "  tow target status production-eu\n  tow target status production-eu -o json",
	}
	t.outputFlag(cmd, &format)
	cmd.ValidArgsFunction = completeOnce(t.targets().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		name, err := targetName(args[0])
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		st, err := c.drift.GetTargetStatus(ctx, &driftv1.GetTargetStatusRequest{Name: name + "/status"})
		if err != nil {
			return err
		}
		if done, err := p.structured(st, name); err != nil {
			return err
		} else if !done {
			t.tellTarget(p, st)
		}
		if !st.GetReachable() {
			return &exitCodeError{exitNotWell, errors.New("the cluster of " + short(name) + " cannot be reached")}
		}
		return nil
	})
	return cmd
}

func (t *tow) tellTarget(p *printer, st *driftv1.TargetStatus) {
	state := p.paint(green, "reachable")
	if !st.GetReachable() {
		state = p.paint(red, "NOT REACHABLE")
	}
	t.printf("Cluster    %s since %s\n", state, p.when(st.GetChangeTime()))
	t.printf("Version    %s\n", clean(cmp.Or(st.GetVersion(), "-")))
	t.printf("Last seen  %s\n", p.when(st.GetSeenTime()))
	if st.GetMessage() != "" {
		t.printf("Problem    %s\n", clean(st.GetMessage()))
	}
	t.printf("\n%-32s %12s %8s %8s %10s\n", "PROCESS", "ENVIRONMENTS", "OBJECTS", "WATCHES", "REQUESTS")
	for _, r := range st.GetReplicas() {
		t.printf("%-32s %12s %8s %8s %10s\n", clean(r.GetReplica()), fmt.Sprint(r.GetEnvironments()), fmt.Sprint(r.GetObjects()),
			fmt.Sprint(r.GetWatches()), strconv.FormatInt(r.GetRequests(), 10))
	}
}
