package document

import (
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/archive"

	"google.golang.org/protobuf/types/known/structpb"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// WithArchive reads a resource definition whose file may say where its chart or base is: `archive` is the path of a folder or .tgz,
// relative to the file. It is empty where the file does not say.
func WithArchive(text []byte) (d *rendererv1.ResourceDefinition, path string, err error) {
	fields, err := object(text)
	if err != nil {
		return nil, "", err
	}
	if _, named := fields["name"]; named {
		return nil, "", errs.InvalidField("name", "is not part of the file; the catalog names each version")
	}
	if given, ok := fields["archive"]; ok {
		if path, ok = given.(string); !ok || path == "" {
			return nil, "", errs.InvalidField("archive", "is not the path of a folder or .tgz, relative to this file")
		}
		delete(fields, "archive")
	}
	d = &rendererv1.ResourceDefinition{}
	if err := fill(d, fields, ""); err != nil {
		return nil, "", err
	}
	return d, path, nil
}

// digestInput is the input that names a driver's archive.
func digestInput(driver rendererv1.ResourceDefinition_Driver) string {
	switch driver {
	case rendererv1.ResourceDefinition_DRIVER_HELM:
		return "chart"
	case rendererv1.ResourceDefinition_DRIVER_KUSTOMIZE:
		return "base"
	default:
		return ""
	}
}

// PutArchive gives a definition its archive, and writes the digest into the inputs where they leave it open: with "." or nothing.
func PutArchive(d *rendererv1.ResourceDefinition, data []byte) error {
	key := digestInput(d.GetDriver())
	if key == "" {
		return errs.InvalidField("archive", "is for the drivers helm and kustomize; this definition has another one")
	}
	d.Archive = data
	if d.GetInputs() == nil {
		d.Inputs = &structpb.Struct{}
	}
	if d.GetInputs().GetFields() == nil {
		d.Inputs.Fields = map[string]*structpb.Value{}
	}
	if given := d.GetInputs().GetFields()[key]; given == nil || given.GetStringValue() == "." {
		d.Inputs.Fields[key] = structpb.NewStringValue(archive.Digest(data))
	}
	return nil
}
