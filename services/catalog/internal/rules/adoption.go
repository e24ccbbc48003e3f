package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/manifest"
)

// Adoptee is one object that is to be adopted.
type Adoptee struct {
	Ref *driftv1.ObjectRef
	// Value is what is declared from now on, without its namespace.
	Value map[string]any
	// Live is what the cluster has of it that somebody declared; nil for an object that it does not have.
	Live map[string]any
	// UID is the object's in the cluster, so that a plan names exactly this one.
	UID string
	// LeftOut says why it stays where it is.
	LeftOut string
}

// File is where an object stands in a bundle, by which the renderer names it in errors.
func (a Adoptee) File() string {
	return strings.ToLower(a.Ref.GetKind()) + "-" + a.Ref.GetName() + ".yaml"
}

// MakeAdoptee reads an object that is declared somewhere, for an environment's namespace.
func MakeAdoptee(object map[string]any, namespace string) Adoptee {
	meta, _ := object["metadata"].(map[string]any)
	ref := &driftv1.ObjectRef{ApiVersion: textAt(object, "apiVersion"), Kind: textAt(object, "kind"), Name: textAt(meta, "name"), Namespace: textAt(meta, "namespace")}
	a := Adoptee{Ref: ref, Value: adoptable(object, meta)}
	if ref.GetNamespace() != "" && ref.GetNamespace() != namespace {
		a.LeftOut = fmt.Sprintf("it is in namespace %s, and the environment has what is in %s", ref.GetNamespace(), namespace)
		return a
	}
	ref.Namespace = namespace
	isSecret := ref.GetKind() == "Secret" && ref.GetApiVersion() == "v1"
	switch at := credentialAt(ref, a.Value); {
	case isSecret:
		a.LeftOut = "it holds values, which do not belong into Git; it stays in the cluster, and workloads go on reading it by its name"
	case at != "":
		a.LeftOut = at + " holds what looks like a credential, which does not belong into Git; put it into a Secret and refer to it, then adopt again"
	}
	return a
}

// adoptable takes off what a manifest does not say, and the marks of the engine that applied it.
func adoptable(object, meta map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range object {
		if k != "status" && k != "metadata" {
			out[k] = v
		}
	}
	kept := map[string]any{"name": meta["name"]}
	for _, part := range []string{"labels", "annotations"} {
		values, _ := meta[part].(map[string]any)
		stay := map[string]any{}
		for k, v := range values {
			if !Tracks(k) && k != "kubectl.kubernetes.io/last-applied-configuration" {
				stay[k] = v
			}
		}
		if len(stay) > 0 {
			kept[part] = stay
		}
	}
	out["metadata"] = kept
	return out
}

// Tracks tells a label or annotation by which Argo CD or Flux says that an object is its own.
func Tracks(key string) bool {
	return key == "argocd.argoproj.io/tracking-id" || key == "argocd.argoproj.io/installation-id" ||
		strings.HasPrefix(key, "kustomize.toolkit.fluxcd.io/") && (strings.HasSuffix(key, "/name") || strings.HasSuffix(key, "/namespace"))
}

func textAt(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// credentialAt names the first place that looks like a credential; "" for none.
func credentialAt(ref *driftv1.ObjectRef, object map[string]any) string {
	masked := manifest.Mask(&rendererv1.ObjectRef{ApiVersion: ref.GetApiVersion(), Kind: ref.GetKind()}, nil, nil, object)
	return maskedAt("", masked)
}

func maskedAt(path string, v any) string {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if at := maskedAt(strings.TrimPrefix(path+"."+k, "."), v[k]); at != "" {
				return at
			}
		}
	case []any:
		for i, x := range v {
			if at := maskedAt(path+"["+strconv.Itoa(i)+"]", x); at != "" {
				return at
			}
		}
	case string:
		if v == manifest.Masked {
			return path
		}
	}
	return ""
}

// AdoptionChange is the change that makes an environment of the objects: each stands in its overlay, as it is.
func AdoptionChange(all []Adoptee) (*catalogv1.Change, error) {
	change := &catalogv1.Change{}
	for _, a := range all {
		if a.LeftOut != "" {
			continue
		}
		plain, _ := manifest.Plain(manifest.MarkAsItIs(a.Value)).(map[string]any)
		value, err := structpb.NewStruct(plain)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", a.Ref.GetKind(), a.Ref.GetName(), err)
		}
		change.OverlayOperations = append(change.OverlayOperations, &rendererv1.Operation{
			Action: rendererv1.Operation_ACTION_SET, Value: structpb.NewStructValue(value),
			Path: manifest.Target{APIVersion: a.Ref.GetApiVersion(), Kind: a.Ref.GetKind(), Name: a.Ref.GetName()}.Pointer(),
		})
	}
	return change, nil
}

// Why differences are there.
const (
	whyTracking = "Argo CD or Flux finds its objects by it; without it, nothing is removed together with theirs"
	whyFolder   = "the folder in Git declares it so, and the cluster has something else"
	whyMissing  = "Git declares it, and the cluster does not have it"
)

// runsPods has where the pods of a kind come from: a difference there makes them anew.
var runsPods = map[string]string{
	"Deployment": "spec.template", "StatefulSet": "spec.template", "DaemonSet": "spec.template", "ReplicationController": "spec.template",
}

// AdoptionDifferences tells how an object would change in the cluster. files has what is rendered of it. extra are places that only the
// cluster has and that stay.
func AdoptionDifferences(a Adoptee, files map[string][]byte, live []byte) (out *catalogv1.AdoptedObject, extra []string) {
	out = &catalogv1.AdoptedObject{Object: a.Ref, LeftOut: a.LeftOut}
	if a.LeftOut != "" {
		return out, nil
	}
	if a.Live == nil {
		out.Differences, out.Explanation = []string{"is made"}, whyMissing
		return out, nil
	}
	now := map[string][]byte{a.File(): files[a.File()]}
	for _, o := range manifest.Compare(map[string][]byte{a.File(): live}, now, nil).GetObjects() {
		for _, f := range o.GetFields() {
			switch line, why := differenceOf(f); {
			case why == whyTracking:
				out.Differences, out.Explanation = append(out.Differences, line), cmpOr(out.GetExplanation(), why)
			case f.GetAfter() == nil:
				if strings.HasSuffix(f.GetPath(), "]") { // a default is no item of anything
					extra = append(extra, a.Ref.GetKind()+"/"+a.Ref.GetName()+" "+f.GetPath())
				}
			case !sameQuantity(f.GetBefore(), f.GetAfter()):
				out.Differences, out.Explanation = append(out.Differences, line), whyFolder
				if at := runsPods[a.Ref.GetKind()]; at != "" && (f.GetPath() == at || strings.HasPrefix(f.GetPath(), at+".")) {
					out.Restarts = true
				}
			}
		}
	}
	return out, extra
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func differenceOf(f *rendererv1.FieldDiff) (line, why string) {
	key := strings.TrimSuffix(f.GetPath()[strings.LastIndexByte(f.GetPath(), '[')+1:], "]")
	if f.GetAfter() == nil && Tracks(key) {
		return f.GetPath() + " is taken off", whyTracking
	}
	// All labels or annotations may be those of the engine.
	if m := f.GetBefore().GetStructValue().GetFields(); f.GetAfter() == nil && len(m) > 0 && strings.HasPrefix(f.GetPath(), "metadata.") {
		all := true
		for k := range m {
			all = all && Tracks(k)
		}
		if all {
			return f.GetPath() + " is taken off", whyTracking
		}
	}
	return fmt.Sprintf("%s: %s -> %s", f.GetPath(), shortValue(f.GetBefore()), shortValue(f.GetAfter())), whyFolder
}

func shortValue(v *structpb.Value) string {
	if v == nil {
		return "nothing"
	}
	b, err := v.MarshalJSON()
	if err != nil {
		return "?"
	}
	if r := []rune(string(b)); len(r) > 120 {
		return string(r[:119]) + "…"
	}
	return string(b)
}

// sameQuantity reports whether two values are the same or the same quantity, which the API server spells its own way.
func sameQuantity(a, b *structpb.Value) bool {
	if proto.Equal(a, b) {
		return true
	}
	x, okA := quantity(a)
	y, okB := quantity(b)
	return okA && okB && x == y
}

var units = map[string]float64{
	"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
}

func quantity(v *structpb.Value) (float64, bool) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return k.NumberValue, true
	case *structpb.Value_StringValue:
		number := strings.TrimRight(k.StringValue, "mkMGTPi")
		unit, known := units[k.StringValue[len(number):]]
		n, err := strconv.ParseFloat(number, 64)
		return n * unit, known && err == nil
	}
	return 0, false
}

// AdoptionID names what a plan was made of: another object, another version of one, or another place makes another id.
func AdoptionID(asked proto.Message, place string, all []Adoptee, files map[string][]byte) string {
	h := sha256.New()
	request, err := proto.MarshalOptions{Deterministic: true}.Marshal(asked)
	if err != nil {
		request = nil // a message that came over the wire can be written
	}
	fmt.Fprintf(h, "%x\n%s\n", request, place)
	for _, a := range all {
		fmt.Fprintf(h, "%s %s %s %s %q %q\n", a.Ref.GetApiVersion(), a.Ref.GetKind(), a.Ref.GetName(), a.UID, a.LeftOut, files[a.File()])
	}
	return hex.EncodeToString(h.Sum(nil))
}
