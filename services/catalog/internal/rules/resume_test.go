package rules_test

import (
	"slices"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

func TestAResumeTokenIsOfOneList(t *testing.T) {
	token := rules.ResumeToken("environments\x00shop", []int64{7, 1 << 40})
	got, err := rules.ParseResumeToken("environments\x00shop", token, 2)
	if err != nil || !slices.Equal(got, []int64{7, 1 << 40}) {
		t.Errorf("its own list gives %v, %v", got, err)
	}
	for name, try := range map[string]func() ([]int64, error){
		"another list":           func() ([]int64, error) { return rules.ParseResumeToken("environments\x00cart", token, 2) },
		"another number of logs": func() ([]int64, error) { return rules.ParseResumeToken("environments\x00shop", token, 1) },
		"something after it":     func() ([]int64, error) { return rules.ParseResumeToken("environments\x00shop", token+"-", 2) },
		"another spelling": func() ([]int64, error) {
			return rules.ParseResumeToken("environments\x00shop", token[:11]+"0"+token[11:], 2)
		},
		"no token at all of ours":  func() ([]int64, error) { return rules.ParseResumeToken("environments\x00shop", "hello", 2) },
		"a revision below nothing": func() ([]int64, error) { return rules.ParseResumeToken("environments\x00shop", token[:11]+"-1-2", 2) },
	} {
		if got, err := try(); !errs.Is(err, errs.Invalid) || got != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func FuzzParseResumeToken(f *testing.F) {
	f.Add("", 1)
	f.Add(rules.ResumeToken("a", []int64{1}), 1)
	f.Add("0-0--", 3)
	f.Fuzz(func(t *testing.T, token string, n int) {
		n &= 3
		revs, err := rules.ParseResumeToken("a", token, n)
		if err == nil && token != "" && rules.ResumeToken("a", revs) != token {
			t.Errorf("%q was taken and is written %q", token, rules.ResumeToken("a", revs))
		}
	})
}
