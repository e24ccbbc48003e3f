package definition

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

// secretValue is a RenderingSecret in use.
type secretValue struct {
	value, other string
	function     string
	at           Secret
}

func (s *secretValue) in(other bool) string {
	if other {
		return s.other
	}
	return s.value
}

var (
	// publicName are names of values that are no secrets, whatever else is in the name: accessKeyId, secretName.
	publicName = lazyre.New(`(?i)(id|name|user|host|bucket|database|db|prefix|suffix|region|cluster|namespace|port)$`)
	secretName = lazyre.New(`(?i)pass|pwd|secret|token|credential|private|auth|api.?key|access.?key|encryption.?key|signing.?key`)
	// generated are the functions whose values the cluster can make as well: letters and digits.
	generated = []string{"randAlphaNum", "randAlpha", "randAscii"}
)

// longSecret is from how many characters on a random text is taken for a secret unless its name says something else.
const longSecret = 16

// held is a text somewhere in what a provisioner made, under the last name on the way to it.
type held struct {
	name, text string
	inSecret   bool
}

// texts gives every text in a value. An entry of env is held under its own name, what a Secret holds is decoded.
func texts(name string, v any, inSecret bool, out *[]held) {
	switch v := v.(type) {
	case map[string]any:
		if v["kind"] == "Secret" {
			for key, value := range secretData(v) {
				*out = append(*out, held{key, value, true})
			}
			v = maps.Clone(v)
			delete(v, "data")
			delete(v, "stringData")
		}
		own, isEnv := v["name"].(string)
		for k, x := range v {
			if isEnv && k == "value" {
				k = own
			}
			texts(k, x, inSecret, out)
		}
	case []any:
		for _, x := range v {
			texts(name, x, inSecret, out)
		}
	case nil:
	default:
		*out = append(*out, held{name, fmt.Sprint(v), inSecret})
	}
}

// secretData gives what a Secret holds, decoded. What is no base64 is given as it is.
func secretData(o map[string]any) map[string]string {
	out := map[string]string{}
	data, _ := o["data"].(map[string]any)
	for k, v := range data {
		text := fmt.Sprint(v)
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			text = string(b)
		}
		out[k] = text
	}
	plain, _ := o["stringData"].(map[string]any)
	for k, v := range plain {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// secretCalls tells which of the values that were made up are secrets: those under a name that sounds like one, those that a Secret
// holds by themselves, and long ones; a name that is public, such as a user's or a bucket's, says that it is none.
func (m *making) secretCalls() map[int]bool {
	var all []held
	for _, v := range []any{m.data.Init, m.data.State, m.patch, m.outputs} {
		texts("", v, false, &all)
	}
	for _, o := range m.manifests {
		texts("", o, false, &all)
	}
	out := map[int]bool{}
	for i, c := range m.random.calls {
		sounds, public, alone := false, false, false
		for _, h := range all {
			if h.text != c.value && (len(c.value) < 6 || !strings.Contains(h.text, c.value)) {
				continue
			}
			switch {
			case publicName.MatchString(h.name):
				public = true
			case secretName.MatchString(h.name):
				sounds = true
			}
			alone = alone || h.inSecret && h.text == c.value
		}
		long := len(c.value) >= longSecret && c.function != "uuidv4"
		if sounds || (alone || long) && !public {
			out[i] = true
		}
	}
	return out
}

func pairs(one, two *randomSource, secret map[int]bool) (out []*secretValue) {
	for i, c := range one.calls {
		if secret[i] && i < len(two.calls) {
			out = append(out, &secretValue{value: c.value, other: two.calls[i].value, function: c.function})
		}
	}
	return out
}

// takeSecrets replaces the secrets that were made up by what stands for them: in a Secret by the annotation that has the cluster make
// them, in an env entry by a secretKeyRef, in outputs by a reference. Where the two worlds differ then, a secret is left over.
func takeSecrets(req *Request, one, two *making, found []*secretValue) error {
	for _, w := range []struct {
		m     *making
		other bool
	}{{one, false}, {two, true}} {
		for _, o := range w.m.manifests {
			generate(o, found, w.other)
		}
		for i := range w.m.manifests {
			w.m.manifests[i], _ = referring(w.m.manifests[i], found, w.other).(map[string]any)
		}
		w.m.outputs, _ = encoded(w.m.outputs, found, w.other).(map[string]any)
	}
	if path, differ := difference("manifests", anyList(one.manifests), anyList(two.manifests)); differ {
		return leaks(req, "manifests", path)
	}
	if path, differ := difference("outputs", one.outputs, two.outputs); differ {
		return leaks(req, "outputs", path)
	}
	return nil
}

func leaks(req *Request, stage, path string) error {
	return failed(req, stage, path+" holds a random value that is a secret, or something made of one. Git would have it, and anybody could compute it again. "+
		"Keep each secret by itself under a key of a Secret's data and refer to that, in manifests with secretKeyRef and in outputs with encodeSecretRef; "+
		"or take this entry out of the provisioner file, so that another definition answers")
}

// generate puts the secrets of a Secret that hold a made up value into the annotation, and takes their values away.
func generate(o map[string]any, found []*secretValue, other bool) {
	if o["kind"] != "Secret" {
		return
	}
	meta, _ := o["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	var list []string
	data := secretData(o)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		i := slices.IndexFunc(found, func(s *secretValue) bool {
			return s.in(other) == data[key] && data[key] != "" && slices.Contains(generated, s.function)
		})
		if i < 0 {
			continue
		}
		if found[i].at.Name == "" {
			found[i].at = Secret{Name: name, Key: key}
		}
		list = append(list, fmt.Sprintf("%s:%d", key, len(data[key])))
		for _, part := range []string{"data", "stringData"} {
			if m, ok := o[part].(map[string]any); ok {
				delete(m, key)
			}
		}
	}
	if len(list) == 0 || meta == nil {
		return
	}
	annotations, _ := meta["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		meta["annotations"] = annotations
	}
	if before, ok := annotations[GenerateAnnotation].(string); ok && before != "" {
		list = append([]string{before}, list...)
	}
	annotations[GenerateAnnotation] = strings.Join(list, ",")
}

// referring replaces env entries whose value is a secret by a reference to it.
func referring(v any, found []*secretValue, other bool) any {
	switch v := v.(type) {
	case map[string]any:
		if value, ok := v["value"].(string); ok && v["name"] != nil && len(v) == 2 {
			if s := standsFor(value, found, other); s != nil {
				return map[string]any{"name": v["name"], "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": s.Name, "key": s.Key}}}
			}
		}
		for k, x := range v {
			v[k] = referring(x, found, other)
		}
	case []any:
		for i, x := range v {
			v[i] = referring(x, found, other)
		}
	}
	return v
}

func standsFor(text string, found []*secretValue, other bool) *Secret {
	for _, s := range found {
		if s.at.Name != "" && s.in(other) == text {
			return &s.at
		}
	}
	return nil
}

// encoded replaces the secrets in outputs by references, also inside of other text.
func encoded(v any, found []*secretValue, other bool) any {
	switch v := v.(type) {
	case string:
		for _, s := range found {
			text := s.in(other)
			if s.at.Name == "" || text == "" || len(text) < 6 && v != text {
				continue
			}
			if ref, err := EncodeSecret(s.at.Name, s.at.Key); err == nil {
				v = strings.ReplaceAll(v, text, ref)
			}
		}
		return v
	case map[string]any:
		for k, x := range v {
			v[k] = encoded(x, found, other)
		}
	case []any:
		for i, x := range v {
			v[i] = encoded(x, found, other)
		}
	}
	return v
}

func anyList(in []map[string]any) []any {
	out := make([]any, len(in))
	for i, o := range in {
		out[i] = o
	}
	return out
}

// difference gives the first place where two values differ. It never tells the values.
func difference(path string, a, b any) (string, bool) {
	if equal(a, b) {
		return "", false
	}
	switch a := a.(type) {
	case map[string]any:
		b, _ := b.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(a)) {
			if at, differ := difference(path+"."+k, a[k], b[k]); differ {
				return at, true
			}
		}
	case []any:
		b, _ := b.([]any)
		for i := range min(len(a), len(b)) {
			if at, differ := difference(fmt.Sprintf("%s[%d]", path, i), a[i], b[i]); differ {
				return at, true
			}
		}
	}
	return path, true
}

// scoreMark begins and ends a secret reference as score-k8s writes it.
const scoreMark = "\U0001F510\U0001F4AC"

var scoreRef = lazyre.New("\U0001F510\U0001F4AC([a-z0-9.-]+)_([A-Za-z0-9._-]+)\U0001F4AC\U0001F510")

// scoreSecrets writes secret references of score-k8s in the form that rendering knows.
func scoreSecrets(text string) string {
	return scoreRef.ReplaceAllString(text, SecretMark+"$1/$2)")
}
