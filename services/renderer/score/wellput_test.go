package score_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/towpath-dev/towpath/internal/errs"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
)

var (
	placedPath = regexp.MustCompile(`(?s)^.*:[1-9]\d*:[1-9]\d*( .*)?$`)
	expecting  = regexp.MustCompile(`(?s)expected .`)
)

// wellPut checks that an error of the loader is typed, and that each of its problems says where it is and what was expected.
func wellPut(t testing.TB, err error) {
	t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Invalid || len(e.Fields) == 0 {
		t.Fatalf("not a typed error with fields: %.500v", err)
	}
	if e.Reason == errorsv1.Reason_REASON_TOO_LARGE {
		return
	}
	if e.Reason != errorsv1.Reason_REASON_INVALID_SCORE {
		t.Fatalf("reason %s", e.Reason)
	}
	if len(e.Fields) > 101 {
		t.Errorf("%d problems are listed", len(e.Fields))
	}
	for _, f := range e.Fields {
		if !placedPath.MatchString(f.Path) {
			t.Errorf("%.300q has no line and column: %.300s", f.Path, f.Problem)
		}
		if !expecting.MatchString(f.Problem) || strings.Contains(f.Problem, "%!") {
			t.Errorf("%.300s does not say what was expected: %.500s", f.Path, f.Problem)
		}
	}
}
