package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/provisioner"
)

// provisionerFiles reads provisioner files, or all of a folder, as resource definitions. What one should know goes to standard error.
func (t *tow) provisionerFiles(names []string) ([]*rendererv1.ResourceDefinition, error) {
	if len(names) == 0 {
		return nil, nil
	}
	files := map[string][]byte{}
	for _, name := range names {
		paths, err := provisionersIn(name)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if files[filepath.ToSlash(path)], err = readLimited(path); err != nil {
				return nil, err
			}
		}
	}
	loaded, err := provisioner.Load(files)
	if err != nil {
		return nil, err
	}
	for _, w := range loaded.Warnings {
		t.notef("warning: %s", w)
	}
	return loaded.Definitions, nil
}

// provisionersIn gives the file itself, or the provisioner files of a folder.
func provisionersIn(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, usagef("%v", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	out, err := filesIn(name, isProvisionerFile)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, usagef("%s holds no file that ends in %s", name, provisioner.Suffix)
	}
	return out, nil
}

func isProvisionerFile(name string) bool { return strings.HasSuffix(name, provisioner.Suffix) }

type importFlags struct {
	message, format  string
	activate, dryRun bool
}

func (t *tow) importCmd() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "import FILE...", Short: "Propose the provisioners of a Score provisioner file as resource definitions", Args: someArgs("provisioner files, or folders of them"),
		Long: `Reads provisioner files of the Score community (*.provisioners.yaml, as score-k8s takes them) and proposes each provisioner as a version
of a resource definition, which is created where there is none of that name. Who answers is the same as there: the first entry that fits,
in the order of the files' names. With --dry-run nothing is sent; what would be proposed is shown.

Provisioners that run programs (cmd://) are not executed. docs/provisioners.md tells what becomes of random values and secrets.`,
		Example: `  tow definition import 10-postgres.provisioners.yaml --dry-run
  tow definition import .score-k8s/ -m "as in score-k8s" --activate`,
	}
	cmd.Flags().StringVarP(&f.message, "message", "m", "", "what is different to the versions before")
	cmd.Flags().BoolVar(&f.activate, "activate", false, "activate each version too")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "send nothing; show what would be proposed")
	t.outputFlag(cmd, &f.format)
	cmd.RunE = t.run(func(ctx context.Context, args []string) error { return t.importProvisioners(ctx, args, f) })
	return cmd
}

func (t *tow) importProvisioners(ctx context.Context, args []string, f importFlags) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	if f.dryRun && f.activate {
		return usagef("--dry-run sends nothing, so that there is nothing to activate")
	}
	found, err := t.provisionerFiles(args)
	if err != nil {
		return err
	}
	var versions []*catalogv1.DefinitionVersion
	for _, d := range found {
		v := &catalogv1.DefinitionVersion{Name: d.GetName(), Content: d, Message: f.message}
		if !f.dryRun {
			if v, err = t.importOne(ctx, d, f); err != nil {
				return fmt.Errorf("%s: %w", last(d.GetName()), err)
			}
		}
		versions = append(versions, v)
	}
	if f.format != "table" && f.format != "wide" {
		return printList(p, &catalogv1.ListDefinitionVersionsResponse{DefinitionVersions: versions}, versions, versionColumns)
	}
	return printTable(p, versions, importColumns)
}

var importColumns = []column[*catalogv1.DefinitionVersion]{
	{"DEFINITION", false, func(_ *printer, m *catalogv1.DefinitionVersion) string {
		name, _, _ := strings.Cut(m.GetName(), "/versions/")
		return last(name)
	}},
	{"VERSION", false, func(_ *printer, m *catalogv1.DefinitionVersion) string {
		_, number, _ := strings.Cut(m.GetName(), "/versions/")
		return orDash(number)
	}},
	{"STATE", false, func(_ *printer, m *catalogv1.DefinitionVersion) string {
		return orDash(strings.TrimPrefix(strings.TrimPrefix(m.GetState().String(), "STATE_"), "UNSPECIFIED"))
	}},
	{"TYPE", false, func(_ *printer, m *catalogv1.DefinitionVersion) string { return m.GetContent().GetType() }},
	{"CLASS", false, func(_ *printer, m *catalogv1.DefinitionVersion) string { return m.GetContent().GetClass() }},
	{"RESOURCE ID", false, func(_ *printer, m *catalogv1.DefinitionVersion) string { return criteriaIDs(m.GetContent()) }},
	{"DESCRIPTION", true, func(_ *printer, m *catalogv1.DefinitionVersion) string { return descriptionOf(m.GetContent()) }},
}

func criteriaIDs(d *rendererv1.ResourceDefinition) string {
	var out []string
	for _, c := range d.GetCriteria() {
		if c.GetResId() == "" {
			return "any" // the others are only there to win against later entries
		}
		out = append(out, c.GetResId())
	}
	if len(out) == 0 {
		return "any"
	}
	return strings.Join(out, " ")
}

func descriptionOf(d *rendererv1.ResourceDefinition) string {
	return d.GetInputs().GetFields()["description"].GetStringValue()
}

// importOne proposes a definition, and activates it where that is asked for.
func (t *tow) importOne(ctx context.Context, d *rendererv1.ResourceDefinition, f importFlags) (*catalogv1.DefinitionVersion, error) {
	c, err := t.api()
	if err != nil {
		return nil, err
	}
	name, content := d.GetName(), d
	_, err = c.definitions().GetResourceDefinition(ctx, &catalogv1.GetResourceDefinitionRequest{Name: name})
	if errs.Is(err, errs.NotFound) {
		_, err = c.definitions().CreateResourceDefinition(ctx, &catalogv1.CreateResourceDefinitionRequest{
			ResourceDefinitionId: last(name), RequestId: newRequestID(), ResourceDefinition: &catalogv1.ResourceDefinition{Description: descriptionOf(d)},
		})
	}
	if err != nil {
		return nil, err
	}
	content.Name = ""
	v, err := c.definitions().CreateDefinitionVersion(ctx, &catalogv1.CreateDefinitionVersionRequest{
		Parent: name, RequestId: newRequestID(), DefinitionVersion: &catalogv1.DefinitionVersion{Content: content, Message: f.message},
	})
	if err != nil || !f.activate {
		return v, err
	}
	return c.definitions().ActivateDefinition(ctx, &catalogv1.ActivateDefinitionRequest{Name: v.GetName()})
}
