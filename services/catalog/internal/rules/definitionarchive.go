package rules

import (
	"strings"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// ArchiveDigest gives the SHA-256 in hex of the chart or base that a definition names, empty for a definition that names none.
func ArchiveDigest(d *rendererv1.ResourceDefinition) string {
	key := ""
	switch d.GetDriver() {
	case rendererv1.ResourceDefinition_DRIVER_HELM:
		key = "chart"
	case rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE:
		key = "base"
	default:
		return ""
	}
	return strings.TrimPrefix(d.GetInputs().GetFields()[key].GetStringValue(), "sha256:")
}
