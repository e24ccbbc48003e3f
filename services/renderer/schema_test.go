package renderer_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/towpath-dev/towpath/services/renderer"
	"github.com/towpath-dev/towpath/services/renderer/score"
)

func TestTheSchemaIsServed(t *testing.T) {
	w := httptest.NewRecorder()
	renderer.SchemaHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, renderer.SchemaPath, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/schema+json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w.Body.String() != string(score.Schema()) || !json.Valid(w.Body.Bytes()) {
		t.Errorf("the body is not the schema: %.200s", w.Body)
	}
	again := httptest.NewRequest(http.MethodGet, renderer.SchemaPath, nil)
	again.Header.Set("If-None-Match", w.Header().Get("ETag"))
	second := httptest.NewRecorder()
	renderer.SchemaHandler().ServeHTTP(second, again)
	if second.Code != http.StatusNotModified || second.Body.Len() > 0 {
		t.Errorf("who has the schema gets it again: %d", second.Code)
	}
}
