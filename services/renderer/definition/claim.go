package definition

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"

	"github.com/towpath-dev/towpath/internal/lazyre"
	"github.com/towpath-dev/towpath/internal/syncmark"
)

// claim is the driver of custom resources: it makes one object, and its outputs are what the cluster says of that object. Rendering
// stays pure: what the cluster said comes in with the request, and where it has said nothing yet the resource is Missing.
type claim struct {
	definition
	// values are paths into the object by output, secrets are keys of the connection Secret by output.
	values, secrets map[string]string
	// secret is the path of the connection Secret's name, or with name set its name is made by that template.
	secret string
	name   *program
}

// claimPath is a path into an object: field names, indexes, and annotations or labels in brackets.
var claimPath = lazyre.New(`^[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+|\[\d+\]|\['[^'\]]{1,316}'\])*$`)

const claimOutputsForm = "a map of outputs to a path such as status.host, or to {secret_key: KEY} of the connection Secret"

// newClaim compiles the driver of claims.
func newClaim(spec *rendererv1.ResourceDefinition, in *inputs) driver {
	d := &claim{definition: definition{file: file{Type: spec.GetType()}}, values: map[string]string{}, secrets: map[string]string{}}
	d.Manifests = take[string](in, "manifest", "text: a template that writes one object")
	if d.Manifests == "" {
		in.fail("inputs.manifest", "is missing; give the template of the claim, a custom resource")
	}
	d.references = in.refer("inputs.manifest", d.Manifests)
	if err := (stage{"manifest", d.Manifests, &d.manifests}).compile(spec.GetType()); err != nil {
		in.fail("inputs.manifest", problemOf(err))
	}
	outputs := take[map[string]any](in, "outputs", claimOutputsForm)
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		d.takeOutput(in, name, outputs[name])
	}
	if len(outputs) == 0 {
		in.fail("inputs.outputs", "is empty; name at least one output, as "+claimOutputsForm)
	}
	d.takeSecret(spec, in)
	return d
}

func (d *claim) takeOutput(in *inputs, name string, v any) {
	path := "inputs.outputs." + name
	switch v := v.(type) {
	case string:
		if !claimPath.MatchString(v) {
			in.fail(path, fmt.Sprintf("%.100q is no path into the object; write one such as status.endpoint.host or status.addresses[0]", v))
		}
		d.values[name] = v
	case map[string]any:
		key, _ := v["secret_key"].(string)
		if _, err := EncodeSecret("x", key); err != nil || len(v) != 1 {
			in.fail(path, "is not {secret_key: KEY}")
		}
		d.secrets[name] = key
	default:
		in.fail(path, "is neither a path into the object nor {secret_key: KEY}")
	}
}

func (d *claim) takeSecret(spec *rendererv1.ResourceDefinition, in *inputs) {
	d.secret = take[string](in, "secret_name", "text: a path such as spec.writeConnectionSecretToRef.name, or the Secret's name after \"=\"")
	literal, isName := strings.CutPrefix(d.secret, "=")
	switch {
	case len(d.secrets) > 0 && d.secret == "":
		in.fail("inputs.secret_name", "is missing; say which Secret the outputs with secret_key are in: its path in the claim, or its name after \"=\"")
	case isName:
		if err := (stage{"secret_name", literal, &d.name}).compile(spec.GetType()); err != nil || literal == "" {
			in.fail("inputs.secret_name", "is no template of a Secret's name")
		}
	case d.secret != "" && !claimPath.MatchString(d.secret):
		in.fail("inputs.secret_name", fmt.Sprintf("%.100q is no path into the object", d.secret))
	}
}

func (d *claim) make(req *Request) (Result, error) {
	req.Init, req.State, req.Shared = map[string]any{}, map[string]any{}, map[string]any{}
	var object map[string]any
	if err := d.stage(req, "manifest", d.manifests, &object); err != nil {
		return Result{}, err
	}
	switch meta, _ := object["metadata"].(map[string]any); {
	case len(object) == 0 || meta["name"] == nil:
		return Result{}, failed(req, "manifest", "its definition wrote no object with a name")
	case object["kind"] == "Secret" || HasSecret(object):
		return Result{}, failed(req, "manifest", "the claim holds a secret as text; let it name a Secret instead")
	}
	keepClaim(object)
	ref := &rendererv1.ClaimRef{Resource: req.Uid, Outputs: maps.Clone(d.values), SecretOutputs: maps.Clone(d.secrets), SecretName: d.secret}
	if d.name != nil {
		name, err := d.name.run(req)
		if err != nil {
			return Result{}, failed(req, "secret_name", problemOf(err)).Because(err)
		}
		ref.SecretName = "=" + strings.TrimSpace(name)
	}
	result := Result{Outputs: map[string]any{}, Manifests: []map[string]any{object}, Claim: ref}
	return result, d.known(req, &result)
}

// keepClaim lets a claim outlive its manifest and its environment unless its definition says otherwise: what it stands for, such as a
// database, holds data. It stands in the manifest so that a cluster that has lost every other record still knows it.
func keepClaim(object map[string]any) {
	meta, _ := object["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	if _, said := annotations[syncmark.OnRemoval]; said || annotations == nil && meta["annotations"] != nil {
		return // what is no map is refused when the manifest is checked
	}
	if annotations == nil {
		annotations = map[string]any{}
		meta["annotations"] = annotations
	}
	annotations[syncmark.OnRemoval] = string(syncmark.Keep)
}

// known fills in what the cluster said, as far as it has.
func (d *claim) known(req *Request, result *Result) error {
	values := req.Known.GetValues().GetFields()
	for output := range d.values {
		v, ok := values[output]
		if !ok {
			result.Missing = true
			result.Outputs[output] = pendingOutput
			continue
		}
		if result.Outputs[output] = v.AsInterface(); HasSecret(result.Outputs[output]) {
			return failed(req, "outputs", "the cluster gave a value that looks like a reference to a secret: "+output)
		}
	}
	for output := range d.secrets {
		ref, ok := req.Known.GetSecrets()[output]
		if !ok {
			result.Missing = true
			result.Outputs[output] = pendingOutput
			continue
		}
		text, err := EncodeSecret(ref.GetName(), ref.GetKey())
		if err != nil {
			return failed(req, "outputs", "the cluster named a Secret that can be none for "+output).Because(err)
		}
		result.Outputs[output] = text
	}
	return nil
}

// pendingOutput stands for an output that is not known yet, while everything else is checked. It never leaves rendering.
const pendingOutput = "pending"
