package catalog

import (
	"context"
	"strings"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/catalog/internal/rules"
)

// inputOf gives what the renderer gets for an environment or a deployment, by its name, and the name of the deployment that is
// meant. It is what was pinned then, so that questions about manifests are answered about those that Git has, whatever has changed
// since. Of an environment it is the deployment that is to run: the newest one that is in Git or on its way there.
func (s *Service) inputOf(ctx context.Context, name string) (input *rendererv1.RenderInput, deployment string, err error) {
	parent, number, named := strings.Cut(name, "/deployments/")
	if named {
		_, number, err = rules.ParseDeployment("name", name)
	}
	if err != nil {
		return nil, "", err
	}
	env, err := rules.ParseEnv("name", parent)
	if err != nil {
		return nil, "", err
	}
	c, err := s.current(ctx, env)
	if err != nil {
		return nil, "", err
	}
	d, err := s.newestThat(ctx, env, c.row.Msg, rules.Carries)
	if named {
		d, err = s.namedDeployment(ctx, env, number)
	}
	if err != nil {
		return nil, "", err
	}
	switch {
	case d == nil:
		return nil, "", notRendered("NOT_DEPLOYED", "nothing was deployed to %s yet, so that there is nothing to look at; begin with tow deploy -f score.yaml -e %s/%s", env.Name(), env.App, env.ID)
	case isRemoval(d):
		return nil, "", notRendered("REMOVAL", "%s removes the environment and makes no manifests; name an earlier deployment of `tow history`", d.GetName())
	}
	state, err := s.state(ctx, d.GetIntent())
	if err != nil {
		return nil, "", err
	}
	input, err = s.input(ctx, c, state)
	return input, d.GetName(), err
}

func notRendered(state, format string, args ...any) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_WRONG_STATE, format, args...).With("state", state)
}
