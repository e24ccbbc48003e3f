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
	text = clean(text)
	if !p.colour {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		body := strings.TrimSuffix(line, "\n")
		colour := ""
		switch sign := strings.TrimLeft(body, " "); {
		case strings.HasPrefix(sign, "~ "):
			colour = yellow
		case strings.HasPrefix(sign, "+"):
			colour = green
		case strings.HasPrefix(sign, "-"):
			colour = red
		case strings.HasPrefix(sign, "@@"):
			colour = cyan
		}
		b.WriteString(p.paint(colour, body) + line[len(body):])
	}
	return b.String()
}
