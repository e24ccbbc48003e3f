package committer

import (
	"context"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/events"
	"github.com/towpath-dev/towpath/internal/rpc"
)

const typeClaims = "deployment.claims"

// announceClaims tells that the claims of a deployment are in Git: first drift, which applies and watches them. A command that
// comes late, when the deployment's own commit stands already, has nothing to tell.
func (s *Service) announceClaims(ctx context.Context, t *task, o outcome) error {
	if !o.state.Claims || o.overtaken {
		return nil
	}
	subject, err := events.DesiredSubject(t.dep.Application, t.dep.Environment)
	if err != nil {
		return err
	}
	want := desired(t, o)
	want.ClaimsOnly = true
	if t.bundle != nil {
		want.Claims = t.bundle.claims
	}
	// The request's id tells the rounds of one deployment's claims apart.
	if err := s.cfg.Bus.Publish(ctx, events.Message{
		Subject: subject, ID: t.cmd.GetRequestId() + "/desired", Type: typePrefix + typeDesired, Source: source,
		Resource: t.dep.EnvironmentName(), Time: o.end, Body: want,
	}); err != nil {
		return err
	}
	err = s.publish(ctx, t.dep, typeClaims, t.cmd.GetRequestId()+"/claims", t.cmd.GetDeployment(), &eventsv1.ClaimsCommitted{
		Deployment: t.cmd.GetDeployment(), Generation: o.state.Generation, Commit: o.commit.String(), Tree: o.tree(),
	})
	if err != nil {
		return err
	}
	s.waiting.forget(t.cmd.GetDeployment())
	s.metrics.finished.WithLabelValues("claims").Inc()
	s.failpoint("event_sent")
	return nil
}

// withClaims adds to a desired state the claims that drift goes on watching. A restored tree was not rendered now, so its claims
// are asked for; where they cannot be told, only changes of their outputs stay unseen.
func (s *Service) withClaims(ctx context.Context, t *task, want *eventsv1.DesiredState) *eventsv1.DesiredState {
	switch {
	case t.bundle != nil:
		want.Claims = t.bundle.claims
	case t.restores() && hasClaims(t.cmd.GetInput()):
		answer, err := s.cfg.Renderer.Render(ctx, &rendererv1.RenderRequest{Input: t.cmd.GetInput(), ClaimsOnly: true})
		if err != nil {
			s.log.Warn("the claims of a restored tree cannot be told; changes of their outputs are not seen", "deployment", t.cmd.GetDeployment(),
				"error", rpc.FromStatus(err))
			return want
		}
		want.Claims = answer.GetClaims()
	}
	return want
}

func hasClaims(input *rendererv1.RenderInput) bool {
	for _, d := range input.GetDefinitions() {
		if d.GetDriver() == rendererv1.ResourceDefinition_DRIVER_CLAIM {
			return true
		}
	}
	return false
}
