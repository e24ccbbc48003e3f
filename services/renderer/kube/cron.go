package kube

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkEvery checks the duration of @every.
func checkEvery(s string) string {
	if d, err := time.ParseDuration(s); err != nil || d < time.Second {
		return "@every needs a duration of a second or more, such as 30m"
	}
	return ""
}

// check says what is wrong with one part of a list: *, a value or a range, each with or without a step.
func (f cronField) check(part string) string {
	span, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || strings.HasPrefix(step, "+") {
			return fmt.Sprintf("the step %q is not a number above 0", step)
		}
	}
	if span == "*" || span == "?" {
		return ""
	}
	from, to, ranged := strings.Cut(span, "-")
	first, ok := f.value(from)
	if !ok {
		return f.expected(from)
	}
	if !ranged {
		return ""
	}
	last, ok := f.value(to)
	switch {
	case !ok:
		return f.expected(to)
	case last < first:
		return fmt.Sprintf("the range %s ends before it begins", span)
	}
	return ""
}

func (f cronField) expected(got string) string {
	out := fmt.Sprintf("%q is not a number from %d to %d", got, f.least, f.most)
	if len(f.words) > 0 {
		out += fmt.Sprintf(" or one of %s", strings.Join(f.words, ", "))
	}
	return out
}

func (f cronField) value(s string) (int, bool) {
	if i := slices.Index(f.words, strings.ToLower(s)); i >= 0 {
		return i + f.least, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= f.least && n <= f.most && s[0] != '+'
}
