package guardrail

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/towpath-dev/towpath/services/renderer/document"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

//go:embed starter/*.yaml
var starter embed.FS

// Starter gives guardrails to begin with, by name.
func Starter() ([]*rendererv1.Guardrail, error) {
	names, err := fs.Glob(starter, "starter/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("the starter set: %w", err)
	}
	var out []*rendererv1.Guardrail
	for _, name := range names {
		text, err := starter.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("the starter set: %w", err)
		}
		list, err := document.Guardrails(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, list...)
	}
	return out, nil
}
