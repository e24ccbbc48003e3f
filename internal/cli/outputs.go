package cli

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

type resourceOutputs = *rendererv1.ResourceOutputs

var outputsColumns = []column[resourceOutputs]{
	{"RESOURCE", false, func(_ *printer, m resourceOutputs) string { return m.GetResource() }},
	{"VERSION", false, func(_ *printer, m resourceOutputs) string { return strconv.FormatInt(m.GetVersion(), 10) }},
	{"OUTPUTS", false, func(_ *printer, m resourceOutputs) string { return outputsText(m) }},
}

// outputsText gives the outputs in the order of their names; secret ones as what they refer to.
func outputsText(m resourceOutputs) string {
	var out []string
	for name, v := range m.GetValues().GetFields() {
		text, isText := v.AsInterface().(string)
		if !isText {
			b, err := protojson.Marshal(v)
			if err != nil {
				b = []byte("?")
			}
			text = string(b)
		}
		out = append(out, name+"="+text)
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetSecrets())) {
		ref := m.GetSecrets()[name]
		out = append(out, name+"=secret "+ref.GetName()+"/"+ref.GetKey())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (t *tow) outputsCmd() *cobra.Command {
	var env, format string
	cmd := &cobra.Command{
		Use: "outputs -e APP/ENV", Short: "Show what the cluster has said of the environment's claims", Args: noArgs,
		Long: `Shows the outputs of the resources that a cluster makes of claims, such as a database of a cloud: what workloads read as
${resources.NAME.OUTPUT}. A deployment that needs outputs which are not here yet waits in PROVISIONING. Secrets are shown as what they
refer to; their values never leave the cluster.`,
		Example: "  tow outputs -e shop/dev\n  tow outputs -e shop/dev -o json",
	}
	t.envFlagVar(cmd, &env, "the environment, such as shop/dev")
	t.outputFlag(cmd, &format)
	cmd.RunE = t.run(func(ctx context.Context, _ []string) error {
		name, err := envFlag(env)
		if err != nil {
			return err
		}
		p, err := t.printer(format)
		if err != nil {
			return err
		}
		c, err := t.api()
		if err != nil {
			return err
		}
		definitions := catalogv1.NewDefinitionServiceClient(c.conn)
		items, err := pages(ctx, func(ctx context.Context, size int32, token string) ([]resourceOutputs, string, error) {
			l, err := definitions.ListResourceOutputs(ctx, &catalogv1.ListResourceOutputsRequest{Parent: name, PageSize: size, PageToken: token})
			return l.GetOutputs(), l.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		var names []string
		for _, m := range items {
			names = append(names, m.GetResource())
		}
		if done, err := p.structured(&catalogv1.ListResourceOutputsResponse{Outputs: items}, names...); done {
			return err
		}
		if len(items) == 0 {
			t.notef("no outputs: nothing that %s asks for is made by a claim, or the cluster has not said anything yet", short(name))
		}
		return printTable(p, items, outputsColumns)
	})
	return cmd
}

// provisioningField is the flag of an environment type that bounds the wait for outputs.
func provisioningField(fs *pflag.FlagSet) field[environmentType] {
	v := fs.Duration("provisioning-deadline", 0, "how long a deployment waits for outputs of claims before it fails; 0 means 10 minutes")
	return field[environmentType]{"provisioning-deadline", "provisioning_deadline", func(m environmentType) error {
		m.ProvisioningDeadline = nil
		if *v != 0 {
			m.ProvisioningDeadline = durationpb.New(*v)
		}
		return nil
	}}
}
