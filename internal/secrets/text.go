package secrets

import "strings"

// LooksText says what a text of several lines looks like: by the forms of credentials, and line by line by the names of what is given
// a value, as YAML writes it. A line with a template's action or a placeholder gets its value elsewhere.
func LooksText(text string) string {
	if what := Looks(text); what != "" {
		return what
	}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.Trim(name, " \t-\"'{"), strings.TrimSpace(value)
		if !ok || name == "" || value == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(value[:1], "{[|>&*#$") || strings.Contains(value, "{{") {
			continue
		}
		if what := LooksNamed(name, strings.Trim(value, `"' `)); what != "" {
			return what
		}
	}
	return ""
}
