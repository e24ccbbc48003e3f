package catalog

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
	"github.com/towpath-dev/towpath/internal/store"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// adoption gives the change that keeps what somebody else did. Every attempt is rendered: fields that a place in the document decides
// are set there as long as the result is what was found; where it is not, all of it becomes patches.
func (s *Service) adoption(ctx context.Context, c current, f *catalogv1.ForeignChange, sides foreignSides) (rules.Adoption, error) {
	input, state, err := s.inputOfTree(ctx, c, f.GetExpectedTree())
	if err != nil {
		return rules.Adoption{}, err
	}
	base, _, err := s.renderInput(ctx, input)
	if err != nil {
		return rules.Adoption{}, err
	}
	out, _, err := s.adoptionOf(ctx, input, state, base.GetBundle().GetFiles(), sides)
	return out, err
}

// adoptionOf gives the change that makes an input render to what was found, and the origins that it goes by; base is what it renders to
// without.
func (s *Service) adoptionOf(ctx context.Context, input *rendererv1.RenderInput, state rules.State, base map[string][]byte, sides foreignSides) (rules.Adoption, []*rendererv1.FieldOrigin, error) {
	told, err := s.cfg.Renderer.Explain(ctx, &rendererv1.ExplainRequest{Input: input})
	if err != nil {
		return rules.Adoption{}, nil, rpc.FromStatus(err)
	}
	var out rules.Adoption
	for _, origins := range [][]*rendererv1.FieldOrigin{told.GetFields(), nil} {
		e := rules.Edited{Made: sides.expected, Wanted: sides.found, Origins: origins}
		out = rules.Adopt(e, state)
		rendered, err := s.renderAdopted(ctx, input, state, out.Change)
		if err != nil {
			out = rules.Adoption{Change: &catalogv1.Change{}, Not: []string{"what would be rendered is refused: " + errs.Message(err)}}
			continue
		}
		left := rules.AdoptLeft(e, base, rendered)
		if len(left) == 0 || len(out.Not) > 0 && origins != nil && len(left) <= len(out.Not) {
			return out, origins, nil
		}
		if origins == nil && len(out.Not) == 0 {
			out.Not = left
		}
	}
	return out, nil, nil
}

// inputOfTree gives what the renderer got for the deployment that made a tree, and what it meant; the newest one in Git where none
// is known to have made it.
func (s *Service) inputOfTree(ctx context.Context, c current, tree string) (*rendererv1.RenderInput, rules.State, error) {
	made := func(d *catalogv1.Deployment) bool {
		parts := slices.ContainsFunc(d.GetParts(), func(p *catalogv1.DeploymentPart) bool { return p.GetTree() == tree })
		return d.GetCommit() != "" && !isRemoval(d) && (d.GetTree() == tree || d.GetMainTree() == tree || parts)
	}
	d, err := s.newestThat(ctx, c.env, c.row.Msg, made)
	if err == nil && d == nil {
		d, err = s.newestThat(ctx, c.env, c.row.Msg, func(d *catalogv1.Deployment) bool { return d.GetCommit() != "" && !isRemoval(d) })
	}
	if err != nil {
		return nil, rules.State{}, err
	}
	if d == nil {
		return nil, rules.State{}, notRendered("NOT_DEPLOYED", "nothing of %s is in Git by Towpath, so that there is nothing to compare with", c.env.Name())
	}
	state, err := s.state(ctx, d.GetIntent())
	if err != nil {
		return nil, state, err
	}
	input, err := s.input(ctx, c, state)
	return input, state, err
}

// renderAdopted renders a deployment's input with a change of overlay and variables.
func (s *Service) renderAdopted(ctx context.Context, input *rendererv1.RenderInput, state rules.State, change *catalogv1.Change) (map[string][]byte, error) {
	next, err := rules.Apply(state, change, nil)
	if err != nil {
		return nil, err
	}
	input = proto.CloneOf(input)
	input.Overlay = next.Intent.GetOverlay()
	for key, value := range change.GetVariables() {
		if input.Variables == nil {
			input.Variables = map[string]string{}
		}
		input.Variables[key] = value
	}
	resp, _, err := s.renderInput(ctx, input)
	return resp.GetBundle().GetFiles(), err
}

// adoptByPolicy makes a draft of a foreign change that was just told. What cannot be adopted is said in its row; the event is done
// with in any case, unless a service is away.
func (s *Service) adoptByPolicy(ctx context.Context, env rules.Env, path string) error {
	f, err := s.foreignChange(ctx, env, path)
	if errs.Is(err, errs.NotFound) || err == nil && f.GetDraft() != "" {
		return nil
	}
	if err == nil {
		_, err = s.adoptForeign(ctx, env, f)
	}
	if err == nil || errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout) || errs.Is(err, errs.Cancelled) {
		return err
	}
	return s.noteAdoption(ctx, env, f, "", []string{errs.Message(err)})
}

// adoptForeign makes a draft of a foreign change, once: whoever asks again gets the same draft.
func (s *Service) adoptForeign(ctx context.Context, env rules.Env, f *catalogv1.ForeignChange) (*catalogv1.ForeignChange, error) {
	if f.GetDraft() != "" {
		return f, nil
	}
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, err
	}
	sides, err := s.foreignSides(ctx, c, f)
	if err != nil {
		return nil, err
	}
	kept, err := s.adoption(ctx, c, f, sides)
	if err != nil {
		return nil, err
	}
	if len(kept.Change.GetOverlayOperations())+len(kept.Change.GetVariables()) == 0 {
		return nil, errs.New(errs.Precondition, errorsv1.Reason_REASON_FOREIGN_CHANGE, "nothing of it can be adopted: %s; allow to write over it, or put back what Towpath wrote",
			cmp.Or(firstOf(kept.Not), "there is no difference in the objects"))
	}
	id := rules.DraftOfForeign(env, f)
	draft, err := draftServer{Service: s}.CreateDraft(ctx, &catalogv1.CreateDraftRequest{
		Parent: "applications/" + env.App, DraftId: id, RequestId: "foreign-" + rules.ForeignKey(env, f),
		Draft: &catalogv1.Draft{
			DisplayName: cut(rules.ForeignLine(f), 200), Environment: env.Name(),
			OverlayOperations: kept.Change.GetOverlayOperations(), Variables: kept.Change.GetVariables(),
		},
	})
	name := draft.GetName()
	if errs.Is(err, errs.AlreadyExists) || errs.ReasonOf(err) == errorsv1.Reason_REASON_REQUEST_ID_REUSED { // made before a crash
		name, err = "applications/"+env.App+"/drafts/"+id, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.noteAdoption(ctx, env, f, name, kept.Not); err != nil {
		return nil, err
	}
	return s.foreignChange(ctx, env, f.GetPath())
}

func firstOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// noteAdoption notes in the environment's row which draft keeps a change, and what of it none does.
func (s *Service) noteAdoption(ctx context.Context, env rules.Env, f *catalogv1.ForeignChange, draft string, not []string) error {
	return s.report(ctx, env, 0, func(row *catalogv1.Environment) {
		for _, g := range row.GetForeignChanges() {
			if rules.ForeignKey(env, g) == rules.ForeignKey(env, f) {
				g.Draft, g.NotAdopted = cmp.Or(draft, g.GetDraft()), not
			}
		}
	})
}

// allowAdopted lets the deployment of a draft write over the foreign change that the draft keeps. One that still needs approval does
// not: who rejects it must not have allowed anything.
func (s *Service) allowAdopted(ctx context.Context, tx *store.Tx, env rules.Env, draft string) error {
	if draft == "" {
		return nil
	}
	row, err := s.live(ctx, env)
	if err != nil {
		return err
	}
	for _, f := range row.Msg.GetForeignChanges() {
		if f.GetDraft() != draft || f.GetState() == catalogv1.ForeignChange_STATE_DECIDED {
			continue
		}
		c, err := s.current(ctx, env)
		if err != nil || c.site.typ.GetApprovals().GetRequired() > 0 {
			return err
		}
		_, err = s.addDecision(ctx, tx, c, f, eventsv1.ForeignDecision_DECISION_OVERWRITE, "Deploy "+draft)
		return err // of several folders one after the other: each call changes the whole row
	}
	return nil
}

// sendDecisions sends what was decided about an environment; what does not get through is sent later.
func (s *Service) sendDecisions(ctx context.Context, env rules.Env) {
	found, err := s.cfg.KV.Scan(ctx, store.ScanRange{Prefix: decisionPrefix + envKey(env) + "/", Limit: 16})
	for _, e := range found {
		if err == nil {
			err = s.sendDecision(ctx, env, e.Key)
		}
	}
	if err != nil {
		s.log.Info("a decision about a foreign change is sent later", "environment", env.Name(), "error", err)
	}
}

// checkDraftOverlay checks what a draft changes of its environment alone.
func (s *Service) checkDraftOverlay(ctx context.Context, app string, d *catalogv1.Draft) error {
	if len(d.GetOverlayOperations()) == 0 && len(d.GetVariables()) == 0 {
		return nil
	}
	if d.GetEnvironment() == "" {
		return errs.InvalidField("draft.environment", "is empty and the draft changes an overlay or variables, which belong to one environment; name it")
	}
	e, err := s.draftEnvironment(ctx, app, "draft.environment", d.GetEnvironment())
	if err != nil {
		return err
	}
	base, err := s.storedSet(ctx, "draft.base_set", d.GetBaseSet())
	if err != nil {
		return err
	}
	_, err = rules.Apply(rules.State{Intent: e.GetIntent(), Set: base}, draftChange(d), nil)
	return renamed(renamed(renamed(err, "change.overlay_operations", "draft.overlay_operations"), "change.variables", "draft.variables"), "change.set_operations", "draft.operations")
}

// draftChange is what the deployment of a draft to its environment brings.
func draftChange(d *catalogv1.Draft) *catalogv1.Change {
	return &catalogv1.Change{
		BaseSet: d.GetBaseSet(), SetOperations: d.GetOperations(), OverlayOperations: d.GetOverlayOperations(), Variables: d.GetVariables(), Draft: d.GetName(),
	}
}

// refuseElsewhere refuses to deploy a draft with an overlay to another environment than it is for.
func refuseElsewhere(d *catalogv1.Draft, env rules.Env) error {
	if d.GetEnvironment() == env.Name() || len(d.GetOverlayOperations()) == 0 && len(d.GetVariables()) == 0 {
		return nil
	}
	return errs.InvalidField("environment", "is %s, and the draft changes the overlay or variables of %s; deploy it there", env.Name(), d.GetEnvironment())
}
