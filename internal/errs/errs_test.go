package errs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestKindAndReasonAreFoundThroughWrapping(t *testing.T) {
	ours := errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE, "no route")
	for name, c := range map[string]struct {
		err    error
		kind   errs.Kind
		reason errs.Reason
	}{
		"ours":          {ours, errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE},
		"wrapped":       {fmt.Errorf("push: %w", ours), errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE},
		"joined":        {errors.Join(errors.New("other"), ours), errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE},
		"foreign":       {errors.New("boom"), errs.Internal, errorsv1.Reason_REASON_INTERNAL},
		"cancelled":     {fmt.Errorf("read: %w", context.Canceled), errs.Cancelled, errorsv1.Reason_REASON_CANCELLED},
		"past deadline": {context.DeadlineExceeded, errs.Timeout, errorsv1.Reason_REASON_TIMEOUT},
	} {
		t.Run(name, func(t *testing.T) {
			if k, r := errs.KindOf(c.err), errs.ReasonOf(c.err); k != c.kind || r != c.reason {
				t.Errorf("got %v and %v, want %v and %v", k, r, c.kind, c.reason)
			}
		})
	}
}

func TestAMessageForPeopleHasFieldsAndNoCause(t *testing.T) {
	err := fmt.Errorf("outer: %w", errs.InvalidField("a.b", "is %d", 7).Because(errors.New("password=hunter2")))
	if m := errs.Message(err); !strings.Contains(m, "a.b: is 7") || strings.Contains(m, "hunter2") || strings.Contains(m, "outer") {
		t.Errorf("the message is %q", m)
	}
	if m := errs.Message(errors.New("password=hunter2")); strings.Contains(m, "hunter2") {
		t.Errorf("a foreign error's text got out: %q", m)
	}
}

func TestWithDoesNotChangeMetadataThatIsShared(t *testing.T) {
	first := errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "x").With("limit", "1")
	shared := first.Meta
	second := *first
	(&second).With("limit", "2")
	if shared["limit"] != "1" || second.Meta["limit"] != "2" {
		t.Errorf("shared %v, second %v", shared, second.Meta)
	}
}

func TestNoErrorIsOfNoKind(t *testing.T) {
	if errs.Is(nil, errs.Internal) {
		t.Error("nil is an error")
	}
}
