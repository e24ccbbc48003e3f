// Package secrets tells a credential by its form or by the name of what holds it. Whoever takes text in that will be kept or
// shown asks here: the catalog refuses what would reach Git, the audit trail leaves out what it may not keep.
//
// What belongs here: forms and names. What does not: what to do about it.
package secrets

import (
	"regexp"
	"strconv"
	"strings"
)

// forms are those of credentials that nobody writes by chance. hints are texts of which every match has one: looking for them
// first makes harmless text, nearly all of it, cheap.
var forms = []struct {
	what    string
	hints   []string
	pattern *regexp.Regexp
}{
	{"a private key", []string{"-----BEGIN "}, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----`)},
	{"an AWS access key", []string{"AKIA", "ASIA"}, regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a GitHub token", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}, regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})`)},
	{"a GitLab token", []string{"glpat-"}, regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
	{"a Slack token", []string{"xox"}, regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}`)},
	{"a Google API key", []string{"AIza"}, regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`)},
	{"a Stripe key", []string{"k_live_"}, regexp.MustCompile(`\b[sr]k_live_[0-9A-Za-z]{16,}`)},
	{"an npm token", []string{"npm_"}, regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"a JSON Web Token", []string{"eyJ"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`)},
	{"a Towpath token", []string{"tow_"}, regexp.MustCompile(`\btow_[A-Za-z0-9]{20,}`)},
	{"a URL with a password", []string{"://"}, regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@${]+@`)},
}

// secretName matches names of variables that hold nothing but secrets.
var secretName = regexp.MustCompile(`(?i)(?:^|[_.-])(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRET_?KEY|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?)$`)

// Looks says what a value looks like, as in "a private key"; "" when it looks like no secret.
func Looks(value string) string {
	for _, f := range forms {
		for _, hint := range f.hints {
			if strings.Contains(value, hint) && f.pattern.MatchString(value) {
				return f.what
			}
		}
	}
	return ""
}

// LooksNamed also judges by the name of what holds the value, as of a variable. A placeholder makes a reference of the value, and
// a number or a truth value is a setting (MAX_TOKEN=100), unless a password is asked for.
func LooksNamed(key, value string) string {
	if what := Looks(value); what != "" {
		return what
	}
	if value == "" || strings.Contains(value, "${") || !secretName.MatchString(key) {
		return ""
	}
	if !strings.Contains(strings.ToUpper(key), "PASS") {
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			return ""
		}
		if _, err := strconv.ParseBool(value); err == nil {
			return ""
		}
	}
	return "a secret by its name"
}
