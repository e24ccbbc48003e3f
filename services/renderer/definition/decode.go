package definition

import (
	"reflect"
	"sync"

	"sigs.k8s.io/yaml"
)

// decoded remembers what the texts that templates wrote mean. To read a text as YAML costs many times what it costs to write it,
// and the same text comes again and again: an environment is rendered when it is planned, when it is accepted and when it is
// committed, and most of its resources are those of the last time. What is remembered depends on the text alone, so that a
// rendering that finds it and one that does not give the same.
var decoded struct {
	sync.Mutex
	byText map[decodedKey]any
	size   int
}

type decodedKey struct {
	text string
	form reflect.Type
}

const (
	// maxDecoded is how many bytes of texts are remembered before all are forgotten.
	maxDecoded = 1 << 20
	// maxDecodedText is how large a text may be to be remembered: a few large ones must not push out the others.
	maxDecodedText = 64 << 10
)

// decodeYAML reads a text into a pointer to a map or to a list of maps, as yaml.UnmarshalStrict does. The caller owns what it gets.
func decodeYAML(text string, into any) error {
	to := reflect.ValueOf(into).Elem()
	key := decodedKey{text, to.Type()}
	decoded.Lock()
	known, found := decoded.byText[key]
	decoded.Unlock()
	if !found {
		fresh := reflect.New(to.Type())
		if err := yaml.UnmarshalStrict([]byte(text), fresh.Interface()); err != nil {
			return err
		}
		known = fresh.Elem().Interface()
		remember(key, known)
	}
	to.Set(reflect.ValueOf(clone(known)))
	return nil
}

func remember(key decodedKey, v any) {
	if len(key.text) > maxDecodedText {
		return
	}
	decoded.Lock()
	defer decoded.Unlock()
	if decoded.byText == nil || decoded.size+len(key.text) > maxDecoded {
		decoded.byText, decoded.size = map[decodedKey]any{}, 0
	}
	decoded.byText[key] = v
	decoded.size += len(key.text)
}

// clone copies a value that came from YAML, so that nobody changes what is remembered.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []map[string]any:
		if v == nil {
			return v
		}
		out := make([]map[string]any, len(v))
		for i, x := range v {
			out[i], _ = clone(x).(map[string]any)
		}
		return out
	case []any:
		if v == nil {
			return v
		}
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}
