package rpc

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// Domain is the domain of every ErrorInfo that Towpath sends.
const Domain = "towpath.dev"

// reasonPrefix is what proto enum values carry and ErrorInfo reasons do not (AIP-193).
const reasonPrefix = "REASON_"

// retryAfter is the metadata of errs.Exhausted, and of errs.Unavailable where it is known: seconds.
const retryAfter = "retry_after"

var kindCodes = map[errs.Kind]codes.Code{
	errs.Internal:        codes.Internal,
	errs.Invalid:         codes.InvalidArgument,
	errs.NotFound:        codes.NotFound,
	errs.AlreadyExists:   codes.AlreadyExists,
	errs.Conflict:        codes.Aborted,
	errs.Precondition:    codes.FailedPrecondition,
	errs.Unavailable:     codes.Unavailable,
	errs.Unauthenticated: codes.Unauthenticated,
	errs.Denied:          codes.PermissionDenied,
	errs.OutOfRange:      codes.OutOfRange,
	errs.Timeout:         codes.DeadlineExceeded,
	errs.Cancelled:       codes.Canceled,
	errs.Exhausted:       codes.ResourceExhausted,
}

// ReasonName gives a reason as it stands in ErrorInfo and in events: without its prefix.
func ReasonName(r errs.Reason) string { return strings.TrimPrefix(r.String(), reasonPrefix) }

// ToStatus is the one place where an error becomes a gRPC status: with exactly one ErrorInfo, and with field violations where
// the error names fields. What is none of our errors leaves as a neutral Internal; whoever calls this logs it in full.
func ToStatus(err error, requestID string) *status.Status {
	if s, ok := status.FromError(err); ok && hasErrorInfo(s) {
		return s // another of our services made it; it is passed on as it is
	}
	kind, msg := errs.KindOf(err), errs.Message(err)
	info := &errdetails.ErrorInfo{Reason: ReasonName(errs.ReasonOf(err)), Domain: Domain}
	details := []protoadapt.MessageV1{info}
	var e *errs.Error
	switch {
	case errors.As(err, &e) && kind != errs.Internal:
		msg, info.Metadata = e.Msg, e.Meta
		if len(e.Fields) > 0 {
			br := &errdetails.BadRequest{}
			for _, f := range e.Fields {
				br.FieldViolations = append(br.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Path, Description: f.Problem})
			}
			details = append(details, br)
		}
		if wait, err := strconv.Atoi(e.Meta[retryAfter]); err == nil && (kind == errs.Exhausted || kind == errs.Unavailable) {
			details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(wait) * time.Second)})
		}
	case kind == errs.Cancelled:
		msg = "the caller went away"
	case kind == errs.Timeout:
		msg = "the deadline passed before the answer was there; the outcome is not known, so ask again with the same request_id"
	default:
		info.Metadata = map[string]string{"request_id": requestID}
	}
	s := status.New(kindCodes[kind], msg)
	// It can only fail for a status of code OK, which kindCodes does not have.
	if d, derr := s.WithDetails(details...); derr == nil {
		s = d
	}
	return s
}

func hasErrorInfo(s *status.Status) bool {
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == Domain {
			return true
		}
	}
	return false
}

// FromStatus turns the error of a gRPC call back into one of ours, so that kind, reason and fields survive a hop between
// services. An error without our ErrorInfo (a broken connection, a foreign server) keeps its kind by its code; a connection
// that cannot be made is errs.Unavailable.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &errs.Error{Kind: kindOf(s.Code()), Reason: errorsv1.Reason_REASON_INTERNAL, Msg: s.Message()}
	known := false
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				known, e.Meta = true, d.GetMetadata()
				e.Reason = errs.Reason(errorsv1.Reason_value[reasonPrefix+d.GetReason()])
			}
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, errs.Field{Path: f.GetField(), Problem: f.GetDescription()})
			}
		}
	}
	if known {
		return e
	}
	e.Err = err
	switch e.Kind {
	case errs.Unavailable:
		e.Reason, e.Msg = errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, "a service that is needed cannot be reached; it is tried again"
	case errs.Timeout:
		e.Reason = errorsv1.Reason_REASON_TIMEOUT
	case errs.Cancelled:
		e.Reason = errorsv1.Reason_REASON_CANCELLED
	case errs.Invalid:
		e.Reason = errorsv1.Reason_REASON_INVALID_FIELD
	}
	// gRPC refuses a message over the limit before any service sees it.
	if s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "larger than max") {
		e.Kind, e.Reason = errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE
	}
	return e
}

func kindOf(c codes.Code) errs.Kind {
	for k, code := range kindCodes {
		if code == c {
			return k
		}
	}
	return errs.Internal
}
