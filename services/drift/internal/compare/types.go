package compare

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// class says how two spellings of a scalar are recognised as the same value.
type class uint8

const (
	plain class = iota
	quantity
	intOrString
	duration
	timestamp
	bytesBase64
)

// listKind says how the items of a list find their counterpart.
type listKind uint8

const (
	atomicList listKind = iota
	setList
	keyedList
)

// typ is a schema type compiled for the walk: the merge structure comes from the OpenAPI schema, the meaning of scalars and
// of zero values from the Go type, which only built-in kinds have.
type typ struct {
	fields map[string]*typ // of a struct; nil for a free map
	elem   *typ            // of a list's items or a free map's values
	list   listKind
	keys   []string
	// keyDefaults are the schema defaults of the keys, in their order; nil where there is none.
	keyDefaults []any
	atomicMap   bool
	// deduced says that the schema does not know this place: maps go by field, lists are atomic.
	deduced bool
	class   class
	// zeroAbsent says that the API cannot tell false, 0 and "" from absent here (a Go field that is no pointer).
	zeroAbsent bool
	// emptyMatters says that {} means something else than absent: a pointer to a LabelSelector (everything, not nothing), and to
	// a struct without fields (one choice of several, which says all by being there).
	emptyMatters bool
	secret       bool // the values below are secret and compared by digest
}

// unknownType serves every place that no schema describes.
var unknownType = func() *typ {
	t := &typ{deduced: true}
	t.elem = t
	return t
}()

// embeddedType serves places that hold any object as one value (a RawExtension).
var embeddedType = &typ{deduced: true, atomicMap: true, elem: unknownType}

// anyType serves places of custom resources whose definition gives no type: what is x-kubernetes-int-or-string, such as quantities
// and ports, looks like this in OpenAPI. A scalar there may be spelled as a number or as a text; what lies deeper is unknown.
var anyType = &typ{deduced: true, class: quantity, elem: unknownType}

// child gives the type of a map's key.
func (t *typ) child(key string) *typ {
	if c, ok := t.fields[key]; ok {
		return c
	}
	if t.elem != nil && !t.deduced {
		return t.elem
	}
	return unknownType
}

// free says whether the keys of this map are data, not field names.
func (t *typ) free() bool {
	return t.fields == nil && !t.deduced && t.list == atomicList && t.keys == nil
}

// compiler turns one schema into typs. Types refer to each other and to themselves, so each is made once and filled later.
type compiler struct {
	schema *schema.Schema
	made   map[typeKey]*typ
}

type typeKey struct {
	name         string
	relationship schema.ElementRelationship
	goType       reflect.Type
	emptyMatters bool
}

var (
	goQuantity  = reflect.TypeFor[resource.Quantity]()
	goIntOrStr  = reflect.TypeFor[intstr.IntOrString]()
	goDuration  = reflect.TypeFor[metav1.Duration]()
	goTime      = reflect.TypeFor[metav1.Time]()
	goMicroTime = reflect.TypeFor[metav1.MicroTime]()
	goSelector  = reflect.TypeFor[metav1.LabelSelector]()
)

// compile gives the typ of a reference; goType is nil where no Go type is known.
func (c *compiler) compile(ref schema.TypeRef, goType reflect.Type) *typ {
	pointer := goType != nil && goType.Kind() == reflect.Pointer
	if pointer {
		goType = goType.Elem()
	}
	if s := scalarType(ref, goType, pointer); s != nil {
		return s
	}
	atom, ok := c.schema.Resolve(ref)
	if ok && atom.Map != nil && atom.List != nil && atom.Map.ElementRelationship == schema.Atomic {
		return embeddedType
	}
	if ok && atom.Map != nil && atom.List != nil && ref.NamedType == nil && goType == nil {
		return anyType
	}
	if !ok || (atom.Map != nil && atom.List != nil) || (atom.Map == nil && atom.List == nil && atom.Scalar == nil) {
		return unknownType
	}
	if atom.Map == nil && atom.List == nil {
		return &typ{zeroAbsent: goType != nil && !pointer && isScalarKind(goType.Kind())}
	}
	t := &typ{emptyMatters: pointer && (goType == goSelector || goType.Kind() == reflect.Struct && goType.NumField() == 0)}
	if ref.NamedType != nil {
		key := typeKey{name: *ref.NamedType, goType: goType, emptyMatters: t.emptyMatters}
		if ref.ElementRelationship != nil {
			key.relationship = *ref.ElementRelationship
		}
		if done, ok := c.made[key]; ok {
			return done
		}
		c.made[key] = t
	}
	if atom.Map != nil {
		c.fillMap(t, atom.Map, goType)
	} else {
		c.fillList(t, atom.List, goType)
	}
	return t
}

func (c *compiler) fillMap(t *typ, m *schema.Map, goType reflect.Type) {
	t.atomicMap = m.ElementRelationship == schema.Atomic
	if len(m.Fields) == 0 {
		var elem reflect.Type
		if goType != nil && goType.Kind() == reflect.Map {
			elem = goType.Elem()
		}
		t.elem = c.compile(m.ElementType, elem)
		if t.elem.zeroAbsent { // the values of a map are there or not; "" is a value
			copied := *t.elem
			copied.zeroAbsent = false
			t.elem = &copied
		}
		return
	}
	goFields := map[string]reflect.Type{}
	if goType != nil && goType.Kind() == reflect.Struct {
		jsonFields(goType, goFields)
	}
	t.fields = make(map[string]*typ, len(m.Fields))
	for _, f := range m.Fields {
		t.fields[f.Name] = c.compile(f.Type, goFields[f.Name])
	}
}

func (c *compiler) fillList(t *typ, l *schema.List, goType reflect.Type) {
	var elem reflect.Type
	if goType != nil && goType.Kind() == reflect.Slice {
		elem = goType.Elem()
	}
	t.elem = c.compile(l.ElementType, elem)
	if l.ElementRelationship != schema.Associative {
		return
	}
	if len(l.Keys) == 0 {
		t.list = setList
		return
	}
	t.list, t.keys = keyedList, slices.Sorted(slices.Values(l.Keys))
	t.keyDefaults = make([]any, len(t.keys))
	if atom, ok := c.schema.Resolve(l.ElementType); ok && atom.Map != nil {
		for i, k := range t.keys {
			if f, ok := atom.FindField(k); ok {
				t.keyDefaults[i] = f.Default
			}
		}
	}
}

// scalarType recognises the types whose values have several spellings; nil for all others.
func scalarType(ref schema.TypeRef, goType reflect.Type, pointer bool) *typ {
	name := ""
	if ref.NamedType != nil {
		name = (*ref.NamedType)[strings.LastIndexByte(*ref.NamedType, '.')+1:]
	}
	switch {
	case goType == goQuantity || name == "Quantity":
		return &typ{class: quantity}
	case goType == goIntOrStr || name == "IntOrString":
		return &typ{class: intOrString}
	case goType == goDuration || name == "Duration" && goType == nil:
		return &typ{class: duration, zeroAbsent: goType != nil && !pointer}
	case goType == goTime || goType == goMicroTime:
		return &typ{class: timestamp}
	case goType != nil && goType.Kind() == reflect.Slice && goType.Elem().Kind() == reflect.Uint8:
		return &typ{class: bytesBase64}
	}
	return nil
}

func isScalarKind(k reflect.Kind) bool {
	return k == reflect.Bool || k == reflect.String || k >= reflect.Int && k <= reflect.Float64
}

// jsonFields collects the JSON names of a struct with their Go types, inlined structs included.
func jsonFields(t reflect.Type, into map[string]reflect.Type) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")) && f.Type.Kind() == reflect.Struct:
			jsonFields(f.Type, into)
		case name != "" && name != "-":
			into[name] = f.Type
		}
	}
}
