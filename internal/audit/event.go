package audit

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// collection is the first part of the names of audit events.
const collection = "auditEvents/"

// idDigits is the length of the time in an id: microseconds, enough for all times that a clock can show.
const idDigits = 20

// NewID gives an id that is greater than those of earlier times.
func NewID(at time.Time) string {
	return FirstID(at) + "-" + strings.ToLower(rand.Text()[:10])
}

// FirstID gives a bound: ids of that time or later are greater, ids of earlier times are less.
func FirstID(at time.Time) string { return fmt.Sprintf("%0*d", idDigits, max(at.UnixMicro(), 0)) }

// maxMessage bounds what of an error's message is kept.
const maxMessage = 2000

// NewEvent gives what can be told of a call: who, what, from where. Its outcome is OK.
func NewEvent(id string, at time.Time, c *rpc.Call) *catalogv1.AuditEvent {
	e := &catalogv1.AuditEvent{
		Name: collection + id, Time: timestamppb.New(at), Actor: clean(c.Caller), Method: ShortMethod(c.Method), Action: Action(c.Method),
		Resource: clean(ResourceOf(c.Method, c.Request)), Code: codeName(codes.OK), Peer: clean(c.Peer), RequestId: RedactText(clean(c.RequestID)),
		UserAgent: RedactText(clean(c.UserAgent)),
	}
	if e.GetActor() == "" {
		e.Actor = "unknown"
	}
	return e
}

// Failed notes in an event how its call failed. err is the status error that the caller got.
func Failed(e *catalogv1.AuditEvent, err error) {
	e.Code = codeName(status.Code(err))
	ours := rpc.FromStatus(err)
	e.Reason = rpc.ReasonName(errs.ReasonOf(ours))
	e.Message = clean(RedactText(errs.Message(ours)))
	if len(e.GetMessage()) > maxMessage {
		e.Message = clean(e.GetMessage()[:maxMessage]) + "…"
	}
}

// codeName gives a code as errors in JSON spell it.
func codeName(c codes.Code) string { return code.Code(c).String() }

func clean(s string) string { return strings.ToValidUTF8(s, "?") }

// JSON gives a message's JSON form.
func JSON(m proto.Message) (*structpb.Struct, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	out := &structpb.Struct{}
	if err := protojson.Unmarshal(b, out); err != nil {
		return nil, fmt.Errorf("decode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return out, nil
}
