package definition

import (
	"fmt"
	"strings"
	"sync"

	"github.com/towpath-dev/towpath/services/renderer/archive"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// maxObjects is how many objects one resource may be made of.
const maxObjects = 1000

// archived is the driver of Helm charts and kustomize bases: templates say with what the archive is rendered, and an engine
// renders it.
type archived struct {
	definition
	kind   rendererv1.ResourceDefinition_Driver
	data   []byte
	values *program
	// release makes the name of a Helm release, nil for the resource's own.
	release *program

	once  sync.Once
	files archive.Files
	err   error
}

// newHelm compiles the driver of Helm charts.
func newHelm(spec *rendererv1.ResourceDefinition, in *inputs) driver {
	d := newArchived(spec, in, "chart", "values", "text: a template that writes the chart's values")
	release := take[string](in, "release", "text: a template of the release's name")
	d.references = append(d.references, in.refer("inputs.release", release)...)
	if err := (stage{"release", release, &d.release}).compile(spec.GetType()); err != nil {
		in.fail("inputs.release", problemOf(err))
	}
	return d
}

// newKustomize compiles the driver of kustomize bases.
func newKustomize(spec *rendererv1.ResourceDefinition, in *inputs) driver {
	return newArchived(spec, in, "base", "kustomization", "text: a template that writes a kustomization")
}

func newArchived(spec *rendererv1.ResourceDefinition, in *inputs, what, values, expected string) *archived {
	d := &archived{definition: definition{file: file{Type: spec.GetType()}}, kind: spec.GetDriver(), data: spec.GetArchive()}
	digest := take[string](in, what, "text: the digest of the archive, sha256:…")
	switch got := archive.Digest(d.data); {
	case len(d.data) == 0:
		in.fail("archive", "is missing; name the chart or base with archive: FOLDER in the file, or with tow definition propose NAME -f FILE --archive FOLDER")
	case len(d.data) > archive.MaxSize:
		in.fail("archive", fmt.Sprintf("is %d bytes, the limit is %d", len(d.data), archive.MaxSize))
	case !archive.IsDigest(digest):
		in.fail("inputs."+what, "is not the digest of the archive; write "+what+": "+got)
	case digest != got:
		in.fail("inputs."+what, "is not the digest of the archive that was sent, which is "+got)
	}
	text := take[string](in, values, expected)
	d.Outputs = take[string](in, "outputs", "text: a template that writes a map")
	for _, s := range []stage{{values, text, &d.values}, {"outputs", d.Outputs, &d.outputs}} {
		d.references = append(d.references, in.refer("inputs."+s.name, s.text)...)
		if err := s.compile(spec.GetType()); err != nil {
			in.fail("inputs."+s.name, problemOf(err))
		}
	}
	return d
}

// unpacked gives the archive's files. They are read when they are needed first, which is in a worker.
func (d *archived) unpacked() (archive.Files, error) {
	d.once.Do(func() { d.files, d.err = archive.Unpack(d.data) })
	return d.files, d.err
}

func (d *archived) make(req *Request) (Result, error) {
	result := Result{Outputs: map[string]any{}}
	engine := req.engines.of(d.kind)
	if engine == nil {
		return result, withoutEngine(d.kind).With("resource", req.Uid)
	}
	files, err := d.unpacked()
	if err != nil {
		return result, failed(req, "archive", "its archive "+err.Error())
	}
	req.Init, req.State, req.Shared = map[string]any{}, map[string]any{}, map[string]any{}
	in := EngineInput{Name: req.Name, Namespace: req.Namespace, Values: map[string]any{}}
	if err := d.stage(req, "values", d.values, &in.Values); err != nil {
		return result, err
	}
	if HasSecret(in.Values) {
		return result, failed(req, "values", "its values hold a secret as text; give the chart or base the Secret's name and key instead, which "+
			"${resources['TYPE'].outputs.NAME.secret_name} and ….secret_key are")
	}
	if in.Name, err = d.releaseName(req); err != nil {
		return result, err
	}
	made, err := engine.Render(files, in)
	if err != nil {
		return result, failed(req, "archive", err.Error())
	}
	result.Warnings = made.Warnings
	if result.Manifests, err = d.objects(req, made.Objects); err != nil {
		return result, err
	}
	req.State = map[string]any{"release": in.Name, "values": in.Values}
	return result, d.stage(req, "outputs", d.outputs, &result.Outputs)
}

func (d *archived) releaseName(req *Request) (string, error) {
	if d.release == nil {
		return req.Name, nil
	}
	name := ""
	if err := d.stage(req, "release", d.release, &name); err != nil {
		return "", err
	}
	if name != Label(name) {
		return "", failed(req, "release", fmt.Sprintf("its definition wrote %.100q, which is no name of a release: a DNS label of at most %d characters", name, MaxName))
	}
	return name, nil
}

// objects takes lists apart and refuses what no definition may make: a Secret with its values in it.
func (d *archived) objects(req *Request, made []map[string]any) (out []map[string]any, err error) {
	for _, o := range made {
		items, isList := o["items"].([]any)
		kind, _ := o["kind"].(string)
		if !isList || !strings.HasSuffix(kind, "List") {
			out = append(out, o)
			continue
		}
		for _, item := range items {
			m, ok := item.(map[string]any)
			if !ok {
				return nil, failed(req, "archive", "it makes a "+kind+" that holds something else than objects")
			}
			out = append(out, m)
		}
	}
	if len(out) > maxObjects {
		return nil, failed(req, "archive", fmt.Sprintf("it makes %d objects, at most %d are allowed", len(out), maxObjects))
	}
	for _, o := range out {
		meta, _ := o["metadata"].(map[string]any)
		if o["kind"] == "Secret" && (filled(o["data"]) || filled(o["stringData"])) {
			return nil, failed(req, "archive", fmt.Sprintf("it makes the Secret %v with its values in it, and no secret value may reach Git: "+
				"let it name a Secret that is there (most charts have a value such as existingSecret), or make one without data and with the annotation %s", meta["name"], GenerateAnnotation))
		}
		if HasSecret(o) {
			return nil, failed(req, "archive", fmt.Sprintf("the %v %v holds a secret as text; use a secretKeyRef", o["kind"], meta["name"]))
		}
	}
	return out, nil
}

func filled(v any) bool {
	m, ok := v.(map[string]any)
	return v != nil && (!ok || len(m) > 0)
}
