package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// acceptance is what becomes of findings that are to be accepted.
type acceptance struct {
	change  *catalogv1.Change
	told    []*catalogv1.AcceptedFinding
	records []*catalogv1.FindingRecord // those that the change keeps
}

// AcceptFindings makes a draft that says what the cluster has. It is the same draft as for an edit of the manifests in Git.
func (s findingServer) AcceptFindings(ctx context.Context, r *catalogv1.AcceptFindingsRequest) (*catalogv1.AcceptFindingsResponse, error) {
	env, err := rules.ParseEnv("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if r.GetDraftId() != "" {
		if err := rules.CheckID("draft_id", r.GetDraftId(), rules.MaxID); err != nil {
			return nil, err
		}
	}
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, err
	}
	inGit, inCluster, err := s.toAccept(ctx, env, r.GetNames())
	if err != nil {
		return nil, err
	}
	if len(inGit) > 0 {
		return s.acceptForeign(ctx, env, inGit, len(inCluster), r)
	}
	if len(inCluster) == 0 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_FINDING_GONE, "%s has no open findings; there is nothing to accept", env.Name())
	}
	a, err := s.accepted(ctx, c, inCluster)
	if err != nil {
		return nil, err
	}
	out := &catalogv1.AcceptFindingsResponse{Findings: a.told}
	if r.GetValidateOnly() {
		return out, nil
	}
	if err := refuseProblems(a, len(r.GetNames()) > 0); err != nil {
		return nil, err
	}
	out.Draft, err = s.acceptDraft(ctx, env, a, r)
	return out, err
}

// toAccept gives the records of the named findings: those in Git, and those in the cluster; all in the cluster where none is named.
func (s *Service) toAccept(ctx context.Context, env rules.Env, names []string) (inGit, inCluster []*catalogv1.FindingRecord, err error) {
	var all []*catalogv1.FindingRecord
	for _, name := range names {
		rec, err := s.openRecord(ctx, env, name)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, rec)
	}
	if len(names) == 0 {
		rows, err := s.openRecords(ctx, envKey(env)+"/")
		if err != nil {
			return nil, nil, err
		}
		for _, row := range rows {
			if !rules.InGit(row.Msg.GetFinding()) {
				all = append(all, row.Msg)
			}
		}
	}
	for _, rec := range all {
		if rules.InGit(rec.GetFinding()) {
			inGit = append(inGit, rec)
		} else {
			inCluster = append(inCluster, rec)
		}
	}
	return inGit, inCluster, nil
}

// acceptForeign accepts a finding in Git: the draft is the one that adopts what somebody else changed there.
func (s *Service) acceptForeign(ctx context.Context, env rules.Env, inGit []*catalogv1.FindingRecord, others int, r *catalogv1.AcceptFindingsRequest) (*catalogv1.AcceptFindingsResponse, error) {
	rec := inGit[0]
	if len(inGit)+others > 1 {
		return nil, errs.InvalidField("names", "has a finding in Git (%s) beside others; accept it alone, because its draft is for the whole folder", rec.GetFinding().GetName())
	}
	if r.GetDraftId() != "" {
		return nil, errs.InvalidField("draft_id", "cannot be chosen for a finding in Git: its draft is made where the folder is adopted; leave it out")
	}
	told := &catalogv1.AcceptedFinding{Name: rec.GetFinding().GetName()}
	out := &catalogv1.AcceptFindingsResponse{Findings: []*catalogv1.AcceptedFinding{told}}
	if r.GetValidateOnly() {
		d, err := gitServer{Service: s}.GetForeignChange(ctx, &catalogv1.GetForeignChangeRequest{Name: env.Name(), Path: rec.GetFinding().GetObjectName()})
		told.Place, told.Problem = rules.PlaceOf(d.GetAdoption()), firstOf(d.GetNotAdoptable())
		return out, err
	}
	f, err := s.resolveForeign(ctx, env, rec, catalogv1.ResolveForeignChangeRequest_DECISION_ADOPT, r.GetMessage())
	if err != nil {
		return nil, err
	}
	out.Draft, told.Place, told.Problem = f.GetDraft(), f.GetDraft(), firstOf(f.GetNotAdopted())
	return out, nil
}

// accepted finds the change that keeps what findings found.
func (s *Service) accepted(ctx context.Context, c current, records []*catalogv1.FindingRecord) (acceptance, error) {
	a := acceptance{change: &catalogv1.Change{}}
	input, state, err := s.inputOfTree(ctx, c, "")
	if err != nil {
		return a, err
	}
	base, _, err := s.renderInput(ctx, input)
	if err != nil {
		return a, err
	}
	made := base.GetBundle().GetFiles()
	var findings []*driftv1.Finding
	for _, rec := range records {
		findings = append(findings, rec.GetFinding())
	}
	wanted, problems := rules.Live(made, findings)
	kept := rules.Adoption{Change: &catalogv1.Change{}}
	var origins []*rendererv1.FieldOrigin
	if len(problems) < len(findings) {
		if kept, origins, err = s.adoptionOf(ctx, input, state, made, foreignSides{expected: made, found: wanted}); err != nil {
			return a, err
		}
	}
	a.change = kept.Change
	for _, rec := range records {
		t := &catalogv1.AcceptedFinding{Name: rec.GetFinding().GetName(), Problem: problems[rec.GetFinding().GetName()]}
		if t.GetProblem() == "" {
			alone, _ := rules.Live(made, []*driftv1.Finding{rec.GetFinding()})
			one := rules.Adopt(rules.Edited{Made: made, Wanted: alone, Origins: origins}, state)
			t.Place, t.Problem = rules.PlaceOf(one.Change), firstOf(one.Not)
		}
		if t.GetProblem() == "" {
			a.records = append(a.records, rec)
		}
		a.told = append(a.told, t)
	}
	if len(a.records) == len(records) && len(kept.Not) > 0 { // each alone could be, and all together cannot
		return a, cannotAccept(firstOf(kept.Not))
	}
	return a, nil
}

func cannotAccept(why string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ACCEPT, "it cannot be taken over: %s", why)
}

// refuseProblems refuses what cannot be done whole: a finding that was named, or all.
func refuseProblems(a acceptance, named bool) error {
	for _, t := range a.told {
		if t.GetProblem() != "" && (named || len(a.records) == 0) {
			return errs.New(errs.Precondition, errorsv1.Reason_REASON_CANNOT_ACCEPT, "%s cannot be taken over: %s", t.GetName(), t.GetProblem()).
				With("resource", t.GetName())
		}
	}
	if len(a.change.GetOverlayOperations())+len(a.change.GetVariables()) == 0 {
		return cannotAccept("what the cluster has is what is rendered already; deploy it")
	}
	return nil
}

// acceptDraft makes the draft, the same one when the same is asked for again, and notes it in the records.
func (s *Service) acceptDraft(ctx context.Context, env rules.Env, a acceptance, r *catalogv1.AcceptFindingsRequest) (string, error) {
	sum := sha256.New()
	for _, rec := range a.records {
		fmt.Fprintf(sum, "%s\x00%s\x00", rec.GetName(), rec.GetFinding().GetLive())
	}
	key := hex.EncodeToString(sum.Sum(nil)[:6])
	id := cmp.Or(r.GetDraftId(), strings.TrimRight("drift-"+env.ID[:min(len(env.ID), 40)], "-")+"-"+key)
	title := r.GetMessage()
	if title == "" {
		title = "Accept " + lineOf(a.records[0].GetFinding())
		if n := len(a.records) - 1; n > 0 {
			title += fmt.Sprintf(" and %d more", n)
		}
	}
	draft, err := draftServer{Service: s}.CreateDraft(ctx, &catalogv1.CreateDraftRequest{
		Parent: "applications/" + env.App, DraftId: id, RequestId: "accept-" + key + "-" + id,
		Draft: &catalogv1.Draft{
			DisplayName: cut(title, 200), Environment: env.Name(),
			OverlayOperations: a.change.GetOverlayOperations(), Variables: a.change.GetVariables(),
		},
	})
	name := draft.GetName()
	if errs.Is(err, errs.AlreadyExists) && r.GetDraftId() == "" || errs.ReasonOf(err) == errorsv1.Reason_REASON_REQUEST_ID_REUSED {
		name, err = "applications/"+env.App+"/drafts/"+id, nil
	}
	if err != nil {
		return "", err
	}
	for part := range slices.Chunk(a.records, 100) {
		if err := s.noteAccepted(ctx, env, part, name, r.GetMessage()); err != nil {
			return "", err
		}
	}
	return name, nil
}

// noteAccepted notes in records which draft keeps what they are about.
func (s *Service) noteAccepted(ctx context.Context, env rules.Env, records []*catalogv1.FindingRecord, draft, why string) error {
	return s.onRecord(ctx, env, func(tx *store.Tx) error {
		for _, rec := range records {
			id := envKey(env) + rec.GetName()[strings.LastIndexByte(rec.GetName(), '/'):]
			row, err := findingRecords.Get(ctx, s.cfg.KV, id)
			if errors.Is(err, store.ErrNotFound) || err == nil && row.Msg.GetEndTime() != nil {
				continue
			}
			if err == nil {
				err = s.noteDecided(ctx, tx, env, row, draft, why)
			}
			if err != nil {
				return err
			}
		}
		*tx = distinct(*tx)
		return nil
	})
}
