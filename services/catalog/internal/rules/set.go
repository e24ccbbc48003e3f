package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The two maps of a set's document. Operations address it as /workloads/<name>/… and /resources/<name>/….
const (
	workloadsKey = "workloads"
	resourcesKey = "resources"
)

// Document is a set as the JSON-like value that operations change. It is never changed in place.
type Document map[string]any

// DocumentOf gives the document of a set; that of nil is empty.
func DocumentOf(s *catalogv1.Set) Document {
	return Document{workloadsKey: structMap(s.GetWorkloads()), resourcesKey: structMap(s.GetResources())}
}

func structMap(in map[string]*structpb.Struct) map[string]any {
	out := make(map[string]any, len(in))
	for k, v := range in {
		out[k] = v.AsMap()
	}
	return out
}

// part gives one of the two maps, never nil: null and {} would be two encodings of one content.
func (d Document) part(key string) map[string]any {
	if m, ok := d[key].(map[string]any); ok && m != nil {
		return m
	}
	return map[string]any{}
}

// Workloads gives the Score documents by name; read-only.
func (d Document) Workloads() map[string]any { return d.part(workloadsKey) }

// Canonical gives the document's one encoding: JSON without spaces, keys sorted by their bytes, numbers in their shortest form.
// The id of a set hangs on it, so it must never change.
func (d Document) Canonical() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{workloadsKey: d.part(workloadsKey), resourcesKey: d.part(resourcesKey)}); err != nil {
		// Only NaN and infinities cannot be encoded.
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "the set has a number that JSON cannot hold; write it as text").Because(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Set gives the immutable set of the document, named by the SHA-256 of its canonical encoding. The error names what in it is
// no map.
func (d Document) Set() (*catalogv1.Set, error) {
	canonical, err := d.Canonical()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(canonical)
	s := &catalogv1.Set{Name: "sets/" + hex.EncodeToString(sum[:])}
	if s.Workloads, err = structs(workloadsKey, d.part(workloadsKey)); err != nil {
		return nil, err
	}
	s.Resources, err = structs(resourcesKey, d.part(resourcesKey))
	return s, err
}

func structs(part string, in map[string]any) (map[string]*structpb.Struct, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := make(map[string]*structpb.Struct, len(in))
	for name, v := range in {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, errs.InvalidField("/"+part+"/"+name, "is not a map; a workload or resource is a whole document")
		}
		s, err := structpb.NewStruct(m)
		if err != nil {
			return nil, errs.InvalidField("/"+part+"/"+name, "has text that is not UTF-8; encode it first").Because(err)
		}
		out[name] = s
	}
	return out, nil
}
