package render

import rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"

// Traced renders as Explain does.
func Traced(input *rendererv1.RenderInput) (*rendererv1.RenderResponse, error) {
	return traced(input, Options{}, false, newTrace())
}

// Others and SplitPath are how a definition's params are tried, and paths taken apart.
var (
	Others    = others
	SplitPath = splitPath
)
