package renderer

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/towpath-dev/towpath/services/renderer/score"
)

// SchemaPath is where SchemaHandler is to be mounted.
const SchemaPath = score.SchemaPath

// SchemaHandler serves the JSON Schema of Score documents to editors, those that run in a browser included: it is the same for
// everybody and says nothing about anybody, so that it needs no token and may be read from any page.
func SchemaHandler() http.Handler {
	schema := score.Schema()
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(schema))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/schema+json")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(schema))
	})
}
