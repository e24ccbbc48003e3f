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
func New(ctx context.Context, conn grpc.ClientConnInterface) (http.Handler, error) {
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
	for _, register := range []func() error{
		func() error {
			return catalogv1.RegisterCatalogServiceHandlerClient(ctx, mux, catalogv1.NewCatalogServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterDraftServiceHandlerClient(ctx, mux, catalogv1.NewDraftServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterVariableServiceHandlerClient(ctx, mux, catalogv1.NewVariableServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterDefinitionServiceHandlerClient(ctx, mux, catalogv1.NewDefinitionServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterAccessServiceHandlerClient(ctx, mux, catalogv1.NewAccessServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterManifestServiceHandlerClient(ctx, mux, catalogv1.NewManifestServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterGitServiceHandlerClient(ctx, mux, catalogv1.NewGitServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterFindingServiceHandlerClient(ctx, mux, catalogv1.NewFindingServiceClient(conn))
		},
		func() error {
			return catalogv1.RegisterAdoptionServiceHandlerClient(ctx, mux, catalogv1.NewAdoptionServiceClient(conn))
		},
		func() error {
			return driftv1.RegisterLiveServiceHandlerClient(ctx, mux, driftv1.NewLiveServiceClient(conn))
		},
		func() error {
			return eventsv1.RegisterEventServiceHandlerClient(ctx, mux, eventsv1.NewEventServiceClient(conn))
		},
		func() error {
			return driftv1.RegisterDriftServiceHandlerClient(ctx, mux, driftv1.NewDriftServiceClient(conn))
		},
		func() error {
			return rendererv1.RegisterRendererServiceHandlerClient(ctx, mux, rendererv1.NewRendererServiceClient(conn))
		},
	} {
		if err := register(); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBodyBytes)
		mux.ServeHTTP(retryLater{w}, r)
	}), nil
}

// originHeader is how a client of the REST API says what it is.
const originHeader = "X-Towpath-Origin"

func incoming(header string) (string, bool) {
	if textproto.CanonicalMIMEHeaderKey(header) == textproto.CanonicalMIMEHeaderKey(rpc.RequestIDHeader) {
		return rpc.RequestIDHeader, true
	}
	if textproto.CanonicalMIMEHeaderKey(header) == originHeader { // what the client is; the catalog tells it in history
		return "x-towpath-origin", true
	}
	return runtime.DefaultHeaderMatcher(header)
}

func outgoing(header string) (string, bool) {
	if header == rpc.RequestIDHeader {
		return textproto.CanonicalMIMEHeaderKey(header), true
	}
	return "", false
}
