// Package placeholder reads Score placeholders: ${ref} in strings. It splits and expands; what a reference means is the
// caller's business. It is pure text work without any knowledge of workloads or resources.
package placeholder

import (
	"errors"
	"strings"
)

// Roots of references.
const (
	// Metadata refers into the document's own metadata.
	Metadata = "metadata"
	// Resources refers to a resource of the document, or to one of its outputs.
	Resources = "resources"
)

// Ref is one reference, such as resources.db.host.
type Ref struct {
	// Text is the reference as it was written, between the braces.
	Text string
	// Path is the reference split on dots; an escaped dot ("\.") stays in its part.
	Path []string
}

// Token is a piece of a string: plain text, or a reference when Ref is set.
type Token struct {
	Text string
	Ref  *Ref
}

// ErrEmpty is the reference without a name, ${}.
var ErrEmpty = errors.New("${} names nothing: expected ${metadata.<key>} or ${resources.<name>.<output>}; write $${} for a literal ${}")

// Parse splits a string into text and references. ${ref} is a reference, $${ref} is the text ${ref}, $$ is the text $, and
// any other dollar sign is itself. The only error is ErrEmpty.
func Parse(s string) ([]Token, error) {
	var tokens []Token
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			tokens = append(tokens, Token{Text: text.String()})
			text.Reset()
		}
	}
	closes := true // whether a closing brace may lie ahead: text full of ${ must not be searched to its end each time
	for s != "" {
		at := strings.IndexByte(s, '$')
		if at < 0 {
			text.WriteString(s)
			break
		}
		text.WriteString(s[:at])
		s = s[at:]
		end := -1
		if closes && (strings.HasPrefix(s, "${") || strings.HasPrefix(s, "$${")) {
			end = strings.IndexByte(s, '}')
			closes = end > 0
		}
		switch {
		case end > 0 && s[1] == '$':
			text.WriteString(s[1 : end+1])
			s = s[end+1:]
		case end > 0:
			if end == len("${") {
				return nil, ErrEmpty
			}
			flush()
			tokens = append(tokens, Token{Ref: &Ref{Text: s[2:end], Path: Split(s[2:end])}})
			s = s[end+1:]
		case strings.HasPrefix(s, "$$"):
			text.WriteByte('$')
			s = s[2:]
		default:
			text.WriteByte('$')
			s = s[1:]
		}
	}
	flush()
	return tokens, nil
}

// Split splits a reference on dots; "\." stands for a dot inside a part.
func Split(ref string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(ref); i++ {
		switch {
		case ref[i] == '\\' && i+1 < len(ref) && ref[i+1] == '.':
			part.WriteByte('.')
			i++
		case ref[i] == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(ref[i])
		}
	}
	return append(parts, part.String())
}

// Expand replaces every reference of a string by what resolve gives for it. The first error ends it.
func Expand(s string, resolve func(Ref) (string, error)) (string, error) {
	if strings.IndexByte(s, '$') < 0 {
		return s, nil
	}
	tokens, err := Parse(s)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, t := range tokens {
		if t.Ref == nil {
			out.WriteString(t.Text)
			continue
		}
		value, err := resolve(*t.Ref)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
	}
	return out.String(), nil
}

// Refs gives the references of a string in order. A string that cannot be parsed has none.
func Refs(s string) []Ref {
	if strings.IndexByte(s, '$') < 0 {
		return nil
	}
	tokens, err := Parse(s)
	if err != nil {
		return nil
	}
	var refs []Ref
	for _, t := range tokens {
		if t.Ref != nil {
			refs = append(refs, *t.Ref)
		}
	}
	return refs
}
