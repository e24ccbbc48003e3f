// Package lazyre holds regular expressions that are compiled when they are first used. A package full of compiled expressions
// costs every process milliseconds before main begins, and the command line is a process for each call: most of them use two
// or three expressions of thirty.
package lazyre

import (
	"regexp"
	"sync"
)

// Regexp is an expression that is compiled at its first use. It is safe for concurrent use.
type Regexp struct {
	// Source is the expression as it was written, for the test that compiles all of them.
	Source string
	once   sync.Once
	re     *regexp.Regexp
}

// New makes an expression; one that does not compile panics at its first use, as regexp.MustCompile does.
func New(expr string) *Regexp { return &Regexp{Source: expr} }

func (r *Regexp) get() *regexp.Regexp {
	r.once.Do(func() { r.re = regexp.MustCompile(r.Source) })
	return r.re
}

// MatchString is regexp.Regexp's, as all that follow are.
func (r *Regexp) MatchString(s string) bool { return r.get().MatchString(s) }

// FindString gives the first match, empty for none.
func (r *Regexp) FindString(s string) string { return r.get().FindString(s) }

// FindStringSubmatch gives the first match and its groups, nil for none.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.get().FindStringSubmatch(s) }

// FindAllStringSubmatch gives up to n matches with their groups, all when n is negative.
func (r *Regexp) FindAllStringSubmatch(s string, n int) [][]string {
	return r.get().FindAllStringSubmatch(s, n)
}

// FindAllStringSubmatchIndex gives where up to n matches and their groups are, all when n is negative.
func (r *Regexp) FindAllStringSubmatchIndex(s string, n int) [][]int {
	return r.get().FindAllStringSubmatchIndex(s, n)
}

// ReplaceAllStringFunc replaces every match by what f gives for it.
func (r *Regexp) ReplaceAllStringFunc(s string, f func(string) string) string {
	return r.get().ReplaceAllStringFunc(s, f)
}

// ReplaceAllString replaces every match by the text, in which $1 is the first group.
func (r *Regexp) ReplaceAllString(s, by string) string { return r.get().ReplaceAllString(s, by) }

// FindSubmatch gives the first match in bytes and its groups, nil for none.
func (r *Regexp) FindSubmatch(b []byte) [][]byte { return r.get().FindSubmatch(b) }
