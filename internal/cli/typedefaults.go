package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/towpath-dev/towpath/services/renderer/document"
)

// defaultsFile makes the field of a flag that names a file of defaults. The file has all of them: an empty one takes all away. Flags
// for single defaults come after it.
func defaultsFile(fs *pflag.FlagSet) field[environmentType] {
	file := fs.String("defaults-file", "", "a YAML file with all that is added to workloads: requests, limits, network, autoscaling and others, see docs/workloads.md")
	return field[environmentType]{"defaults-file", "defaults", func(m environmentType) error {
		if *file == "" {
			return nil
		}
		text, err := readLimited(*file)
		if err != nil {
			return err
		}
		m.Defaults, err = document.Defaults(text)
		return err
	}}
}

// besideFile lets flags that are not given leave alone what the file of defaults says: a creation asks every flag for its value.
func besideFile(fs *pflag.FlagSet, fields []field[environmentType]) []field[environmentType] {
	for i, f := range fields {
		if strings.HasPrefix(f.path, "defaults.") {
			fields[i].set = func(m environmentType) error {
				if fs.Changed("defaults-file") && !fs.Changed(f.flag) {
					return nil
				}
				return f.set(m)
			}
		}
	}
	return fields
}

func (t *tow) describeTypeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Show an environment type with all that it adds to workloads", Args: exactArgs("the id of an environment type"),
		Long: `Shows an environment type: who must agree, when nothing is deployed, and what it adds to workloads, in the form that --defaults-file
reads.`,
		Example: "  tow type describe production",
	}
	cmd.ValidArgsFunction = completeOnce(t.environmentTypes().completer(t))
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		p, err := t.printer("table")
		if err != nil {
			return err
		}
		m, err := t.environmentTypes().fetch(ctx, t, args[0])
		if err != nil {
			return err
		}
		defaults, err := document.DefaultsText(m.GetDefaults())
		if err != nil {
			return err
		}
		var rules []string
		for _, g := range m.GetGuardrails() {
			rules = append(rules, g.GetName()+": "+g.GetMessage())
		}
		return p.fields(
			"Environment type", short(m.GetName()), "Title", m.GetDisplayName(), "Target", short(m.GetTarget()), "Repository", short(m.GetRepository()), "Sync", syncMode(m),
			"Self-heal", yesNo(m.GetSelfHeal()), "Writes", writeModeText(m.GetWriteMode()), "Approvals", itoa(m.GetApprovals().GetRequired()), "Freezes", freezeText(m),
			"Sync policy", syncPolicyText(m.GetSyncPolicy()), "Guardrails", strings.Join(rules, "\n"), "Created", p.when(m.GetCreateTime())+" by "+m.GetCreateActor(), "Defaults", defaults)
	})
	return cmd
}
