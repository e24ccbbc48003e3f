package secrets

import (
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

// What a Secret without data asks of Towpath's own engine. The renderer writes it, drift reads it.
const (
	// GenerateAnnotation asks for values to be made in the cluster: "key:length" pairs separated by commas. A key that exists is never
	// changed again, so a password survives every later deployment.
	GenerateAnnotation = "towpath.dev/generate"
	// TemplateAnnotation asks for texts with other Secrets' values in them: a JSON map of keys to texts that hold references.
	TemplateAnnotation = "towpath.dev/template"
	// MaxGenerated is how long a generated value may be, in bytes.
	MaxGenerated = 1024
	// Mark begins a reference to one key of a Secret: (towpath-secret:NAME/KEY).
	Mark = "(towpath-secret:"
)

// Reference finds references in a text; its groups are the Secret's name and the key.
var Reference = lazyre.New(`\(towpath-secret:([a-z0-9.-]+)/([A-Za-z0-9._-]+)\)`)

// ParseGenerate reads "password:32,token:16" as lengths by key. bad is the first part that is no key with a length of 1 to
// MaxGenerated; empty when all are.
func ParseGenerate(spec string) (lengths map[string]int, bad string) {
	lengths = map[string]int{}
	for part := range strings.SplitSeq(spec, ",") {
		key, length, ok := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || key == "" || n < 1 || n > MaxGenerated {
			return nil, strconv.Quote(part)
		}
		lengths[key] = n
	}
	return lengths, ""
}
