package committer

import (
	"strconv"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/git"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

// trailerDeployment is the trailer by which a deployment's commit is found in the history.
const trailerDeployment = "Towpath-Deployment"

// commitSpec says what the commit of a task says. Its time is the request's, for author and committer, so that the same
// request on the same tip gives the same commit id.
func (l *lane) commitSpec(t *task, parent, root git.Hash) git.CommitSpec {
	spec := git.CommitSpec{
		Tree: root, When: t.request.RequestTime.UTC(), Author: author(t.cmd.GetAuthor()), Committer: l.svc.committer,
		Message:  rules.Words{Message: t.cmd.GetMessage(), Default: rules.DefaultSubject(verb(t.cmd.GetMode()), t.dep)}.Text(),
		Trailers: trailers(t),
	}
	if !parent.IsZero() {
		spec.Parents = []git.Hash{parent}
	}
	return spec
}

func author(a *eventsv1.Author) git.Person {
	name, email := rules.Person(a.GetDisplayName(), a.GetEmail(), a.GetSubject())
	return git.Person{Name: name, Email: email}
}

func verb(m eventsv1.DeploymentRequested_Mode) string {
	switch m {
	case eventsv1.DeploymentRequested_MODE_RESTORE:
		return "Restore"
	case eventsv1.DeploymentRequested_MODE_REMOVE:
		return "Remove"
	case eventsv1.DeploymentRequested_MODE_CLAIMS:
		return "Claim resources for"
	default:
		return "Deploy"
	}
}

func trailers(t *task) []git.Trailer {
	all := []git.Trailer{
		{Key: trailerDeployment, Value: t.cmd.GetDeployment()},
		{Key: "Towpath-Application", Value: t.dep.Application},
		{Key: "Towpath-Environment", Value: t.dep.Environment},
		{Key: "Towpath-Generation", Value: strconv.FormatInt(t.cmd.GetGeneration(), 10)},
		{Key: "Towpath-Set", Value: rules.Line(t.cmd.GetSet())},
		{Key: "Towpath-Actor", Value: rules.Line(t.cmd.GetAuthor().GetSubject())},
		{Key: "Towpath-Rollback-Of", Value: rules.Line(t.cmd.GetRollbackOf())},
	}
	given := all[:0]
	for _, tr := range all {
		if tr.Value != "" {
			given = append(given, tr)
		}
	}
	return given
}
