package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The exit codes; they are an interface that scripts rely on, so none ever changes its meaning (`tow help exit-codes`).
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotWell     = 3
	exitTimeout     = 4
	exitNotFound    = 5
	exitNotAllowed  = 6
	exitConflict    = 7
	exitUnavailable = 8
	// exitInterrupted is what shells give for a program that SIGINT ended.
	exitInterrupted = 130
)

var kindCodes = map[errs.Kind]int{
	errs.NotFound: exitNotFound, errs.Denied: exitNotAllowed, errs.Unauthenticated: exitNotAllowed, errs.Timeout: exitTimeout,
	errs.Conflict: exitConflict, errs.Precondition: exitConflict, errs.AlreadyExists: exitConflict, errs.Unavailable: exitUnavailable, errs.Exhausted: exitUnavailable,
}

// usageError is a mistake in the command line itself; nothing was done.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func asUsage(err error) error {
	var u *usageError
	if errors.As(err, &u) {
		return err
	}
	return &usageError{err.Error()}
}

// exitCodeError gives an error an exit code that its kind does not tell.
type exitCodeError struct {
	code int
	err  error
}

func (e *exitCodeError) Error() string { return e.err.Error() }
func (e *exitCodeError) Unwrap() error { return e.err }

// fail tells an error on standard error and gives the exit code.
func (t *tow) fail(cmd *cobra.Command, err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(t.Stderr, "error: %s\nhint: %s --help\n", usage.msg, cmd.CommandPath())
		return exitUsage
	}
	msg, fields, hint := err.Error(), []errs.Field(nil), ""
	var e *errs.Error
	if errors.As(t.located(err), &e) {
		msg, fields, hint = e.Msg, e.Fields, hintFor(e)
	}
	if hint == "" {
		hint = t.nearby(err)
	}
	fmt.Fprintf(t.Stderr, "error: %s\n", clean(msg))
	for _, f := range fields {
		fmt.Fprintf(t.Stderr, "  %s: %s\n", clean(f.Path), strings.ReplaceAll(clean(f.Problem), "\n", "\n  "))
	}
	if hint != "" {
		fmt.Fprintf(t.Stderr, "hint: %s\n", hint)
	}
	var code *exitCodeError
	if errors.As(err, &code) {
		return code.code
	}
	if c, ok := kindCodes[errs.KindOf(err)]; ok {
		return c
	}
	return exitError
}

// hintFor says what to do next where the server cannot know it, because it does not know the command line.
func hintFor(e *errs.Error) string {
	if hint := e.Meta["tow_hint"]; hint != "" {
		return hint
	}
	switch e.Reason {
	case errorsv1.Reason_REASON_UNAUTHENTICATED:
		return "tow login --server HOST:PORT --token-file FILE, or set TOW_TOKEN"
	case errorsv1.Reason_REASON_PERMISSION_DENIED:
		return "tow whoami shows who you are, tow auth can-i what you may do; an admin gives roles with `tow role-binding create`"
	case errorsv1.Reason_REASON_RATE_LIMITED:
		return "wait " + e.Meta["retry_after"] + " s, or make fewer calls"
	case errorsv1.Reason_REASON_ETAG_MISMATCH, errorsv1.Reason_REASON_PUSH_CONFLICT:
		return "somebody else was faster; run the command again"
	case errorsv1.Reason_REASON_PLAN_MOVED:
		return "what moved: " + e.Meta["moved"] + "; make a new plan with --plan"
	case errorsv1.Reason_REASON_DRAFT_CONFLICT:
		return "changed on both sides: " + strings.Join(strings.Split(clean(e.Meta["paths"]), "\n"), ", ")
	case errorsv1.Reason_REASON_GUARDRAIL:
		return "run it with --plan to see all that guardrails say"
	case errorsv1.Reason_REASON_IN_USE:
		return "used by " + e.Meta["used_by"]
	case errorsv1.Reason_REASON_REQUEST_ID_REUSED:
		return "leave --request-id out, or give another one"
	case errorsv1.Reason_REASON_FINDING_GONE:
		return "tow drift list shows the findings of now"
	case errorsv1.Reason_REASON_PUSH_REFUSED:
		if says := e.Meta["host_says"]; says != "" {
			return "the Git host says: " + says
		}
	case errorsv1.Reason_REASON_INTERNAL:
		if id := e.Meta["request_id"]; id != "" {
			return "the server's log has the cause under request id " + id
		}
	}
	return ""
}
