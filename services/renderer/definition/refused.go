package definition

import (
	"fmt"
	"slices"
	"strings"
)

// WhyRefused says why a template function that people know from Sprig cannot be in rendering: it reads the machine, is random, or
// depends on the clock. It is empty for every other function.
func WhyRefused(name string) string {
	if why := refused(name); why != notAllowed {
		return why
	}
	return ""
}

const notAllowed = "is not among the functions that rendering allows"

// sortedKeys is Sprig's keys, which gives the keys of maps in the order that Go happens to have them.
func sortedKeys(maps ...map[string]any) []string {
	out := []string{}
	for _, m := range maps {
		for k := range m {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// sortedValues is Sprig's values, in the order of the keys.
func sortedValues(m map[string]any) []any {
	out := make([]any, 0, len(m))
	for _, k := range sortedKeys(m) {
		out = append(out, m[k])
	}
	return out
}

// StableFunctions are functions that take the place of ones in text/template and Sprig whose result differs from run to run.
func StableFunctions() map[string]any {
	return map[string]any{"keys": sortedKeys, "values": sortedValues, "printf": stablePrintf}
}

// stablePrintf is printf without addresses.
func stablePrintf(format string, args ...any) (string, error) {
	if strings.Contains(strings.ReplaceAll(format, "%%", ""), "%") && addressVerb.MatchString(format) {
		return "", fmt.Errorf("printf takes no %%p: addresses differ from run to run")
	}
	return fmt.Sprintf(format, args...), nil
}
