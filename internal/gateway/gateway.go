// Package gateway is the REST face of the gRPC API: the same services, errors and access rules, reached through a real
// connection, so that no interceptor is skipped.
package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// MaxBodyBytes is the largest request body. JSON carries bytes as base64, so it is above what a gRPC message may have.
const MaxBodyBytes = 48 << 20

// New gives the handler of /v1/. The connection reaches all services, directly or through Proxy.
func New(ctx context.Context, conn *grpc.ClientConn) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(outgoing),
		runtime.WithErrorHandler(writeError),
		runtime.WithRoutingErrorHandler(writeRoutingError),
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{
			// Defaults are sent, so that a script need not know which fields a message can have.
			MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true},
			// An unknown field is a typing mistake that would otherwise be lost without a word.
			UnmarshalOptions: protojson.UnmarshalOptions{},
		}),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		catalogv1.RegisterCatalogServiceHandler,
		catalogv1.RegisterDraftServiceHandler,
		catalogv1.RegisterVariableServiceHandler,
		catalogv1.RegisterDefinitionServiceHandler,
		catalogv1.RegisterAccessServiceHandler,
		eventsv1.RegisterEventServiceHandler,
		driftv1.RegisterDriftServiceHandler,
		rendererv1.RegisterRendererServiceHandler,
	} {
		if err := register(ctx, mux, conn); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBodyBytes)
		mux.ServeHTTP(retryLater{w}, r)
	}), nil
}

func incoming(header string) (string, bool) {
	if textproto.CanonicalMIMEHeaderKey(header) == textproto.CanonicalMIMEHeaderKey(rpc.RequestIDHeader) {
		return rpc.RequestIDHeader, true
	}
	return runtime.DefaultHeaderMatcher(header)
}

func outgoing(header string) (string, bool) {
	if header == rpc.RequestIDHeader {
		return textproto.CanonicalMIMEHeaderKey(header), true
	}
	return "", false
}
