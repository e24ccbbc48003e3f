package rules

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// maxMovedOn bounds the lines of MovedOn.
const maxMovedOn = 50

// MovedOn tells what is different today from what an earlier deployment was made with, for people who are about to put its tree
// back: the tree still has what was then, and what it refers to may have gone on. pinned is that deployment's intent, today the
// same one pinned anew. Values of variables are not told; the variables' own history has them.
func MovedOn(pinned, today *catalogv1.Intent) []string {
	var s summary
	moved := func(what, key string, inThen, inNow, same bool) {
		switch {
		case !inThen && inNow:
			s.add("%s %s did not exist then", what, key)
		case inThen && !inNow:
			s.add("%s %s is gone since then; what is put back still has its value", what, key)
		case !same:
			s.add("%s %s is another one since then; what is put back has the earlier", what, key)
		}
	}
	then, now := pinned.GetApplicationVariables(), today.GetApplicationVariables()
	for _, key := range unionKeys(then, now) {
		a, inThen := then[key]
		b, inNow := now[key]
		moved("the application's variable", key, inThen, inNow, a == b)
	}
	secretsThen, secretsNow := pinned.GetApplicationSecretVariables(), today.GetApplicationSecretVariables()
	for _, key := range unionKeys(secretsThen, secretsNow) {
		a, inThen := secretsThen[key]
		b, inNow := secretsNow[key]
		moved("the application's secret", key, inThen, inNow, proto.Equal(a, b))
	}
	s.definitions(pinned.GetDefinitions(), today.GetDefinitions())
	outputsThen, outputsNow := pinned.GetOutputVersions(), today.GetOutputVersions()
	for _, key := range unionKeys(outputsThen, outputsNow) {
		a, inThen := outputsThen[key]
		b, inNow := outputsNow[key]
		if inThen && inNow && a != b {
			s.add("the outputs of %s are at version %d now, and what is put back was made with version %d", key, b, a)
		}
	}
	if !proto.Equal(orEmpty(pinned.GetDefaults()), orEmpty(today.GetDefaults())) {
		s.add("the environment type's defaults are others since then")
	}
	if more := len(s.lines) - maxMovedOn; more > 0 {
		return append(s.lines[:maxMovedOn:maxMovedOn], fmt.Sprintf("and %d more", more))
	}
	return s.lines
}

// definitions compares names resourceDefinitions/{id}/versions/{n}. Today's list has what may be used, which can be more than what
// was used then; none at all says nothing.
func (s *summary) definitions(then, now []string) {
	today := map[string]string{}
	for _, name := range now {
		today[definitionOf(name)] = name
	}
	for _, name := range then {
		switch other, ok := today[definitionOf(name)]; {
		case ok && other != name:
			s.add("the resource definition %s is used today, and what is put back was made with %s", other, name)
		case !ok && len(now) > 0 && strings.Contains(name, "/versions/"):
			s.add("the resource definition %s is not used any more, and what is put back was made with it", name)
		}
	}
}

func definitionOf(version string) string {
	id, _, _ := strings.Cut(version, "/versions/")
	return id
}

func orEmpty(d *rendererv1.EnvironmentDefaults) *rendererv1.EnvironmentDefaults {
	if d == nil {
		return &rendererv1.EnvironmentDefaults{}
	}
	return d
}
