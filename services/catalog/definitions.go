package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

var definitionKind = collection[*catalogv1.ResourceDefinition]{
	table: resourceDefinitions, name: rules.Definitions, singular: "resource_definition", maxID: rules.MaxID,
	mutable: []string{"display_name", "description"},
	complete: func(ctx context.Context, s *Service, old, msg *catalogv1.ResourceDefinition, _ *store.Tx) error {
		if old != nil {
			return nil
		}
		msg.ActiveVersion, msg.LatestVersion, msg.Type = 0, 0, ""
		last, err := s.newestVersion(ctx, strings.TrimPrefix(msg.GetName(), rules.Definitions+"/"))
		if err != nil || last == nil {
			return err
		}
		v, _, err := rules.ParseDefinitionVersion("", last.GetName()) // of a definition of that name that was deleted
		msg.LatestVersion, msg.Type = v.Number, last.GetContent().GetType()
		return err
	},
	usedBy: func(ctx context.Context, s *Service, name string) (string, error) {
		active, err := s.activeDefinitions(ctx)
		if err != nil {
			return "", err
		}
		if n, ok := active.Versions[strings.TrimPrefix(name, rules.Definitions+"/")]; ok {
			return fmt.Sprintf("its active version %s/versions/%d", name, n), nil
		}
		return find(ctx, s, environments, func(e *catalogv1.Environment) bool { return e.GetDefinitionPins()[name] != "" })
	},
}

func versionKey(v rules.DefinitionVersion) string { return fmt.Sprintf("%s/%020d", v.ID, v.Number) }

// newestVersion gives the version with the greatest number, nil when there is none.
func (s *Service) newestVersion(ctx context.Context, id string) (*catalogv1.DefinitionVersion, error) {
	rows, _, err := definitionVersions.List(ctx, s.cfg.KV, store.List{Under: id + "/", PageSize: 1, Reverse: true}, nil)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0].Msg, nil
}

// version reads a version by name, where "active" and "latest" stand for a number.
func (s *Service) version(ctx context.Context, field, name string) (store.Row[*catalogv1.DefinitionVersion], error) {
	none := store.Row[*catalogv1.DefinitionVersion]{}
	v, word, err := rules.ParseDefinitionVersion(field, name)
	if err != nil {
		return none, err
	}
	if word != "" {
		d, err := definitionKind.get(ctx, s, field, rules.Definitions+"/"+v.ID)
		if err != nil {
			return none, err
		}
		if v.Number = d.Msg.GetLatestVersion(); word == "active" {
			v.Number = d.Msg.GetActiveVersion()
		}
		if v.Number == 0 {
			return none, errs.NotFoundf(name, "see `tow definition versions %s`", v.ID)
		}
	}
	row, err := definitionVersions.Get(ctx, s.cfg.KV, versionKey(v))
	if err != nil {
		return row, orNotFound(err, v.Name(), "see `tow definition versions %s`", v.ID)
	}
	row.Msg.Etag = store.Etag(row.Rev)
	return row, nil
}

// CreateDefinitionVersion proposes a version.
func (s definitionServer) CreateDefinitionVersion(ctx context.Context, r *catalogv1.CreateDefinitionVersionRequest) (*catalogv1.DefinitionVersion, error) {
	id, err := rules.ParseName("parent", rules.Definitions, r.GetParent())
	if err != nil {
		return nil, err
	}
	if r.GetDefinitionVersion().GetContent() == nil {
		return nil, errs.InvalidField("definition_version.content", "is missing; give type, driver and inputs, as docs/definitions.md tells")
	}
	if err := rules.CheckDefinitionSecrets("definition_version.content", r.GetDefinitionVersion().GetContent()); err != nil {
		return nil, err
	}
	var out *catalogv1.DefinitionVersion
	err = retry(ctx, func() error {
		out = &catalogv1.DefinitionVersion{}
		req := request{"definitionVersions/" + id, r.GetRequestId(), r}
		rev, found, err := s.earlier(ctx, req, out)
		if err == nil && !found {
			rev, err = s.propose(ctx, id, r.GetDefinitionVersion(), req, out)
		}
		out.Etag = store.Etag(rev)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// propose checks a new version and writes it.
func (s *Service) propose(ctx context.Context, id string, given *catalogv1.DefinitionVersion, req request, out *catalogv1.DefinitionVersion) (int64, error) {
	row, err := definitionKind.get(ctx, s, "parent", rules.Definitions+"/"+id)
	if err != nil {
		return 0, err
	}
	v := rules.DefinitionVersion{ID: id, Number: row.Msg.GetLatestVersion() + 1}
	proto.Merge(out, &catalogv1.DefinitionVersion{
		Content: given.GetContent(), Message: given.GetMessage(), State: catalogv1.DefinitionVersion_STATE_PROPOSED,
		Sha256: rules.DefinitionHash(given.GetContent()),
	})
	out.Content.Name = v.Name()
	s.stampNew(ctx, out, v.Name())
	if err := s.checkContent(ctx, out.GetContent()); err != nil {
		return 0, err
	}
	active, err := s.activeDefinitions(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.unambiguous(ctx, active, out.GetContent()); err != nil {
		return 0, err
	}
	next := proto.CloneOf(row.Msg)
	next.Etag, next.LatestVersion, next.UpdateTime = "", v.Number, out.GetCreateTime()
	if next.GetActiveVersion() == 0 {
		next.Type = out.GetContent().GetType()
	}
	if err := s.storeArchive(ctx, out.GetContent()); err != nil {
		return 0, err
	}
	var tx store.Tx
	err = errors.Join(s.answer(&tx, req, out), definitionVersions.Create(&tx, versionKey(v), out), resourceDefinitions.Update(&tx, row.ID, row.Rev, next))
	if err != nil {
		return 0, err
	}
	return s.cfg.KV.Commit(ctx, tx)
}

// checkContent compiles a definition, and loads its archive.
func (s *Service) checkContent(ctx context.Context, content *rendererv1.ResourceDefinition) error {
	content, err := s.withArchive(ctx, content)
	if err != nil {
		return err
	}
	if _, err := s.cfg.Renderer.CheckDefinition(ctx, &rendererv1.CheckDefinitionRequest{Definition: content}); err != nil {
		return rules.InDefinition(rpc.FromStatus(err), "definition.", "definition_version.content.")
	}
	return nil
}

// unambiguous refuses content that would answer the same requests as another active definition.
func (s *Service) unambiguous(ctx context.Context, active activeVersions, content *rendererv1.ResourceDefinition) error {
	mine, _, err := rules.ParseDefinitionVersion("name", content.GetName())
	if err != nil {
		return err
	}
	for _, v := range active.sorted() {
		if v.ID == mine.ID {
			continue // it takes that one's place
		}
		other, err := s.content(ctx, v.Name())
		if err != nil {
			return err
		}
		if err := rules.SameCriteria(content, other); err != nil {
			return err
		}
	}
	return nil
}

// ActivateDefinition makes a version the one that is used.
func (s definitionServer) ActivateDefinition(ctx context.Context, r *catalogv1.ActivateDefinitionRequest) (*catalogv1.DefinitionVersion, error) {
	var out *catalogv1.DefinitionVersion
	err := retry(ctx, func() error {
		row, err := s.version(ctx, "name", r.GetName())
		if err != nil {
			return err
		}
		out = row.Msg
		active, err := s.activeDefinitions(ctx)
		if err != nil {
			return err
		}
		if err := s.checkContent(ctx, out.GetContent()); err != nil {
			return err // an old one, which today's renderer refuses
		}
		if err := s.unambiguous(ctx, active, out.GetContent()); err != nil {
			return err
		}
		if r.GetPlanHash() != "" {
			if err := s.holdDefinition(ctx, out.GetContent(), r.GetPlanHash()); err != nil {
				return err
			}
		}
		if out.GetState() == catalogv1.DefinitionVersion_STATE_ACTIVE {
			return nil
		}
		return s.switchTo(ctx, active, row)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// switchTo makes a version active and archives the one before it.
func (s *Service) switchTo(ctx context.Context, active activeVersions, row store.Row[*catalogv1.DefinitionVersion]) error {
	v, _, err := rules.ParseDefinitionVersion("name", row.Msg.GetName())
	if err != nil {
		return err
	}
	var tx store.Tx
	now := timestamppb.New(s.now())
	if n, ok := active.Versions[v.ID]; ok {
		before, err := s.version(ctx, "name", rules.DefinitionVersion{ID: v.ID, Number: n}.Name())
		if err != nil {
			return err
		}
		before.Msg.Etag = ""
		rules.Archived(before.Msg, now)
		if err := definitionVersions.Update(&tx, before.ID, before.Rev, before.Msg); err != nil {
			return err
		}
	}
	rules.Activated(row.Msg, actor(ctx), now)
	return s.putLife(ctx, &tx, active.with(v), row, v.Number)
}

// ArchiveDefinition ends a version's use.
func (s definitionServer) ArchiveDefinition(ctx context.Context, r *catalogv1.ArchiveDefinitionRequest) (*catalogv1.DefinitionVersion, error) {
	var out *catalogv1.DefinitionVersion
	err := retry(ctx, func() error {
		row, err := s.version(ctx, "name", r.GetName())
		if err != nil {
			return err
		}
		out = row.Msg
		if out.GetState() == catalogv1.DefinitionVersion_STATE_ARCHIVED {
			return nil
		}
		v, _, err := rules.ParseDefinitionVersion("name", r.GetName())
		if err != nil {
			return err
		}
		active, err := s.activeDefinitions(ctx)
		if err != nil {
			return err
		}
		number := active.Versions[v.ID]
		if number == v.Number {
			active, number = active.without(v.ID), 0
		}
		rules.Archived(out, timestamppb.New(s.now()))
		return s.putLife(ctx, &store.Tx{}, active, row, number)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// putLife writes a version whose state changed, with its definition's active number and the list of all active ones.
func (s *Service) putLife(ctx context.Context, tx *store.Tx, active activeVersions, row store.Row[*catalogv1.DefinitionVersion], number int64) error {
	id, _, _ := strings.Cut(row.ID, "/")
	d, err := resourceDefinitions.Get(ctx, s.cfg.KV, id)
	if err != nil {
		return orNotFound(err, rules.Definitions+"/"+id, "")
	}
	d.Msg.ActiveVersion, d.Msg.UpdateTime = number, row.Msg.GetUpdateTime()
	if number != 0 {
		d.Msg.Type = row.Msg.GetContent().GetType()
	} else if last, err := s.newestVersion(ctx, id); err != nil {
		return err
	} else {
		d.Msg.Type = last.GetContent().GetType()
	}
	row.Msg.Etag = ""
	err = errors.Join(active.put(tx), definitionVersions.Update(tx, row.ID, row.Rev, row.Msg), resourceDefinitions.Update(tx, d.ID, d.Rev, d.Msg))
	if err != nil {
		return err
	}
	rev, err := s.cfg.KV.Commit(ctx, *tx)
	row.Msg.Etag = store.Etag(rev)
	return err
}

// GetDefinitionVersion gives a version.
func (s definitionServer) GetDefinitionVersion(ctx context.Context, r *catalogv1.GetDefinitionVersionRequest) (*catalogv1.DefinitionVersion, error) {
	row, err := s.version(ctx, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	row.Msg.Content, err = s.withArchive(ctx, row.Msg.GetContent())
	return row.Msg, err
}

// ListDefinitionVersions lists versions, newest first.
func (s definitionServer) ListDefinitionVersions(ctx context.Context, r *catalogv1.ListDefinitionVersionsRequest) (*catalogv1.ListDefinitionVersionsResponse, error) {
	d, err := definitionKind.get(ctx, s.Service, "parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	if size == 0 {
		size = 100
	}
	rows, next, err := definitionVersions.List(ctx, s.cfg.KV, store.List{Under: d.ID + "/", PageSize: size, PageToken: r.GetPageToken(), Reverse: true}, nil)
	out := &catalogv1.ListDefinitionVersionsResponse{NextPageToken: next}
	for _, row := range rows {
		row.Msg.Etag = store.Etag(row.Rev)
		out.DefinitionVersions = append(out.DefinitionVersions, row.Msg)
	}
	return out, err
}

// CreateResourceDefinition makes a resource definition.
func (s definitionServer) CreateResourceDefinition(ctx context.Context, r *catalogv1.CreateResourceDefinitionRequest) (*catalogv1.ResourceDefinition, error) {
	return definitionKind.create(ctx, s.Service, r.GetResourceDefinitionId(), r.GetResourceDefinition(), request{rules.Definitions, r.GetRequestId(), r})
}

// GetResourceDefinition gives a resource definition.
func (s definitionServer) GetResourceDefinition(ctx context.Context, r *catalogv1.GetResourceDefinitionRequest) (*catalogv1.ResourceDefinition, error) {
	row, err := definitionKind.get(ctx, s.Service, "name", r.GetName())
	return row.Msg, err
}

// ListResourceDefinitions lists resource definitions by name.
func (s definitionServer) ListResourceDefinitions(ctx context.Context, r *catalogv1.ListResourceDefinitionsRequest) (*catalogv1.ListResourceDefinitionsResponse, error) {
	list, next, err := definitionKind.list(ctx, s.Service, r.GetPageSize(), r.GetPageToken())
	return &catalogv1.ListResourceDefinitionsResponse{ResourceDefinitions: list, NextPageToken: next}, err
}

// UpdateResourceDefinition changes what people call a resource definition; its content is in versions.
func (s definitionServer) UpdateResourceDefinition(ctx context.Context, r *catalogv1.UpdateResourceDefinitionRequest) (*catalogv1.ResourceDefinition, error) {
	return definitionKind.update(ctx, s.Service, r.GetResourceDefinition(), r.GetUpdateMask())
}

// DeleteResourceDefinition removes a resource definition without active version and pins.
func (s definitionServer) DeleteResourceDefinition(ctx context.Context, r *catalogv1.DeleteResourceDefinitionRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, definitionKind.remove(ctx, s.Service, r.GetName(), r.GetEtag())
}

// checkGuardrails compiles the guardrails of an environment type that changes them.
func checkGuardrails(ctx context.Context, s *Service, old, msg *catalogv1.EnvironmentType) error {
	same := len(old.GetGuardrails()) == len(msg.GetGuardrails())
	for i := 0; same && i < len(msg.GetGuardrails()); i++ {
		same = proto.Equal(old.GetGuardrails()[i], msg.GetGuardrails()[i])
	}
	if same {
		return nil
	}
	_, err := s.cfg.Renderer.CheckGuardrails(ctx, &rendererv1.CheckGuardrailsRequest{Guardrails: msg.GetGuardrails()})
	if err != nil {
		return rules.InDefinition(rpc.FromStatus(err), "guardrails", "environment_type.guardrails")
	}
	return nil
}

// ambiguousPin says that a pin cannot be, because another definition answers the same requests in that environment.
func ambiguousPin(field string, err error) error {
	var e *errs.Error
	if errors.As(err, &e) && e.Reason == errorsv1.Reason_REASON_AMBIGUOUS_DEFINITION {
		e.Fields = append(e.Fields, errs.Field{Path: field, Problem: "is pinned to a version with these criteria"})
	}
	return err
}
