package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

func (t *tow) setImageCmd() *cobra.Command {
	var s shipment
	var container string
	cmd := &cobra.Command{
		Use: "set-image WORKLOAD IMAGE -e APP/ENV", Short: "Deploy another image of a workload",
		Args: exactArgs("a workload", "an image"),
		Long: `Sets the image of a workload's container and deploys that. It changes the workload's own document, which is what promotion
copies; where this environment had an image of its own for the container, that gives way.`,
		Example: `  tow set-image api registry.example.com/shop/api:1.4.2 -e shop/dev --wait
  tow set-image api registry.example.com/shop/proxy:3 -c proxy -e shop/dev --plan`,
	}
	s.bind(t, cmd)
	cmd.Flags().StringVarP(&container, "container", "c", "", "the workload's container; not needed when it has one only")
	cmd.ValidArgsFunction = completeOnce(t.completeWorkloads)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if s.plan {
			change, err := imageChange(ctx, c, env, args[0], container, args[1])
			if err != nil {
				return err
			}
			return t.ship(ctx, &s, env, change)
		}
		if _, err := t.printer(s.output); err != nil {
			return err
		}
		d, err := c.SetImage(ctx, &catalogv1.SetImageRequest{
			Name: env, Workload: args[0], Container: container, Image: args[1], Message: s.message, RequestId: s.id(), PlanHash: s.planHash,
		})
		if err != nil {
			return err
		}
		return t.shipped(ctx, &s, d)
	})
	return cmd
}

// imageChange is what the server makes of a new image, for a plan.
func imageChange(ctx context.Context, c *client, env, workload, container, image string) (*catalogv1.Change, error) {
	e, set, err := intentOf(ctx, c, env)
	if err != nil {
		return nil, err
	}
	if container, err = containerOf(set, env, workload, container); err != nil {
		return nil, err
	}
	path := jsonptr.Join("workloads", workload, "containers", container, "image")
	op := &rendererv1.Operation{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: structpb.NewStringValue(image)}
	change := &catalogv1.Change{SetOperations: []*rendererv1.Operation{op}}
	overlay := e.GetIntent().GetOverlay()
	switch {
	case slices.ContainsFunc(overlay, func(o *rendererv1.Operation) bool { return strings.HasPrefix(path, o.GetPath()+"/") }):
		change.OverlayOperations = []*rendererv1.Operation{op}
	case slices.ContainsFunc(overlay, func(o *rendererv1.Operation) bool { return o.GetPath() == path }):
		change.OverlayDrops = []string{path}
	}
	return change, nil
}

func (t *tow) scaleCmd() *cobra.Command {
	var s shipment
	cmd := &cobra.Command{
		Use: "scale WORKLOAD REPLICAS -e APP/ENV", Short: "Change how many replicas of a workload run in an environment",
		Args: exactArgs("a workload", "the number of its replicas"),
		Long: `Sets how many replicas of a workload run in this environment and deploys that. The number belongs to the environment: it stays
when the Score file is deployed again, and promotion leaves it behind.`,
		Example: `  tow scale api 3 -e shop/production --wait
  tow scale worker 0 -e shop/dev --plan`,
	}
	s.bind(t, cmd)
	cmd.ValidArgsFunction = completeOnce(t.completeWorkloads)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		env, err := envFlag(s.env)
		if err != nil {
			return err
		}
		replicas, err := strconv.ParseInt(args[1], 10, 32)
		if err != nil || replicas < 0 {
			return usagef("%q is no number of replicas; give a whole number from 0", args[1])
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		if s.plan {
			return t.ship(ctx, &s, env, scaleChange(args[0], int32(replicas)))
		}
		if _, err := t.printer(s.output); err != nil {
			return err
		}
		d, err := c.ScaleWorkload(ctx, &catalogv1.ScaleWorkloadRequest{
			Name: env, Workload: args[0], Replicas: int32(replicas), Message: s.message, RequestId: s.id(), PlanHash: s.planHash,
		})
		if err != nil {
			return err
		}
		return t.shipped(ctx, &s, d)
	})
	return cmd
}

// scaleChange is what the server makes of a number of replicas, for a plan.
func scaleChange(workload string, replicas int32) *catalogv1.Change {
	return &catalogv1.Change{OverlayOperations: []*rendererv1.Operation{{
		Action: rendererv1.Operation_ACTION_SET, Path: jsonptr.Join("workloads", workload, "metadata", "annotations", "towpath.dev/replicas"),
		Value: structpb.NewStringValue(strconv.Itoa(int(replicas))),
	}}}
}
