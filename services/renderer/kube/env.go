package kube

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/services/renderer/definition"
)

// helperPrefix begins the names of variables that carry a secret into the text of another variable.
const helperPrefix = "TOWPATH_SECRET_"

// env makes a container's variables in order of their names. A variable that is one secret becomes a secretKeyRef; one that
// has a secret inside other text gets it from a helper variable, which must stand before it for Kubernetes to expand it.
func (b *builder) env(variables map[string]any, where string) []any {
	helpers := map[string]definition.Secret{}
	var out []any
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		at := where + "." + escape(name)
		if !environmentName(name) {
			b.invalid(at, "the name of a variable must be printable ASCII without = for Kubernetes to take it")
			continue
		}
		if strings.HasPrefix(name, helperPrefix) {
			b.invalid(at, "names that begin with %s are reserved: rename the variable", helperPrefix)
			continue
		}
		value, _ := variables[name].(string)
		pieces := definition.SplitSecrets(b.expand(value, at))
		b.noteSecrets(pieces)
		out = append(out, b.scoreText(envVar(name, pieces, helpers), value, at))
	}
	var first []any
	for _, name := range slices.Sorted(maps.Keys(helpers)) {
		first = append(first, b.because(secretVar(name, helpers[name]), "carries a secret into the text of another variable", where))
	}
	return append(first, out...)
}

func envVar(name string, pieces []definition.Piece, helpers map[string]definition.Secret) map[string]any {
	if len(pieces) == 1 && pieces[0].Secret != nil {
		return secretVar(name, *pieces[0].Secret)
	}
	// What follows a piece decides whether its last dollar sign needs to be doubled.
	value, next := "", ""
	for _, p := range slices.Backward(pieces) {
		if p.Secret == nil {
			value = escapeDollars(p.Text, next) + value
			next = p.Text
			continue
		}
		helper := "$(" + helperName(*p.Secret, helpers) + ")"
		value, next = helper+value, helper
	}
	return map[string]any{"name": name, "value": value}
}

// helperName gives the name of the variable that carries a secret, always the same for the same secret; two secrets whose
// names differ only in what a variable's name cannot hold get a hash each.
func helperName(s definition.Secret, helpers map[string]definition.Secret) string {
	name := helperPrefix + strings.ToUpper(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s.Name+"_"+s.Key))
	if other, taken := helpers[name]; taken && other != s {
		sum := sha256.Sum256([]byte(s.Name + "/" + s.Key))
		name += fmt.Sprintf("_%X", sum[:4])
	}
	helpers[name] = s
	return name
}

func secretVar(name string, s definition.Secret) map[string]any {
	return map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": s.Name, "key": s.Key}}}
}

func environmentName(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}
