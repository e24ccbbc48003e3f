package lazyre_test

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/lazyre"
)

func TestALazyExpressionAnswersAsRegexpDoes(t *testing.T) {
	const expr, text = `(a+)(b?)`, "xaab ab a"
	lazy, want := lazyre.New(expr), regexp.MustCompile(expr)
	if lazy.MatchString(text) != want.MatchString(text) || lazy.MatchString("x") || lazy.FindString(text) != want.FindString(text) {
		t.Error("MatchString or FindString differ")
	}
	for what, diff := range map[string]string{
		"FindStringSubmatch":         cmp.Diff(want.FindStringSubmatch(text), lazy.FindStringSubmatch(text)),
		"FindAllStringSubmatch":      cmp.Diff(want.FindAllStringSubmatch(text, -1), lazy.FindAllStringSubmatch(text, -1)),
		"FindAllStringSubmatchIndex": cmp.Diff(want.FindAllStringSubmatchIndex(text, 2), lazy.FindAllStringSubmatchIndex(text, 2)),
		"ReplaceAllString":           cmp.Diff(want.ReplaceAllString(text, "<$1>"), lazy.ReplaceAllString(text, "<$1>")),
		"FindSubmatch":               cmp.Diff(want.FindSubmatch([]byte(text)), lazy.FindSubmatch([]byte(text))),
		"ReplaceAllStringFunc":       cmp.Diff(want.ReplaceAllStringFunc(text, strings.ToUpper), lazy.ReplaceAllStringFunc(text, strings.ToUpper)),
	} {
		if diff != "" {
			t.Errorf("%s differs (-regexp +lazy)\n%s", what, diff)
		}
	}
}

func TestFirstUseByManyAtOnce(t *testing.T) {
	lazy := lazyre.New(`^[a-z]{0,60}$`)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if !lazy.MatchString("abc") {
				t.Error("does not match")
			}
		})
	}
	all.Wait()
}

func TestAWrongExpressionPanicsWhenItIsUsed(t *testing.T) {
	lazy := lazyre.New(`(`)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	lazy.MatchString("")
}
