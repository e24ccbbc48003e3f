package catalog

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// Limits of drafts. A draft is one person's change in preparation, not a place to keep data.
const (
	maxDraftBytes = 1 << 20
	maxDrafts     = 500
)

var draftMutable = []string{"display_name", "base_set", "operations", "environment", "overlay_operations", "variables"}

// parseDraft takes applications/{application}/drafts/{draft} apart; id is that of the row.
func parseDraft(field, name string) (app, id string, err error) {
	p := strings.Split(name, "/")
	if len(p) != 4 || p[0] != "applications" || p[2] != "drafts" ||
		rules.CheckID("", p[1], rules.MaxAppID) != nil || rules.CheckID("", p[3], rules.MaxID) != nil {
		return "", "", errs.InvalidField(field, "%.200q is not a name of the form applications/{application}/drafts/{draft}", name)
	}
	return p[1], p[1] + "/" + p[3], nil
}

// CreateDraft makes a draft.
func (s draftServer) CreateDraft(ctx context.Context, r *catalogv1.CreateDraftRequest) (*catalogv1.Draft, error) {
	app, err := rules.ParseName("parent", "applications", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := rules.CheckID("draft_id", r.GetDraftId(), rules.MaxID); err != nil {
		return nil, err
	}
	id, req := app+"/"+r.GetDraftId(), request{"drafts/" + app, r.GetRequestId(), r}
	out := &catalogv1.Draft{}
	err = retry(ctx, func() error {
		rev, found, err := s.earlier(ctx, req, out)
		if err == nil && !found {
			rev, err = s.createDraft(ctx, app, id, r.GetDraft(), req, out)
		}
		out.Etag = store.Etag(rev)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) createDraft(ctx context.Context, app, id string, given *catalogv1.Draft, req request, out *catalogv1.Draft) (int64, error) {
	proto.Reset(out)
	proto.Merge(out, &catalogv1.Draft{
		DisplayName: given.GetDisplayName(), BaseSet: given.GetBaseSet(), Operations: given.GetOperations(), Environment: given.GetEnvironment(),
		OverlayOperations: given.GetOverlayOperations(), Variables: given.GetVariables(),
	})
	s.stampNew(ctx, out, "applications/"+app+"/drafts/"+strings.TrimPrefix(id, app+"/"))
	var tx store.Tx
	if _, err := refer(ctx, s, &tx, applications, "applications", "parent", "applications/"+app); err != nil {
		return 0, err
	}
	if err := s.completeDraft(ctx, &tx, app, id, nil, out); err != nil {
		return 0, err
	}
	if err := s.roomForDraft(ctx, app); err != nil {
		return 0, err
	}
	if err := s.answer(&tx, req, out); err != nil {
		return 0, err
	}
	if err := drafts.Create(&tx, id, out); err != nil {
		return 0, err
	}
	rev, err := s.cfg.KV.Commit(ctx, tx)
	return rev, orExists(err, drafts.Key(id), out.GetName())
}

// roomForDraft refuses more drafts than an application may have. Two creations at once may both take the last place.
func (s *Service) roomForDraft(ctx context.Context, app string) error {
	n, token := 0, ""
	for {
		rows, next, err := drafts.List(ctx, s.cfg.KV, store.List{Under: app + "/", PageSize: 100, PageToken: token}, nil)
		if err != nil {
			return err
		}
		if n += len(rows); n >= maxDrafts {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_TOO_LARGE,
				"applications/%s has %d drafts, at most %d are allowed; deploy or delete some", app, n, maxDrafts)
		}
		if token = next; token == "" {
			return nil
		}
	}
}

// draftOf names a draft of the application, "" when it has none.
func (s *Service) draftOf(ctx context.Context, app string) (string, error) {
	rows, _, err := drafts.List(ctx, s.cfg.KV, store.List{Under: app + "/", PageSize: 1}, nil)
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0].Msg.GetName(), nil
}

// completeDraft fills in the base, checks the operations on it, and notes which set comes out. old is nil for a new draft.
func (s *Service) completeDraft(ctx context.Context, tx *store.Tx, app, id string, old, d *catalogv1.Draft) error {
	var env *catalogv1.Environment
	if old.GetEnvironment() != d.GetEnvironment() || d.GetBaseSet() == "" { // else it was there; a draft outlives its environment
		var err error
		if env, err = s.draftEnvironment(ctx, app, "draft.environment", d.GetEnvironment()); err != nil {
			return err
		}
	}
	if d.GetBaseSet() == "" {
		d.BaseSet = rules.EmptyState().Set.GetName()
		if env != nil {
			d.BaseSet = env.GetIntent().GetSet()
		}
	}
	if err := s.checkDraftOverlay(ctx, app, d); err != nil {
		return err
	}
	result, err := s.resultOf(ctx, d)
	if err != nil {
		return err
	}
	if n := max(proto.Size(d), proto.Size(result)/2); n > maxDraftBytes {
		return errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE,
			"the draft has %d bytes, at most %d are allowed for its operations and twice that for its set; split it", n, maxDraftBytes)
	}
	d.ResultSet = result.GetName()
	if old.GetResultSet() != d.GetResultSet() {
		forgetDraftSet(tx, id, old)
		tx.Put(draftSetKey(id, d), nil)
	}
	return nil
}

func draftSetKey(id string, d *catalogv1.Draft) string {
	return draftSetPrefix + strings.TrimPrefix(d.GetResultSet(), "sets/") + "/" + id
}

func forgetDraftSet(tx *store.Tx, id string, d *catalogv1.Draft) {
	if d.GetResultSet() != "" {
		tx.Delete(draftSetKey(id, d))
	}
}

// draftEnvironment reads the environment that a draft is meant for; nil for none.
func (s *Service) draftEnvironment(ctx context.Context, app, field, name string) (*catalogv1.Environment, error) {
	if name == "" {
		return nil, nil
	}
	env, err := rules.ParseEnv(field, name)
	if err != nil {
		return nil, err
	}
	if env.App != app {
		return nil, errs.InvalidField(field, "%s is of another application; name an environment of applications/%s", name, app)
	}
	row, err := s.environment(ctx, env)
	if errs.Is(err, errs.NotFound) {
		return nil, errs.InvalidField(field, "%s does not exist; create it first or name another", name)
	}
	return row.Msg, err
}

// draftRow reads a draft.
func (s *Service) draftRow(ctx context.Context, field, name string) (row store.Row[*catalogv1.Draft], app string, err error) {
	app, id, err := parseDraft(field, name)
	if err != nil {
		return row, "", err
	}
	row, err = drafts.Get(ctx, s.cfg.KV, id)
	if err != nil {
		return row, app, orNotFound(err, name, "see `tow draft list %s`", app)
	}
	row.Msg.Etag = store.Etag(row.Rev)
	return row, app, nil
}

// GetDraft gives a draft.
func (s draftServer) GetDraft(ctx context.Context, r *catalogv1.GetDraftRequest) (*catalogv1.Draft, error) {
	row, _, err := s.draftRow(ctx, "name", r.GetName())
	return row.Msg, err
}

// ListDrafts lists the drafts of one application, or of all for applications/-.
func (s draftServer) ListDrafts(ctx context.Context, r *catalogv1.ListDraftsRequest) (*catalogv1.ListDraftsResponse, error) {
	under := ""
	if r.GetParent() != "applications/-" {
		app, err := applicationKind.get(ctx, s.Service, "parent", r.GetParent())
		if err != nil {
			return nil, err
		}
		under = app.ID + "/"
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	rows, next, err := drafts.List(ctx, s.cfg.KV, store.List{Under: under, PageSize: size, PageToken: r.GetPageToken()}, nil)
	if err != nil {
		return nil, err
	}
	out := &catalogv1.ListDraftsResponse{NextPageToken: next}
	for _, row := range rows {
		row.Msg.Etag = store.Etag(row.Rev)
		out.Drafts = append(out.Drafts, row.Msg)
	}
	return out, nil
}

// UpdateDraft changes a draft.
func (s draftServer) UpdateDraft(ctx context.Context, r *catalogv1.UpdateDraftRequest) (*catalogv1.Draft, error) {
	given := r.GetDraft()
	return s.changeDraft(ctx, "draft.name", given.GetName(), given.GetEtag(), func(_ string, d *catalogv1.Draft) error {
		base := d.GetBaseSet()
		err := merge(d, given, r.GetUpdateMask(), draftMutable)
		if len(r.GetUpdateMask().GetPaths()) == 0 && given.GetBaseSet() == "" {
			d.BaseSet = base // a full update need not repeat what has no empty value
		}
		return err
	})
}

// RebaseDraft moves a draft to another base.
func (s draftServer) RebaseDraft(ctx context.Context, r *catalogv1.RebaseDraftRequest) (*catalogv1.Draft, error) {
	return s.changeDraft(ctx, "name", r.GetName(), r.GetEtag(), func(app string, d *catalogv1.Draft) error {
		name := r.GetBaseSet()
		if name == "" {
			env, err := s.draftEnvironment(ctx, app, "draft.environment", d.GetEnvironment())
			if err != nil {
				return err
			}
			if env == nil {
				return errs.InvalidField("base_set", "is empty and the draft is for no environment; give a set, or set the draft's environment")
			}
			name = env.GetIntent().GetSet()
		}
		to, err := s.storedSet(ctx, "base_set", name)
		if err != nil {
			return err
		}
		from, err := s.storedSet(ctx, "draft.base_set", d.GetBaseSet())
		if err != nil {
			return err
		}
		d.BaseSet = name
		d.Operations, err = rules.Rebase(d.GetOperations(), rules.DocumentOf(from), rules.DocumentOf(to), "draft.operations")
		return err
	})
}

// changeDraft changes a draft's row.
func (s *Service) changeDraft(ctx context.Context, field, name, etag string, change func(app string, d *catalogv1.Draft) error) (*catalogv1.Draft, error) {
	var out *catalogv1.Draft
	err := retry(ctx, func() error {
		row, app, err := s.draftRow(ctx, field, name)
		if err != nil {
			return err
		}
		if err := checkEtag(etag, row.Rev, name); err != nil {
			return err
		}
		out = proto.CloneOf(row.Msg)
		if err := change(app, out); err != nil || proto.Equal(out, row.Msg) {
			return err
		}
		out.Etag, out.UpdateTime = "", timestamppb.New(s.now())
		var tx store.Tx
		if err := s.completeDraft(ctx, &tx, app, row.ID, row.Msg, out); err != nil {
			return err
		}
		if err := drafts.Update(&tx, row.ID, row.Rev, out); err != nil {
			return err
		}
		rev, err := s.cfg.KV.Commit(ctx, tx)
		out.Etag = store.Etag(rev)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteDraft removes a draft.
func (s draftServer) DeleteDraft(ctx context.Context, r *catalogv1.DeleteDraftRequest) (*emptypb.Empty, error) {
	err := retry(ctx, func() error {
		row, _, err := s.draftRow(ctx, "name", r.GetName())
		if err != nil {
			return err
		}
		if err := checkEtag(r.GetEtag(), row.Rev, r.GetName()); err != nil {
			return err
		}
		var tx store.Tx
		deleteDraft(&tx, row)
		_, err = s.cfg.KV.Commit(ctx, tx)
		return err
	})
	return &emptypb.Empty{}, err
}

func deleteDraft(tx *store.Tx, row store.Row[*catalogv1.Draft]) {
	drafts.Delete(tx, row.ID, row.Rev)
	forgetDraftSet(tx, row.ID, row.Msg)
}

// DeployDraft deploys a draft, and deletes it in the same transaction where that is asked for.
func (s draftServer) DeployDraft(ctx context.Context, r *catalogv1.DeployDraftRequest) (*catalogv1.Deployment, error) {
	app, id, err := parseDraft("name", r.GetName())
	if err != nil {
		return nil, err
	}
	// The draft may be gone when a call is repeated, so the answer of an earlier call is looked for before it.
	req := request{"draftDeployments/" + id, r.GetRequestId(), r}
	if d, err := s.earlierDeployment(ctx, req); d != nil || err != nil {
		return d, err
	}
	row, _, err := s.draftRow(ctx, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	name := r.GetEnvironment()
	if name == "" {
		name = row.Msg.GetEnvironment()
	}
	if name == "" {
		return nil, errs.InvalidField("environment", "is empty and the draft is for no environment; name one of applications/%s", app)
	}
	if _, err := s.draftEnvironment(ctx, app, "environment", name); err != nil {
		return nil, err
	}
	env, err := rules.ParseEnv("environment", name)
	if err != nil {
		return nil, err
	}
	defer s.sendDecisions(ctx, env)
	return s.deploy(ctx, order{
		env: env, kind: catalogv1.Deployment_KIND_CHANGE, message: r.GetMessage(), planHash: r.GetPlanHash(), request: req,
		decide: func(ctx context.Context, c current) (decision, error) {
			if row, _, err = s.draftRow(ctx, "name", r.GetName()); err != nil {
				return decision{}, err
			}
			if err := refuseElsewhere(row.Msg, env); err != nil {
				return decision{}, err
			}
			decide, err := s.change(ctx, draftChange(row.Msg))
			if err != nil {
				return decision{}, err
			}
			next, err := decide(ctx, c)
			return next, renamed(err, "change.set_operations", "draft.operations")
		},
		also: func(tx *store.Tx) error {
			if r.GetDelete() {
				deleteDraft(tx, row)
			} else {
				tx.If(store.IfRev(drafts.Key(row.ID), row.Rev))
			}
			return errors.Join(s.allowAdopted(ctx, tx, env, r.GetName()), s.noteDeployed(ctx, tx, env, r.GetName()))
		},
	}, s.accept)
}
