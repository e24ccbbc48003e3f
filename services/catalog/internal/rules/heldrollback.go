package rules

import (
	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// RollbackHold gives the rollback that holds an environment, by what the environment is meant to be: the newest deployment that is in
// Git or on its way there, nil for none. A rollback that never got there holds nothing, and a newer deployment that failed before it
// was in Git ends nothing: what runs is still what the rollback put back. Held from the moment the rollback is on its way, else
// something that deploys by itself could come in between and undo it.
func RollbackHold(newest *catalogv1.Deployment) string {
	if newest.GetKind() != catalogv1.Deployment_KIND_ROLLBACK {
		return ""
	}
	return newest.GetName()
}

// HeldByRollback is the answer to what would deploy to a held environment by itself.
func HeldByRollback(env Env, rollback string) error {
	return errs.New(errs.Precondition, errorsv1.Reason_REASON_HELD_BY_ROLLBACK,
		"%s was rolled back by %s, and nothing deploys to it by itself until a person does; deploy to it, as with `tow deploy -e %s/%s`",
		env.Name(), rollback, env.App, env.ID).With("rollback", rollback).With("environment", env.Name())
}
