package cli

import (
	"context"
	"strings"
)

// heldText tells that a rollback holds an environment; "" when none does.
func heldText(m environment) string {
	if m.GetHeldByRollback() == "" {
		return ""
	}
	return "by rollback " + deploymentNumber(m.GetHeldByRollback()) + ": nothing deploys to it by itself until a person does"
}

// heldMark is the same in a table, behind what else is told.
func heldMark(m environment, text string) string {
	if m.GetHeldByRollback() == "" {
		return text
	}
	mark := "held by rollback " + deploymentNumber(m.GetHeldByRollback())
	if text == "" {
		return mark
	}
	return mark + "; " + text
}

// noteHeld tells of environments that a rollout left out.
func (t *tow) noteHeld(environments []string) {
	for _, env := range environments {
		t.notef("%s does not get it now: it was rolled back, and nothing deploys to it by itself until a person does", short(env))
	}
}

// heldBy tells what keeps an environment as it is: who locked it, or the rollback that holds it.
func heldBy(m environment) string {
	if who := last(m.GetLock().GetActor()); who != "" {
		return who
	}
	if m.GetHeldByRollback() != "" {
		return "rollback " + deploymentNumber(m.GetHeldByRollback())
	}
	return ""
}

// heldIn tells which environments of a variable's application a rollback holds.
func (t *tow) heldIn(ctx context.Context, variable string) (map[string]bool, error) {
	app, _, _ := strings.Cut(variable, "/variables/")
	envs, err := t.listEnvironments(ctx, app)
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, m := range envs {
		held[m.GetName()] = m.GetHeldByRollback() != ""
	}
	return held, nil
}
