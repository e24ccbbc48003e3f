package render

import (
	"fmt"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/definition"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// Options say where rendering does its work. They change no byte of what it makes.
type Options struct {
	// Maker makes the resources whose definitions an organisation has written. Without one they are made here, where nothing but
	// counted limits ends them, and those that need Helm or kustomize are an error.
	Maker definition.Maker
}

// With is Render with options.
func With(input *rendererv1.RenderInput, opts Options) (*rendererv1.RenderResponse, error) {
	return render(input, opts, false)
}

// ClaimsWith is Claims with options.
func ClaimsWith(input *rendererv1.RenderInput, opts Options) (*rendererv1.RenderResponse, error) {
	return render(input, opts, true)
}

// make makes one resource where the options say.
func (o Options) make(d *definition.Definition, req *definition.Request) (definition.Result, error) {
	if o.Maker == nil || d.Trusted() {
		return d.Make(req)
	}
	return o.Maker.Make(d, req)
}

// maxArchives is how large the archives of one input may be together, in bytes. They do not count as input else. Input and archives
// together must fit into one message of package events.
const maxArchives = 12 << 20

func archives(input *rendererv1.RenderInput) (n int) {
	for _, d := range input.GetDefinitions() {
		n += len(d.GetArchive())
	}
	return n
}

func checkArchives(input *rendererv1.RenderInput) error {
	n := archives(input)
	if n <= maxArchives {
		return nil
	}
	e := errs.InvalidField("input.definitions", "have archives of %d bytes together, the limit is %d: make charts and bases smaller", n, maxArchives)
	e.Reason = errorsv1.Reason_REASON_TOO_LARGE
	return e.With("limit", fmt.Sprint(maxArchives)).With("field", "input.definitions")
}
