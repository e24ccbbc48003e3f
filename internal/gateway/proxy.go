package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	// The default codec must be registered before rawCodec wraps it.
	_ "google.golang.org/grpc/encoding/proto"
)

// Proxy gives server options that hand every call of a service which is not in this process to the connection that serves
// it, by the service's full name, message by message and undecoded. So clients need one address when the services run as
// several processes. Who calls is decided by the service itself: its interceptors see the caller's own credentials.
func Proxy(conns map[string]*grpc.ClientConn) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}),
		grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error { return forward(conns, in) }),
	}
}

func forward(conns map[string]*grpc.ClientConn, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	conn := conns[service]
	if conn == nil {
		return status.Errorf(codes.Unimplemented, "unknown service %s", service)
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	md, _ := metadata.FromIncomingContext(ctx)
	ctx = metadata.NewOutgoingContext(ctx, md.Copy())
	out, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	if err != nil {
		return fmt.Errorf("open %s: %w", method, err)
	}
	go func() {
		for {
			f := &frame{}
			if err := in.RecvMsg(f); err != nil {
				if errors.Is(err, io.EOF) {
					_ = out.CloseSend() // the stream's end shows in the receiving half
				} else {
					cancel()
				}
				return
			}
			if err := out.SendMsg(f); err != nil {
				return
			}
		}
	}()
	return relay(in, out)
}

// relay copies headers, messages and trailer from the service to the client until the service is done.
func relay(in grpc.ServerStream, out grpc.ClientStream) error {
	sentHeader := false
	for {
		f := &frame{}
		err := out.RecvMsg(f)
		if !sentHeader {
			sentHeader = true
			if h, herr := out.Header(); herr == nil {
				if herr := in.SetHeader(h); herr != nil {
					return herr
				}
			}
		}
		if err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := in.SendMsg(f); err != nil {
			return err
		}
	}
}

// frame is a message that is not decoded.
type frame struct{ data []byte }

// rawCodec passes frames through and leaves every other message to the codec it wraps.
type rawCodec struct{ encoding.CodecV2 }

// Marshal gives a frame's bytes as they are.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f.data)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal keeps a frame's bytes as they are. They are copied, because the buffers are reused after the call.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		f.data = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
