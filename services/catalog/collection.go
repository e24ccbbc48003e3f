package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// resource is what all resources have in common.
type resource interface {
	proto.Message
	GetName() string
	GetEtag() string
}

// collection is what differs between the kinds of resources that people write.
type collection[T resource] struct {
	table store.Table[T]
	// name is the first part of the resource names, "applications".
	name string
	// singular is the request's field, "application".
	singular string
	maxID    int
	// mutable are the fields that an update may change.
	mutable []string
	// complete fills in defaults, checks msg, and adds to tx what must hold with it. old is nil when it is created.
	complete func(ctx context.Context, s *Service, old, msg T, tx *store.Tx) error
	// usedBy names somebody who refers to the resource, "" for nobody.
	usedBy func(ctx context.Context, s *Service, name string) (string, error)
}

// create makes the resource, once for a request id.
func (c collection[T]) create(ctx context.Context, s *Service, id string, given T, r request) (T, error) {
	var none T
	if err := rules.CheckID(c.singular+"_id", id, c.maxID); err != nil {
		return none, err
	}
	msg := fresh[T]()
	err := retry(ctx, func() error {
		rev, found, err := s.earlier(ctx, r, msg)
		if err != nil || found {
			setString(msg, "etag", store.Etag(rev))
			return err
		}
		if given.ProtoReflect().IsValid() {
			msg = proto.CloneOf(given)
		}
		s.stampNew(ctx, msg, c.name+"/"+id)
		var tx store.Tx
		if err := c.complete(ctx, s, none, msg, &tx); err != nil {
			return err
		}
		// The request's condition first: of two equal calls at once, the slower one must find the faster one's answer.
		if err := s.answer(&tx, r, msg); err != nil {
			return err
		}
		if err := c.table.Create(&tx, id, msg); err != nil {
			return err
		}
		rev, err = s.cfg.KV.Commit(ctx, tx)
		setString(msg, "etag", store.Etag(rev))
		return orExists(err, c.table.Key(id), msg.GetName())
	})
	if err != nil {
		return none, err
	}
	return msg, nil
}

// get reads the resource.
func (c collection[T]) get(ctx context.Context, s *Service, field, name string) (store.Row[T], error) {
	id, err := rules.ParseName(field, c.name, name)
	if err != nil {
		return store.Row[T]{}, err
	}
	row, err := c.table.Get(ctx, s.cfg.KV, id)
	if err != nil {
		return row, orNotFound(err, name, "")
	}
	setString(row.Msg, "etag", store.Etag(row.Rev))
	return row, nil
}

// list reads a page in the order of names.
func (c collection[T]) list(ctx context.Context, s *Service, size int32, token string) ([]T, string, error) {
	if size == 0 {
		size = 100
	}
	rows, next, err := c.table.List(ctx, s.cfg.KV, store.List{PageSize: int(size), PageToken: token}, nil)
	out := make([]T, len(rows))
	for i, row := range rows {
		setString(row.Msg, "etag", store.Etag(row.Rev))
		out[i] = row.Msg
	}
	return out, next, err
}

// update changes the fields of the mask, all that can be changed when it is empty.
func (c collection[T]) update(ctx context.Context, s *Service, given T, mask *fieldmaskpb.FieldMask) (T, error) {
	var none T
	if !given.ProtoReflect().IsValid() {
		return none, errs.InvalidField(c.singular, "is missing; give the %s with its name and new values", c.singular)
	}
	var out T
	err := retry(ctx, func() error {
		row, err := c.get(ctx, s, c.singular+".name", given.GetName())
		if err != nil {
			return err
		}
		if err := checkEtag(given.GetEtag(), row.Rev, given.GetName()); err != nil {
			return err
		}
		out = proto.CloneOf(row.Msg)
		if err := merge(out, given, mask, c.mutable); err != nil {
			return err
		}
		if proto.Equal(out, row.Msg) {
			return nil
		}
		setString(out, "etag", "")
		setTime(out, "update_time", timestamppb.New(s.now()))
		var tx store.Tx
		if err := c.complete(ctx, s, row.Msg, out, &tx); err != nil {
			return err
		}
		if err := c.table.Update(&tx, row.ID, row.Rev, out); err != nil {
			return err
		}
		rev, err := s.cfg.KV.Commit(ctx, tx)
		setString(out, "etag", store.Etag(rev))
		return err
	})
	if err != nil {
		return none, err
	}
	return out, nil
}

// remove deletes a resource that nobody refers to.
func (c collection[T]) remove(ctx context.Context, s *Service, name, etag string) error {
	return retry(ctx, func() error {
		row, err := c.get(ctx, s, "name", name)
		if err != nil {
			return err
		}
		if err := checkEtag(etag, row.Rev, name); err != nil {
			return err
		}
		var tx store.Tx
		key := c.table.Key(row.ID)
		if err := s.refuseWhileUsed(ctx, &tx, key, name, "removed", func() (string, error) { return c.usedBy(ctx, s, name) }); err != nil {
			return err
		}
		c.table.Delete(&tx, row.ID, row.Rev)
		tx.Delete(guard(key))
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
}

// refuseWhileUsed answers REASON_IN_USE when find finds a user, and makes the transaction fail when one comes in the meantime.
func (s *Service) refuseWhileUsed(ctx context.Context, tx *store.Tx, key, name, verb string, find func() (string, error)) error {
	e, err := s.cfg.KV.Get(ctx, guard(key))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	by, err := find()
	if err != nil {
		return err
	}
	if by != "" {
		return errs.New(errs.Precondition, errorsv1.Reason_REASON_IN_USE,
			"%s is used by %s and cannot be %s; remove or change that first", name, by, verb).With("used_by", by)
	}
	tx.If(store.IfRev(guard(key), e.Rev))
	return nil
}

// refer reads a row that msg refers to and adds to the transaction that it stays as it is and that it has a new user.
func refer[T proto.Message](ctx context.Context, s *Service, tx *store.Tx, t store.Table[T], collection, field, name string) (T, error) {
	var none T
	id, err := rules.ParseName(field, collection, name)
	if err != nil {
		return none, err
	}
	row, err := t.Get(ctx, s.cfg.KV, id)
	if errors.Is(err, store.ErrNotFound) {
		return none, errs.InvalidField(field, "%s does not exist; create it first or name another", name)
	}
	if err != nil {
		return none, err
	}
	tx.If(store.IfRev(t.Key(id), row.Rev)).Put(guard(t.Key(id)), nil)
	return row.Msg, nil
}

// stampNew sets what the caller cannot: the name, times and actor of a new resource, and no etag.
func (s *Service) stampNew(ctx context.Context, m proto.Message, name string) {
	now := timestamppb.New(s.now())
	setString(m, "name", name)
	setString(m, "etag", "")
	setString(m, "create_actor", actor(ctx))
	setTime(m, "create_time", now)
	setTime(m, "update_time", now)
}

// actor gives who calls. Without authentication, as in a server that has none, everybody is anonymous.
func actor(ctx context.Context) string {
	if c, ok := auth.CallerFrom(ctx); ok {
		return c.Subject
	}
	return "anonymous"
}

func checkEtag(etag string, rev int64, name string) error {
	want, err := store.ParseEtag(etag)
	if err != nil || want == store.AnyRev || want == rev {
		return err
	}
	return errs.New(errs.Conflict, errorsv1.Reason_REASON_ETAG_MISMATCH,
		"%s was changed since it was read; read it again and repeat the change", name).With("resource", name)
}

// merge copies the masked fields. A path may go into a message, as defaults.replicas.
func merge(dst, src proto.Message, mask *fieldmaskpb.FieldMask, mutable []string) error {
	paths := mask.GetPaths()
	if len(paths) == 0 {
		paths = mutable
	}
	for i, path := range paths {
		first, _, _ := strings.Cut(path, ".")
		if !slices.Contains(mutable, first) {
			return errs.InvalidField("update_mask.paths["+itoa(i)+"]", "%q cannot be changed; these can: %s", path, strings.Join(mutable, ", "))
		}
		if !copyField(dst.ProtoReflect(), src.ProtoReflect(), strings.Split(path, ".")) {
			return errs.InvalidField("update_mask.paths["+itoa(i)+"]", "there is no field %q", path)
		}
	}
	return nil
}

func copyField(dst, src protoreflect.Message, path []string) bool {
	fd := dst.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	if fd == nil {
		return false
	}
	if len(path) > 1 {
		if fd.Message() == nil || fd.IsMap() || fd.IsList() {
			return false
		}
		return copyField(dst.Mutable(fd).Message(), src.Get(fd).Message(), path[1:])
	}
	if src.Has(fd) {
		dst.Set(fd, src.Get(fd))
	} else {
		dst.Clear(fd)
	}
	return true
}

func fresh[T proto.Message]() T {
	var zero T
	return zero.ProtoReflect().Type().New().Interface().(T)
}

func setString(m proto.Message, field protoreflect.Name, v string) {
	if fd := m.ProtoReflect().Descriptor().Fields().ByName(field); fd != nil {
		m.ProtoReflect().Set(fd, protoreflect.ValueOfString(v))
	}
}

func setTime(m proto.Message, field protoreflect.Name, t *timestamppb.Timestamp) {
	if fd := m.ProtoReflect().Descriptor().Fields().ByName(field); fd != nil {
		m.ProtoReflect().Set(fd, protoreflect.ValueOfMessage(t.ProtoReflect()))
	}
}

// orExists turns the conflict of a row that must be new into REASON_ALREADY_EXISTS.
func orExists(err error, key, name string) error {
	if k, ok := store.ConflictKey(err); ok && k == key {
		return errs.New(errs.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS,
			"%s exists already; choose another id or update it", name).With("resource", name)
	}
	return err
}

// orNotFound turns the store's error, which names a key, into one that names the resource.
func orNotFound(err error, name, hint string, args ...any) error {
	if errors.Is(err, store.ErrNotFound) {
		return errs.NotFoundf(name, hint, args...)
	}
	return err
}
