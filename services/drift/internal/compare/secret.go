package compare

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

const digestPrefix = "hmac-sha256:"

// digest stands for a secret value wherever one is kept or compared. Values that mean the same have the same digest.
func (c *Comparer) digest(v any) string {
	text, ok := v.(string)
	if !ok {
		text = marshal(v)
	} else if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = string(raw)
	}
	mac := hmac.New(sha256.New, c.opts.MaskKey)
	mac.Write([]byte(text))
	return digestPrefix + hex.EncodeToString(mac.Sum(nil))
}

// masked is what people see of a secret value: enough to tell two values apart, nothing to guess from without the key.
func masked(digest string) string {
	return "(masked, hmac-sha256 " + strings.TrimPrefix(digest, digestPrefix)[:12] + ")"
}

// shown copies a value for a finding. isDigest says that a secret value was already replaced by its digest.
func (w *walker) shown(v any, t *typ, isDigest bool) any {
	if !t.secret {
		return clone(v)
	}
	if m, ok := v.(map[string]any); ok {
		out := make(map[string]any, len(m))
		for k, c := range m {
			out[k] = w.shown(c, t.child(k), isDigest)
		}
		return out
	}
	if d, ok := v.(string); ok && isDigest && strings.HasPrefix(d, digestPrefix) {
		return masked(d)
	}
	return masked(w.c.digest(v))
}
