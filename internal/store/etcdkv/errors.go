package etcdkv

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
)

// fail gives the error of a call in the port's terms. ctx is the caller's: when it has ended, that is the error.
func (db *DB) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// gRPC sees a deadline a moment before the context's own timer does.
	if deadline, ok := ctx.Deadline(); ok && codeOf(err) == codes.DeadlineExceeded && !deadline.After(now().Add(clockSlack)) {
		return context.DeadlineExceeded
	}
	if db.isClosed() {
		return store.Closed()
	}
	switch {
	case is(err, rpctypes.ErrGRPCNoSpace):
		return unavailable(err, "etcd has no space left for writing; let it compact and defragment, raise --quota-backend-bytes, then `etcdctl alarm disarm`")
	case is(err, rpctypes.ErrGRPCRequestTooLarge), is(err, rpctypes.ErrGRPCTooManyOps):
		return limits(err) // a member runs with other flags than the one that Open asked
	case is(err, rpctypes.ErrGRPCAuthFailed), is(err, rpctypes.ErrGRPCPermissionDenied), is(err, rpctypes.ErrGRPCUserEmpty):
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_STORE_UNAVAILABLE,
			"etcd refuses this server's user; give it read and write on the prefix %q, see user and password-file of --store", db.root).Because(err)
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled, codes.Unauthenticated:
		return unreachable(db.cfg.Endpoints, err)
	}
	return err
}

// is compares by code and text, which is what etcd's errors are made of.
func is(err, want error) bool {
	a, b := status.Convert(rpcError(err)), status.Convert(want)
	return a.Code() == b.Code() && strings.HasSuffix(a.Message(), b.Message())
}

// rpcError turns the client's own error type back into gRPC's.
func rpcError(err error) error {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return status.Error(e.Code(), e.Error())
	}
	return err
}

func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return status.Code(rpcError(err))
}

func unavailable(err error, format string, args ...any) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, format, args...).Because(err)
}

func unreachable(endpoints []string, err error) error {
	return unavailable(err, "no etcd member answers in time (%s); what was being written may or may not be", strings.Join(endpoints, ", "))
}

// limits is the error for a server whose limits are smaller than the port's.
func limits(err error) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE,
		"etcd's limits are too small for this server; start every member with --max-request-bytes=%d --max-txn-ops=%d", maxRequestBytes, store.MaxTxOps).
		With("state", "ETCD_LIMITS").Because(err)
}
