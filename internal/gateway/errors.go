package gateway

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// writeError gives errors that never reached a service the same form as those of services: with a reason, and with the field
// where one is known.
func writeError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	s := status.Convert(err)
	if s.Code() == codes.InvalidArgument && len(s.Details()) == 0 {
		err = badRequest(s.Message())
	} else {
		err = rpc.FromStatus(err)
	}
	var e *errs.Error
	if errors.As(err, &e) && e.Kind == errs.Exhausted {
		w.Header().Set("Retry-After", e.Meta["retry_after"])
	}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, rpc.ToStatus(err, r.Header.Get(rpc.RequestIDHeader)).Err())
}

// inRequest finds the place in what the decoders of JSON and of paths say, which carry it nowhere else.
var inRequest = regexp.MustCompile(`unknown field "([^"]+)"|parameter: ([^,]+),`)

func badRequest(said string) error {
	if strings.Contains(said, "request body too large") {
		return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "the request is too large; send at most %d MiB", MaxBodyBytes>>20).With("limit", "body")
	}
	field := "body"
	if m := inRequest.FindStringSubmatch(said); m != nil {
		field = m[1] + m[2]
	}
	return errs.InvalidField(field, "cannot be read: %s; compare with the API's description", said)
}

// writeRoutingError answers for paths and methods that the API does not have.
func writeRoutingError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	err := errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "the API has no %s %s; compare with its description", r.Method, r.URL.Path)
	if code == http.StatusBadRequest {
		err = errs.InvalidField("path", "cannot be read; compare with the API's description")
	}
	out := rpc.ToStatus(err, r.Header.Get(rpc.RequestIDHeader)).Err()
	if code == http.StatusMethodNotAllowed {
		out = &runtime.HTTPStatusError{HTTPStatus: code, Err: out}
	}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, out)
}

// retryLater gives every 429 a Retry-After, also the ones of streams, whose errors are written without our doing.
type retryLater struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w retryLater) WriteHeader(code int) {
	if code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets streams flush.
func (w retryLater) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher, which the streams of grpc-gateway ask for by type.
func (w retryLater) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
