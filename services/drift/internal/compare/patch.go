package compare

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// RevertPatch gives one RFC 6902 JSON Patch that takes every Extra and Residue among findings out of live. The patch first
// tests live's resourceVersion: the positions hold for it alone, so when the API server refuses the test, read the object
// again, compare again and make a new patch. Removals run from the back, so that none moves the next. A removed default comes
// back by itself. Findings of other kinds are ignored (NeedsApply gives those); without any to remove the patch is nil.
//
// live must be the object that the findings came from. It fails with errs.Invalid when live has no resourceVersion and with
// errs.Conflict when a finding's place is not there.
func RevertPatch(live *unstructured.Unstructured, findings []Finding) ([]byte, error) {
	var tokens [][]string
	for _, f := range findings {
		if f.Kind != Extra && f.Kind != Residue {
			continue
		}
		at := strings.Split(strings.TrimPrefix(f.Pointer, "/"), "/")
		if f.Pointer == "" || !there(live.Object, at) {
			return nil, &errs.Error{Kind: errs.Conflict, Msg: "the live object no longer has " + f.Path + ": compare again, then revert"}
		}
		tokens = append(tokens, at)
	}
	if len(tokens) == 0 {
		return nil, nil
	}
	version := live.GetResourceVersion()
	if version == "" {
		return nil, errs.InvalidField("live.metadata.resourceVersion", "is empty: a revert must be guarded by the version it was made for")
	}
	slices.SortFunc(tokens, func(a, b []string) int { return slices.CompareFunc(b, a, compareTokens) })
	ops := []patchOperation{{Op: "test", Path: "/metadata/resourceVersion", Value: version}}
	for i, at := range tokens {
		if slices.ContainsFunc(tokens, func(other []string) bool { return len(other) < len(at) && slices.Equal(other, at[:len(other)]) }) {
			continue // an element around it goes as a whole
		}
		if i > 0 && slices.Equal(at, tokens[i-1]) {
			continue
		}
		ops = append(ops, patchOperation{Op: "remove", Path: "/" + strings.Join(at, "/")})
	}
	out, err := json.Marshal(ops)
	if err != nil {
		return nil, (&errs.Error{Kind: errs.Internal, Msg: "the revert patch could not be written"}).Because(err)
	}
	return out, nil
}

// compareTokens orders positions as numbers and names as text.
func compareTokens(a, b string) int {
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	if err1 == nil && err2 == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

var pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")

func there(v any, at []string) bool {
	for _, token := range at {
		switch parent := v.(type) {
		case map[string]any:
			next, ok := parent[pointerUnescape.Replace(token)]
			if !ok {
				return false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(parent) {
				return false
			}
			v = parent[i]
		default:
			return false
		}
	}
	return true
}

// NeedsApply gives the findings that only an apply of the declared object puts right: changed, removed and missing.
func NeedsApply(findings []Finding) []Finding {
	var out []Finding
	for _, f := range findings {
		if f.Kind == Changed || f.Kind == Removed || f.Kind == Missing {
			out = append(out, f)
		}
	}
	return out
}
