// Package rules holds what the committer decides, as pure functions: no context, no input or output, no clock.
//
// What belongs here: the state file that each deployment leaves in Git and the fence that reads it (state.go, fence.go), who
// owns which path (owners.go), the words of a commit (message.go), what may not reach Git (secret.go) and into messages
// (redact.go). What reads repositories or talks to anybody is in the package above.
package rules
