package rules

import (
	"regexp"
	"strings"
)

var (
	userInfo    = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]*@`)
	queryTokens = regexp.MustCompile(`(?i)([?&](?:access_token|private_token|token|password|auth)=)[^&\s]+`)
)

// Redact takes credentials out of text that comes from a host: the user part of addresses, tokens in queries, and the given
// secrets wherever they stand.
func Redact(text string, secrets ...string) string {
	text = userInfo.ReplaceAllString(text, "$1")
	text = queryTokens.ReplaceAllString(text, "$1***")
	for _, s := range secrets {
		// Shorter ones would blank half of the text.
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return redactCut(text, secrets)
}

// redactCut takes out the beginning of a secret at the end of a text that was cut short in the middle of it.
func redactCut(text string, secrets []string) string {
	body := strings.TrimRight(strings.TrimSuffix(strings.TrimRight(text, " "), "…"), " ")
	if len(body) == len(text) {
		return text
	}
	for _, s := range secrets {
		for n := len(s) - 1; n >= 4; n-- {
			if strings.HasSuffix(body, s[:n]) {
				return body[:len(body)-n] + "*** …"
			}
		}
	}
	return text
}
