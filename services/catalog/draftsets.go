package catalog

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// Sets are stored when a deployment has them, and then for ever, as history is. What a draft makes is not stored: it is made anew of
// the draft, which an index finds by the set's digest, so that the sets of drafts that nobody deploys do not pile up. Such a set
// can be read, compared and deployed by its name as long as a draft makes it.

// unstoredSet gives a set that no deployment has.
func (s *Service) unstoredSet(ctx context.Context, name, id string) (*catalogv1.Set, error) {
	if empty := rules.EmptyState().Set; name == empty.GetName() {
		return empty, nil
	}
	for range 8 { // a draft may change between the index and its row
		index, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: draftSetPrefix + id + "/", Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(index) == 0 {
			break
		}
		row, err := drafts.Get(ctx, s.cfg.KV, strings.TrimPrefix(index[0].Key, draftSetPrefix+id+"/"))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if row.Msg.GetResultSet() != name {
			continue
		}
		return s.resultOf(ctx, row.Msg)
	}
	return nil, errs.NotFoundf(name, "deployments, environments and drafts name the sets that exist")
}

// resultOf makes the set of a draft.
func (s *Service) resultOf(ctx context.Context, d *catalogv1.Draft) (*catalogv1.Set, error) {
	base, err := s.storedSet(ctx, "draft.base_set", d.GetBaseSet())
	if err != nil {
		return nil, err
	}
	from := rules.EmptyState()
	from.Set = base
	next, err := rules.Apply(from, &catalogv1.Change{SetOperations: d.GetOperations()}, nil)
	return next.Set, renamed(err, "change.set_operations", "draft.operations")
}

// storedSet reads a set that stays: one of a deployment, or the empty one.
func (s *Service) storedSet(ctx context.Context, field, name string) (*catalogv1.Set, error) {
	id, ok := setID(name)
	if !ok {
		return nil, errs.InvalidField(field, "%q is no name of a set; it is sets/ and 64 hex digits", name)
	}
	if empty := rules.EmptyState().Set; name == empty.GetName() {
		return empty, nil
	}
	row, err := sets.Get(ctx, s.cfg.KV, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errs.InvalidField(field, "no deployment has %s; environments and deployments name the sets that can be a base", name)
	}
	return row.Msg, err
}

// rebased moves the operations of a change from the set that they were made on to the one that the change starts from.
func (s *Service) rebased(ctx context.Context, from rules.State, change *catalogv1.Change, loaded map[string]*structpb.Struct) (*catalogv1.Change, error) {
	if change.GetBaseSet() == "" || change.GetBaseSet() == from.Set.GetName() {
		return change, nil
	}
	base, err := s.set(ctx, change.GetBaseSet())
	switch {
	case errs.Is(err, errs.NotFound):
		return nil, errs.InvalidField("change.base_set", "%s does not exist; environments and deployments name the sets that do", change.GetBaseSet())
	case errs.Is(err, errs.Invalid):
		return nil, renamed(err, "set", "change.base_set")
	case err != nil:
		return nil, err
	}
	return rules.RebaseChange(base, from.Set, change, loaded)
}

// renamed calls fields of an error as they are called in the request that it came by.
func renamed(err error, from, to string) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	for i, f := range e.Fields {
		if rest, ok := strings.CutPrefix(f.Path, from); ok {
			e.Fields[i].Path = to + rest
		}
	}
	return e
}

// DiffSets gives the operations that make one set of another.
func (s draftServer) DiffSets(ctx context.Context, r *catalogv1.DiffSetsRequest) (*catalogv1.DiffSetsResponse, error) {
	from, err := s.set(ctx, r.GetFrom())
	if err != nil {
		return nil, renamed(err, "set", "from")
	}
	to, err := s.set(ctx, r.GetTo())
	if err != nil {
		return nil, renamed(err, "set", "to")
	}
	a, b := rules.EmptyState(), rules.EmptyState()
	a.Set, b.Set = from, to
	return &catalogv1.DiffSetsResponse{
		Operations: rules.Diff(rules.DocumentOf(from), rules.DocumentOf(to)), Summary: rules.Summary(a, b),
	}, nil
}
