package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

func (t *tow) logsCmd() *cobra.Command {
	var env, workload, container string
	var follow, previous bool
	var tail int32
	var since time.Duration
	cmd := &cobra.Command{
		Use: "logs -e APP/ENV {-w WORKLOAD | POD}", Short: "Show what a container writes", Args: rangeArgs(0, "a pod"),
		Long: `Shows what a container has written: of the named pod, or with -w of the newest pod of a workload. -f goes on until Ctrl-C. It needs a
right of its own, because programs may write anything. A cluster that keeps no logs says so, and the exit code is 7.`,
		Example: `  tow logs -e shop/dev -w api
  tow logs -e shop/dev -w api -f --tail 20
  tow logs -e shop/dev api-6d4cf56db6-x7k2p -c main --previous`,
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	cmd.Flags().StringVarP(&workload, "workload", "w", "", "the workload, of which the newest pod is taken")
	cmd.Flags().StringVarP(&container, "container", "c", "", "the container (default: the one that the pod names, or its first)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	cmd.Flags().BoolVarP(&previous, "previous", "p", false, "what the container wrote before it was started anew")
	cmd.Flags().Int32Var(&tail, "tail", 0, "only so many lines from the end, at most 100000 (default 1000)")
	cmd.Flags().DurationVar(&since, "since", 0, "only what is not older than this, such as 10m")
	cmd.MarkFlagsMutuallyExclusive("follow", "previous")
	complete(cmd, "workload", t.completeWorkloads)
	complete(cmd, "container", t.completeContainers)
	cmd.ValidArgsFunction = completeOnce(t.completePods)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		req := &driftv1.StreamLogsRequest{Parent: name, Workload: workload, Container: container, Follow: follow, Previous: previous, TailLines: tail}
		switch {
		case len(args) == 1 && workload != "":
			return usagef("a pod and --workload are given; one of them is enough")
		case len(args) == 0 && workload == "":
			return usagef("of what? give -w WORKLOAD or a pod; `tow get -e %s` lists them", short(name))
		case tail < 0 || since < 0:
			return usagef("--tail and --since cannot be negative")
		case len(args) == 1:
			req.Pod = strings.TrimPrefix(strings.TrimPrefix(args[0], "pod/"), "Pod/")
		}
		if since > 0 {
			req.SinceTime = timestamppb.New(t.Now().Add(-since))
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		return t.copyLog(ctx, c, req)
	})
	return cmd
}

// copyLog writes a log to standard output as it comes. Whose it is goes beside it, at a terminal only.
func (t *tow) copyLog(ctx context.Context, c *client, req *driftv1.StreamLogsRequest) error {
	stream, err := c.live.StreamLogs(ctx, req)
	if err != nil {
		return err
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if chunk.GetPod() != "" && t.OutTerminal {
			t.notef("pod %s, container %s", chunk.GetPod(), chunk.GetContainer())
		}
		text := string(chunk.GetText())
		if t.OutTerminal {
			text = clean(text) // into a file it goes as it is
		}
		if _, err := io.WriteString(t.Stdout, text); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
}

// podsOf gives the pods of the environment in --env.
func podsOf(ctx context.Context, cmd *cobra.Command, c *client) ([]*driftv1.ObjectNode, error) {
	env, err := envOfFlag(cmd)
	if err != nil {
		return nil, err
	}
	tree, err := c.live.GetObjectTree(ctx, &driftv1.GetObjectTreeRequest{Parent: env})
	var out []*driftv1.ObjectNode
	for _, n := range tree.GetNodes() {
		if n.GetPod() != nil {
			out = append(out, n)
		}
	}
	return out, err
}

func (t *tow) completePods(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		pods, err := podsOf(ctx, cmd, c)
		var out []string
		for _, n := range pods {
			out = append(out, cobra.CompletionWithDesc(n.GetObject().GetName(), n.GetPod().GetPhase()))
		}
		return out, err
	})
}

func (t *tow) completeContainers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return t.ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
		pods, err := podsOf(ctx, cmd, c)
		seen := map[string]bool{}
		var out []string
		for _, n := range pods {
			for _, s := range n.GetPod().GetContainers() {
				if (len(args) == 0 || args[0] == n.GetObject().GetName()) && !seen[s.GetName()] {
					seen[s.GetName()] = true
					out = append(out, cobra.CompletionWithDesc(s.GetName(), s.GetImage()))
				}
			}
		}
		return out, err
	})
}
