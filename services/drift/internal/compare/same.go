package compare

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// absent says whether a value means the same as not being there: null, {}, [] and, where the API cannot tell them from
// nothing, false, 0 and "".
func absent(v any, t *typ) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0 && !t.emptyMatters
	case []any:
		return len(v) == 0
	case string:
		return v == "" && t.zeroAbsent
	case bool:
		return !v && t.zeroAbsent
	case int64:
		return v == 0 && t.zeroAbsent
	case int:
		return v == 0 && t.zeroAbsent
	case float64:
		return v == 0 && t.zeroAbsent
	}
	return false
}

// hollow says whether a value holds nothing but absent leaves.
func hollow(v any, t *typ) bool {
	m, ok := v.(map[string]any)
	if !ok || absent(v, t) || t.emptyMatters {
		return absent(v, t)
	}
	for k, c := range m {
		if !hollow(c, t.child(k)) {
			return false
		}
	}
	return true
}

// sameScalar says whether two scalars mean the same. Spellings are parsed only when they differ.
func sameScalar(a, b any, c class) bool {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x == y || c != plain && sameText(x, y, c)
		}
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case int64:
		if y, ok := b.(int64); ok {
			return x == y
		}
	}
	x, okx := number(a)
	y, oky := number(b)
	if okx && oky {
		return x == y
	}
	if c == quantity || c == intOrString {
		return sameText(spelled(a), spelled(b), c)
	}
	return false
}

func sameText(x, y string, c class) bool {
	if x == y {
		return true
	}
	switch c {
	case quantity:
		p, err1 := resource.ParseQuantity(x)
		q, err2 := resource.ParseQuantity(y)
		return err1 == nil && err2 == nil && p.Cmp(q) == 0
	case duration:
		p, err1 := time.ParseDuration(x)
		q, err2 := time.ParseDuration(y)
		return err1 == nil && err2 == nil && p == q
	case timestamp:
		p, err1 := time.Parse(time.RFC3339, x)
		q, err2 := time.Parse(time.RFC3339, y)
		return err1 == nil && err2 == nil && p.Equal(q)
	case bytesBase64:
		p, err1 := base64.StdEncoding.DecodeString(x)
		q, err2 := base64.StdEncoding.DecodeString(y)
		return err1 == nil && err2 == nil && string(p) == string(q)
	}
	return false
}

// quantityWithin says whether a value is a quantity in an inclusive range; an empty bound is none, one that is no quantity
// lets nothing through.
func quantityWithin(v any, low, high string) bool {
	q, err := resource.ParseQuantity(spelled(v))
	if err != nil {
		return false
	}
	for _, bound := range []struct {
		text string
		sign int
	}{{low, -1}, {high, 1}} {
		if bound.text == "" {
			continue
		}
		b, err := resource.ParseQuantity(bound.text)
		if err != nil || q.Cmp(b) == bound.sign {
			return false
		}
	}
	return true
}

// number widens every numeric type that decoders produce.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int32:
		return float64(v), true
	case uint64:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

func spelled(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return marshal(v)
}

// sameKeys says whether two items of a keyed list are the same item.
func sameKeys(list *typ, a, b any) bool {
	for i := range list.keys {
		x, y := keyValue(list, i, a), keyValue(list, i, b)
		if x == nil && y == nil {
			continue
		}
		if !sameScalar(x, y, plain) {
			return false
		}
	}
	return true
}

// clone copies a JSON value, so that findings never alias an object that is about to be dropped.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, c := range v {
			out[k] = clone(c)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, c := range v {
			out[i] = clone(c)
		}
		return out
	}
	return v
}
