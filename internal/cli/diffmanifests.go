package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// manifestsFlags are those of `tow diff` that are about Kubernetes objects.
type manifestsFlags struct {
	manifests bool
	format    string
}

func (f *manifestsFlags) bind(t *tow, cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.manifests, "manifests", false, "show the difference in Kubernetes objects, field by field")
	t.outputFlag(cmd, &f.format)
}

// diffManifests compares what two deployments made of Kubernetes objects.
func (t *tow) diffManifests(ctx context.Context, f manifestsFlags, names [2]string) error {
	p, err := t.printer(f.format)
	if err != nil {
		return err
	}
	c, err := t.api()
	if err != nil {
		return err
	}
	diff, err := catalogv1.NewManifestServiceClient(c.conn).DiffManifests(ctx, &catalogv1.DiffManifestsRequest{From: names[0], To: names[1]})
	if err != nil {
		return err
	}
	var objects []string
	for _, o := range diff.GetObjects() {
		objects = append(objects, strings.ToLower(o.GetObject().GetKind())+"/"+o.GetObject().GetName())
	}
	if done, err := p.structured(diff, objects...); done {
		return err
	}
	t.notef("%s -> %s", short(names[0]), short(names[1]))
	if len(diff.GetObjects()) == 0 {
		t.notef("no difference")
	}
	_, err = io.WriteString(p.out, p.differences(diff.GetText()))
	return err
}

// differences colours the text of a difference of objects.
func (p *printer) differences(text string) string {
	return p.colourLines(text, func(line string) string {
		switch sign := strings.TrimLeft(line, " "); {
		case strings.HasPrefix(sign, "~ "):
			return yellow
		case strings.HasPrefix(sign, "+"):
			return green
		case strings.HasPrefix(sign, "-"):
			return red
		case strings.HasPrefix(sign, "@@"):
			return cyan
		}
		return ""
	})
}
