package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/jsonptr"
)

func (t *tow) promoteCmd() *cobra.Command {
	var s shipment
	var workloads []string
	cmd := &cobra.Command{
		Use: "promote FROM TO", Short: "Deploy what one environment runs to another one",
		Args: exactArgs("the environment to copy from, such as shop/dev", "the environment to copy to, such as shop/staging"),
		Long: `Copies the workloads of the deployment that runs in one environment to another one. Variables and what was set with
` + "`tow set -w`" + ` belong to an environment and stay behind. With --workload only these are copied, beside what is there.`,
		Example: `  tow promote shop/dev shop/staging --plan
  tow promote shop/dev shop/staging --workload api --wait`,
	}
	s.bindMessage(cmd)
	s.bindWait(t, cmd)
	s.bindPlan(cmd)
	cmd.Flags().StringSliceVar(&workloads, "workload", nil, "copy this workload only; repeat it for several")
	complete(cmd, "workload", noCompletion)
	cmd.ValidArgsFunction = t.completeEnvs
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		names, err := eachName(args, envName)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		d, err := c.GetDeployment(ctx, &catalogv1.GetDeploymentRequest{Name: names[0] + "/" + deployments + "/active"})
		if err != nil {
			return err
		}
		change, err := promotion(ctx, c, d, workloads)
		if err != nil {
			return err
		}
		if s.message == "" {
			s.message = fmt.Sprintf("promote %s", short(d.GetName()))
		}
		return t.ship(ctx, &s, names[1], change)
	})
	return cmd
}

// promotion is the change that copies a deployment's set, or some of its workloads.
func promotion(ctx context.Context, c *client, from *catalogv1.Deployment, workloads []string) (*catalogv1.Change, error) {
	if len(workloads) == 0 {
		return &catalogv1.Change{Set: from.GetIntent().GetSet()}, nil
	}
	set, err := c.GetSet(ctx, &catalogv1.GetSetRequest{Name: from.GetIntent().GetSet()})
	if err != nil {
		return nil, err
	}
	change := &catalogv1.Change{}
	for _, w := range workloads {
		doc, ok := set.GetWorkloads()[w]
		if !ok {
			return nil, missing("%s has no workload %q", short(from.GetName()), w).With("tow_hint", oneOf("workloads", slices.Sorted(maps.Keys(set.GetWorkloads()))))
		}
		change.SetOperations = append(change.SetOperations, &rendererv1.Operation{
			Action: rendererv1.Operation_ACTION_SET, Path: jsonptr.Join("workloads", w), Value: structpb.NewStructValue(doc),
		})
	}
	return change, nil
}
