package events

import (
	"fmt"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
)

// The streams. Their names are part of the interface to operators: dashboards and scripts use them.
const (
	// StreamCommands holds work that is still to be done; a message leaves it when it is acknowledged.
	StreamCommands = "TOWPATH_COMMANDS"
	// StreamEvents holds what happened, for a limited time.
	StreamEvents = "TOWPATH_EVENTS"
	// StreamDesired holds the last desired state of each environment, without an age limit.
	StreamDesired = "TOWPATH_DESIRED"
	// StreamPulls holds the committer's record of each pull request that it watches, without an age limit.
	StreamPulls = "TOWPATH_PULLS"
	// StreamPolicies holds the last policy of each environment, without an age limit.
	StreamPolicies = "TOWPATH_POLICIES"
	// StreamDeadLetters holds messages that could not be handled, with the reason.
	StreamDeadLetters = "TOWPATH_DLQ"
)

// The first tokens of all subjects.
const (
	prefixCommand    = "towpath.cmd."
	prefixEvent      = "towpath.evt."
	prefixJSON       = "towpath.json."
	prefixDesired    = "towpath.desired."
	prefixDeadLetter = "towpath.dlq."
	prefixPull       = "towpath.pull."
	prefixPolicy     = "towpath.policy."
)

// NoToken stands in a subject where something has no application or no environment ("_").
const NoToken = "_"

// maxToken is the longest token. It leaves room for long application and environment names and keeps a whole subject far
// below what servers accept.
const maxToken = 100

// CommandSubject gives the subject of commands for one environment in a shard: towpath.cmd.commit.<shard>.<app>.<env>.
// The shard is Shard's, the others are ids ("shop"), not resource names. An id that does not fit in a subject is an Invalid error
// naming it.
func CommandSubject(shard, app, env string) (string, error) {
	if err := checkTokens("shard", shard, "application", app, "environment", env); err != nil {
		return "", err
	}
	return prefixCommand + "commit." + shard + "." + app + "." + env, nil
}

// CommandFilter matches the commands for one environment, in whichever shard they are, for PendingCommand.
func CommandFilter(app, env string) (string, error) {
	if err := checkTokens("application", app, "environment", env); err != nil {
		return "", err
	}
	return prefixCommand + "commit.*." + app + "." + env, nil
}

// ShardFilter matches all commands of a shard, for Consume.
func ShardFilter(shard string) string { return prefixCommand + "commit." + shard + ".>" }

// EventSubject gives the subject of one kind of event: towpath.evt.<app>.<env>.<type>. The type may have several tokens
// ("deployment.committed"). Use NoToken for an event that belongs to no application or environment.
func EventSubject(app, env, eventType string) (string, error) {
	if err := checkTokens("application", app, "environment", env); err != nil {
		return "", err
	}
	for t := range strings.SplitSeq(eventType, ".") {
		if err := checkTokens("type", t); err != nil {
			return "", err
		}
	}
	return prefixEvent + app + "." + env + "." + eventType, nil
}

// DesiredSubject gives the subject of an environment's desired state: towpath.desired.<app>.<env>.
func DesiredSubject(app, env string) (string, error) {
	if err := checkTokens("application", app, "environment", env); err != nil {
		return "", err
	}
	return prefixDesired + app + "." + env, nil
}

// PolicySubject gives the subject of an environment's policy: towpath.policy.<app>.<env>.
func PolicySubject(app, env string) (string, error) {
	if err := checkTokens("application", app, "environment", env); err != nil {
		return "", err
	}
	return prefixPolicy + app + "." + env, nil
}

// TargetSubject gives the subject of how a target is reached: towpath.policy._.<target>, beside the environments' policies.
func TargetSubject(target string) (string, error) {
	if err := checkTokens("target", target); err != nil {
		return "", err
	}
	return prefixPolicy + NoToken + "." + target, nil
}

// TargetFilter matches how all targets are reached, for Tail.
const TargetFilter = prefixPolicy + NoToken + ".*"

// IsTarget reports whether a subject is TargetSubject's.
func IsTarget(subject string) bool { return strings.HasPrefix(subject, prefixPolicy+NoToken+".") }

// JSONSubject gives the core subject on which the JSON copy of an event appears, "" when the subject is not an event's.
func JSONSubject(subject string) string {
	rest, ok := strings.CutPrefix(subject, prefixEvent)
	if !ok {
		return ""
	}
	return prefixJSON + rest
}

// deadLetterSubject gives towpath.dlq.<stream>.<the original subject without its first token>.
func deadLetterSubject(stream, subject string) string {
	return prefixDeadLetter + stream + "." + strings.TrimPrefix(subject, "towpath.")
}

// checkTokens takes pairs of field name and token.
func checkTokens(pairs ...string) error {
	var fields []errs.Field
	for i := 0; i+1 < len(pairs); i += 2 {
		if problem := tokenProblem(pairs[i+1]); problem != "" {
			fields = append(fields, errs.Field{Path: pairs[i], Problem: problem})
		}
	}
	if len(fields) > 0 {
		return errs.InvalidFields(fields...)
	}
	return nil
}

// tokenProblem says why a token may not stand in a subject, "" when it may. Dots, wildcards and spaces would change the
// subject's meaning: an application named "*" would otherwise read everybody's events.
func tokenProblem(token string) string {
	switch {
	case token == "":
		return "is empty; use \"" + NoToken + "\" where there is none"
	case len(token) > maxToken:
		return fmt.Sprintf("has %d characters; use at most %d", len(token), maxToken)
	}
	for _, r := range token {
		if !tokenRune(r) {
			return fmt.Sprintf("%q has %q; use letters, digits, \"-\" and \"_\"", token, r)
		}
	}
	return ""
}

func tokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// subjectProblem checks a whole literal subject.
func subjectProblem(subject string) string {
	tokens := strings.Split(subject, ".")
	for _, t := range tokens {
		if p := tokenProblem(t); p != "" {
			return p
		}
	}
	if len(tokens) < 3 {
		return fmt.Sprintf("%q is too short; use the subject helpers of this package", subject)
	}
	return ""
}

// checkFilters refuses filters that can never match: the server would take them and stay silent.
func checkFilters(stream string, filters []string) error {
	for i, f := range filters {
		if streamOf(f) != stream {
			return errs.InvalidField(fmt.Sprintf("filter[%d]", i), "%q matches nothing in stream %s", f, stream)
		}
	}
	return nil
}

// streamOf gives the stream that stores a subject, "" when none does.
func streamOf(subject string) string {
	switch {
	case strings.HasPrefix(subject, prefixCommand):
		return StreamCommands
	case strings.HasPrefix(subject, prefixEvent):
		return StreamEvents
	case strings.HasPrefix(subject, prefixDesired):
		return StreamDesired
	case strings.HasPrefix(subject, prefixPull):
		return StreamPulls
	case strings.HasPrefix(subject, prefixPolicy):
		return StreamPolicies
	case strings.HasPrefix(subject, prefixDeadLetter):
		return StreamDeadLetters
	default:
		return ""
	}
}
